import type pg from 'pg'
import type { Statement } from './connect.ts'
import type { WireRow } from './rows.ts'
import { answered, asked } from './silence.ts'
import { asSent, type Wire } from './wire-query.ts'

/** What one statement answered: its rows as text, and its command tag (`INSERT 0 1`, `COMMIT`). */
export interface Answer {
  readonly rows: WireRow[]
  readonly tag: string
}

/** Names that a connection has prepared. */
const prepared = new WeakMap<pg.Client, Set<string>>()

/**
 * Statements in one round trip: one write, one Sync, and so one answer that PostgreSQL sends at once, where a query each makes both
 * sides wake up for every statement. After an error the server skips the rest; the promise rejects with that error, and the
 * connection is ready for the next one. For connections without `pipeline`, one round trip at a time.
 */
export async function roundTrip(client: pg.Client, statements: readonly Statement[]): Promise<Answer[]> {
  await prepare(client, statements)
  return submitted(client, (connection) => {
    for (const { name, values } of statements) {
      connection.bind({ portal: '', statement: name, values: values.map(asSent), binary: false })
      connection.execute({ portal: '', rows: 0 })
    }
  })
}

/** Each with a Sync of its own, so that what was prepared is known also after one that fails. Once for each connection and name. */
async function prepare(client: pg.Client, statements: readonly Statement[]): Promise<void> {
  const known = prepared.get(client) ?? new Set<string>()
  prepared.set(client, known)
  for (const { name, text } of statements) {
    if (known.has(name)) continue
    await submitted(client, (connection) => connection.parse({ name, text, types: [] }))
    known.add(name)
  }
}

/** Hands `pg` a query of our own making; it calls the handlers as the server's messages come. */
function submitted(client: pg.Client, write: (connection: Wire) => void): Promise<Answer[]> {
  asked(client)
  return new Promise((resolve, reject) => {
    const answers: Answer[] = []
    let rows: WireRow[] = []
    const query = {
      callback(error: unknown, found?: Answer[]): void {
        answered(client)
        if (found === undefined) reject(error as Error)
        else resolve(found)
      },
      submit(connection: unknown): void {
        const wire = connection as Wire
        wire.stream.cork()
        write(wire)
        wire.sync()
        wire.stream.uncork()
      },
      handleRowDescription(): void {},
      handleDataRow({ fields }: { readonly fields: WireRow }): void {
        rows.push(fields)
      },
      handleCommandComplete({ text }: { readonly text: string }): void {
        answers.push({ rows, tag: text })
        rows = []
      },
      handleEmptyQuery(): void {},
      handleError(error: unknown): void {
        query.callback(error)
      },
      handleReadyForQuery(): void {
        query.callback(null, answers)
      },
    }
    client.query(query as unknown as pg.Submittable)
  })
}
