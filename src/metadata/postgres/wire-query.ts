import pg from 'pg'
import type { Statement } from './connect.ts'
import type { WireRow } from './rows.ts'

/** The calls of `pg` that its types do not name alike in all versions. */
export interface Wire {
  parse(query: { name: string; text: string; types: number[] }): void
  bind(config: { portal: string; statement: string; values: (string | Buffer | null)[]; binary: boolean }): void
  execute(config: { portal: string; rows: number }): void
  sync(): void
  readonly parsedStatements: Record<string, string | undefined>
  readonly submittedNamedStatements: Record<string, string | undefined>
  readonly stream: { cork(): void; uncork(): void }
}

/**
 * A named statement whose rows stay the text that PostgreSQL sends. Each reader knows its columns, so they are not described with
 * every answer, as `pg` has it: that costs both sides more than a row does. It is a query of `pg` because pipelines take no others.
 */
export class WireQuery extends pg.Query {
  /** What the callback gets; `pg` calls it when the server is ready for the next one. */
  readonly _results: WireRow[] = []
  callback: (error: Error | null, rows: WireRow[]) => void
  readonly #statement: Statement

  constructor(statement: Statement, callback: (error: Error | null, rows: WireRow[]) => void) {
    super({ name: statement.name, text: statement.text })
    this.callback = callback
    this.#statement = statement
  }

  prepare(connection: Wire): void {
    const { name, text, values } = this.#statement
    // Both lists are kept by `pg`: what the server has answered, and what is on its way to it.
    if (connection.parsedStatements[name] === undefined && connection.submittedNamedStatements[name] === undefined) {
      connection.parse({ name, text, types: [] })
      connection.submittedNamedStatements[name] = text
    }
    connection.bind({ portal: '', statement: name, values: values.map(asSent), binary: false })
    connection.execute({ portal: '', rows: 0 })
    connection.sync()
  }

  handleDataRow({ fields }: { readonly fields: WireRow }): void {
    this._results.push(fields)
  }

  handleCommandComplete(): void {}
}

/** As `pg` sends it: bytes as they are, else PostgreSQL's text form of a value. */
export const asSent = (value: Statement['values'][number]): string | Buffer | null => (value === null || value instanceof Buffer ? value : String(value))
