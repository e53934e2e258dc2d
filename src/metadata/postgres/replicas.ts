import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Holdings } from '../../storage/backend.ts'
import { openLine, send } from './connect.ts'

/**
 * What servers that share a data folder know of each other, through the database that they share. Each has a row, says every few
 * seconds that it is there, and answers what it holds when the one that sweeps asks for it.
 */
export interface Replicas {
  /**
   * What the other replicas hold, and the names of all processes that ended in order. Rejects when one does not answer that was
   * heard of a moment ago. One that was killed holds up the sweeper until it has been silent for long enough; what it was
   * appending to then counts as in use until it is full.
   */
  holdings(): Promise<readonly Holdings[]>
  /** Those that have it open let go of a file that was removed; the path is below the data folder. */
  forgetSegment(path: string): void
  /** Called when this one holds nothing any more. */
  leave(): Promise<void>
}

export interface ReplicasOptions {
  readonly connection: pg.ClientConfig
  /** Name of this process, unlike any other's. */
  readonly token: string
  /** What the processes of this replica hold now; all writers that there ever were of it. */
  readonly mine: () => Promise<Holdings>
  readonly forgetSegment: (path: string) => void
  readonly log: (message: string) => void
}

const seenEveryMs = 10_000
/** Whoever has said nothing for so long is not asked: longer than the grace of the sweeper by default. */
const goneMs = 15 * 60_000
/** A processes' segments may be compacted once it is known to have ended in order: nobody looks for it later. */
const rememberedMs = 90 * 24 * 3_600_000
const answerMsMax = 5000
const lookEveryMs = 20
const channel = 'holdfast_replicas'
const nowMs = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

type Message = { readonly ask: string } | { readonly forget: string }
type Written = { readonly [Name in 'writers' | 'segments' | 'pinned']: readonly string[] }

export async function joinReplicas(options: ReplicasOptions): Promise<Replicas> {
  const { token, log } = options
  const failed = (what: string) => (error: unknown): void => log(`${what}: ${error instanceof Error ? error.message : String(error)}`)

  const seen = `INSERT INTO replicas (token, seen_at) VALUES ($1, ${nowMs}) ON CONFLICT (token) DO UPDATE SET seen_at = excluded.seen_at`
  const line = openLine({
    connection: options.connection, setup: 'SELECT 1', pipeline: false, log, waitMs: answerMsMax,
    async onConnect(client) {
      client.on('notification', ({ payload = '{}' }) => hear(JSON.parse(payload) as Message))
      await send(client, { name: 'replica_listen', text: `LISTEN ${channel}`, values: [] })
      await send(client, { name: 'replica_seen', text: seen, values: [token] })
    },
  })
  const query = async (name: string, text: string, values: readonly (string | number | null)[]) => send(await line.client(), { name, text, values })

  function hear(message: Message): void {
    if ('forget' in message) return options.forgetSegment(message.forget)
    options.mine().then((mine) => query(
      'replica_answer', `UPDATE replicas SET answered = $2, holdings = $3, seen_at = ${nowMs} WHERE token = $1`, [token, message.ask, JSON.stringify(written(mine))],
    )).catch(failed('The sweeper of another replica could not be answered'))
  }

  const tell = (message: Message) => query('replica_tell', `SELECT pg_notify('${channel}', $1)`, [JSON.stringify(message)])

  async function ask(): Promise<Holdings[]> {
    const question = randomUUID()
    const until = performance.now() + answerMsMax
    for (let asked = false; ; asked = true) {
      const rows = await query(
        'replica_answers', `SELECT token, answered = $2, holdings::text FROM replicas WHERE token <> $1 AND left_at IS NULL AND seen_at > ${nowMs} - $3`, [token, question, goneMs],
      )
      const silent = rows.filter(([, answered]) => answered !== 't')
      if (silent.length === 0) return rows.map(([, , holdings]) => read(holdings ?? '{}'))
      if (performance.now() > until) {
        const names = silent.map(([name]) => Buffer.from((name ?? '').split('.')[0] ?? '', 'hex').toString()).join(', ')
        throw new Error(`the replica on ${names} does not answer: nothing is removed until it does, or has been silent for ${goneMs / 60_000} minutes`)
      }
      if (!asked) await tell({ ask: question })
      await sleep(lookEveryMs)
    }
  }

  async function left(): Promise<Holdings> {
    const rows = await query('replicas_left', 'SELECT holdings::text FROM replicas WHERE left_at IS NOT NULL', [])
    return { writers: new Set(rows.flatMap(([holdings]) => [...read(holdings ?? '{}').writers])), segments: new Set(), pinned: new Set(), elsewhere: true }
  }

  await query('replica_seen', seen, [token])
  await query('replicas_forgotten', `DELETE FROM replicas WHERE coalesce(left_at, seen_at) < ${nowMs} - $1`, [rememberedMs])
  const timer = setInterval(() => {
    query('replica_seen', seen, [token]).catch(failed('The other replicas could not be told that this one is there'))
  }, seenEveryMs).unref()
  return {
    // In this order: who leaves in between has answered, or is among those that left.
    holdings: async () => [...await ask(), await left()],
    forgetSegment(path) {
      tell({ forget: path }).catch(failed('The other replicas could not be told of a segment that went'))
    },
    async leave() {
      clearInterval(timer)
      const { writers } = await options.mine()
      const ended = JSON.stringify(written({ writers, segments: new Set(), pinned: new Set() }))
      await query('replica_leaves', `UPDATE replicas SET left_at = ${nowMs}, holdings = $2 WHERE token = $1`, [token, ended]).catch(failed('The other replicas could not be told that this one ends'))
      await line.close()
    },
  }
}

function written({ writers, segments, pinned }: Holdings): Written {
  return { writers: [...writers], segments: [...segments], pinned: [...pinned] }
}

function read(text: string): Holdings {
  const { writers = [], segments = [], pinned = [] } = JSON.parse(text) as Partial<Written>
  return { writers: new Set(writers), segments: new Set(segments), pinned: new Set(pinned), elsewhere: true }
}
