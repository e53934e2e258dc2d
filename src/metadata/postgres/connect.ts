import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { S3Error } from '../../domain/errors.ts'
import { countOne, createMeters, type Meters } from '../../telemetry/metrics.ts'
import type { WireRow } from './rows.ts'
import { answered, asked, watchSilence } from './silence.ts'
import { WireQuery } from './wire-query.ts'

/** A named statement: prepared once for each connection. */
export interface Statement {
  readonly name: string
  readonly text: string
  /** A buffer is sent as it is, what else there is as PostgreSQL's text. */
  readonly values: readonly (string | number | boolean | Buffer | null)[]
}

/**
 * One connection that heals itself. It is pipelined, so that a statement waits for the ones before it and each class of query has a
 * line of its own; the committer's lines are not, because they send whole round trips (round-trip.ts).
 */
export interface Line {
  /** The live connection; waits for one until `waitMs` after the last one was lost, then rejects with ServiceUnavailable. */
  client(): Promise<pg.Client>
  /** For reads only: a query that was lost with its connection is sent once more. */
  query(statement: Statement): Promise<WireRow[]>
  /** Gives up a connection that failed, so that the next caller gets a new one. */
  drop(client: pg.Client): void
  close(): Promise<void>
}

export interface LineOptions {
  readonly connection: pg.ClientConfig
  /** Statements that prepare each new session. */
  readonly setup: string
  /** Default true. */
  readonly pipeline?: boolean
  readonly log: (message: string) => void
  /** How long callers wait for a database that went away; afterwards they are refused at once until it is back. */
  readonly waitMs: number
  /** Connects when it is first needed. */
  readonly lazy?: boolean
  readonly meters?: Meters
  /** Called with each new connection, before anybody else uses it. What it asks goes by `send`, which is not waited for without end. */
  readonly onConnect?: (client: pg.Client) => Promise<void>
  readonly patience?: Patience
}

/** How long a server may be silent before its connection is given up. */
export interface Patience {
  readonly connectMs: number
  /** The first words of a session change nothing and wait for nobody. */
  readonly setupMs: number
  /** While it owes an answer. */
  readonly answerMs: number
  readonly goodbyeMs: number
}

/** Point look-ups and pages by their indexes, whatever the statistics say of a table that was empty a moment ago. */
export const readSetup = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
  SET enable_bitmapscan = off; SET enable_material = off; SET jit = off; SET statement_timeout = '20s'`

/** Sets a session right whose database has other defaults: an answered write is on the disk, and what a lock was waited for is seen behind it. */
const sessionSetup = `SET default_transaction_isolation = 'read committed';
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`
/** The same for one transaction. */
export const beginSafely = `BEGIN ISOLATION LEVEL READ COMMITTED;
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`

const backOffMsMin = 25
const backOffMsMax = 1000
/** The longest statement reads or writes a page or a group. */
const patienceDefault: Patience = { connectMs: 5000, setupMs: 10_000, answerMs: 30_000, goodbyeMs: 5000 }
/** A restart is over by then; whoever looks into the log afterwards wants to know what is wrong. */
const awayMsToSay = 5000

export const unavailable = (cause?: unknown): S3Error =>
  new S3Error('ServiceUnavailable', 'The metadata database is not available at the moment. Please try again.', { headers: { 'retry-after': '1' }, cause })

export function openLine(options: LineOptions): Line {
  const { connection, setup, log, waitMs, patience = patienceDefault } = options
  const meters = options.meters ?? createMeters()
  const closing = new AbortController()
  const waiting = new Set<(client: pg.Client) => void>()
  let live: pg.Client | null = null
  /** Since when there is no connection: a request asks for several things in turn and must not wait the whole time for each. */
  let awaySince = performance.now()
  let attempt: Promise<void> | null = null

  const connectOnce = async (): Promise<void> => {
    const client = new pg.Client({
      ...connection, pipeline: options.pipeline ?? true, keepAlive: true, connectionTimeoutMillis: patience.connectMs,
    } as pg.ClientConfig)
    watchSilence(client, patience.answerMs)
    client.on('error', (error) => {
      if (live === client) log(`database connection lost: ${error.message}`)
      drop(client)
    })
    client.once('end', () => drop(client))
    await client.connect()
    try {
      await client.query({ text: `${sessionSetup}; ${setup}`, query_timeout: patience.setupMs } as pg.QueryConfig)
      await options.onConnect?.(client)
    } catch (error) {
      discard(client)
      throw error
    }
    if (closing.signal.aborted) return discard(client)
    live = client
    for (const resolve of waiting) resolve(client)
    waiting.clear()
  }

  const connectSoon = (): void => {
    if (closing.signal.aborted || attempt !== null) return
    let told = false
    const failed = (error: unknown): void => {
      if (told || performance.now() - awaySince < awayMsToSay) return
      told = true
      log(`the database cannot be reached: ${error instanceof Error ? error.message : String(error)}; trying on`)
    }
    attempt = (async () => {
      for (let waitMs = backOffMsMin; live === null && !closing.signal.aborted; waitMs = Math.min(waitMs * 2, backOffMsMax)) {
        await connectOnce().catch((error: unknown) => {
          failed(error)
          return sleep(waitMs, undefined, { signal: closing.signal }).catch(() => undefined)
        })
      }
      attempt = null
    })()
  }
  if (options.lazy !== true) connectSoon()

  const drop = (client: pg.Client): void => {
    if (live !== client) return
    live = null
    countOne(meters.connectionsLost, 'line')
    awaySince = performance.now()
    discard(client)
    connectSoon()
  }

  const client = (): Promise<pg.Client> => {
    if (live !== null) return Promise.resolve(live)
    if (closing.signal.aborted) return Promise.reject(unavailable())
    if (attempt === null) awaySince = performance.now()
    connectSoon()
    return new Promise((resolve, reject) => {
      const give = (found: pg.Client) => {
        clearTimeout(timer)
        resolve(found)
      }
      const timer = setTimeout(() => {
        waiting.delete(give)
        reject(unavailable())
      }, Math.max(0, awaySince + waitMs - performance.now()))
      waiting.add(give)
    })
  }

  return {
    client,
    drop,
    query: async (statement) => {
      const first = live ?? await client()
      const began = performance.now()
      try {
        const rows = await send(first, statement)
        meters.queries.of(statement.name).observe((performance.now() - began) / 1000)
        return rows
      } catch (error) {
        if (!isConnectionLoss(error)) throw clientError(error)
        drop(first)
        return await send(await client(), statement).catch((again: unknown) => Promise.reject(clientError(again)))
      }
    },
    close: async () => {
      closing.abort()
      await attempt
      if (live !== null) await endWithin(live, patience.goodbyeMs)
    },
  }
}

/** A server that stands still does not answer its end either. */
async function endWithin(client: pg.Client, waitMs: number): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), waitMs)
  await client.end()
  clearTimeout(timer)
}

/** Its end may never be answered, and nobody waits for it. */
function discard(client: pg.Client): void {
  client.end().catch(() => undefined)
}

/** Sessions for rare work that takes one for itself (transaction.ts, sweep.ts). */
export function openPool(config: pg.PoolConfig, log: (message: string) => void): pg.Pool {
  const pool = new pg.Pool({ ...config, query_timeout: patienceDefault.answerMs })
  pool.on('error', (error) => log(`database connection lost: ${error.message}`))
  // An error event that nobody hears would end the process, and whoever takes a session hears nothing until a moment later. What is
  // asked of the session fails as well, and that is enough.
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

/** Sends one statement down the pipeline. */
export function send(client: pg.Client, statement: Statement): Promise<WireRow[]> {
  asked(client)
  return new Promise((resolve, reject) => {
    client.query(new WireQuery(statement, (error, rows) => {
      answered(client)
      if (error) reject(error)
      else resolve(rows)
    }))
  })
}

/** How `pg` words the loss of a connection; the system's own errors name the system call that failed. */
const lossWords = /^(Connection terminated|Client has encountered a connection error|Client was closed|Query read timeout|timeout ex|Cannot use a pool)/

/**
 * True when the connection went and the statement's fate with it. Errors of the server itself have a severity; of those, only
 * its being shut down or crashing ends the session.
 */
export function isConnectionLoss(error: unknown): boolean {
  const { code, severity, syscall, message } = error as { code?: string; severity?: string; syscall?: string; message?: string }
  if (severity !== undefined) return severity === 'FATAL' || severity === 'PANIC' || (code?.startsWith('57P0') ?? false)
  return syscall !== undefined || code === 'ERR_STREAM_DESTROYED' || lossWords.test(message ?? '')
}

/** What the client is told of a database error. Whatever is not known here is a fault of ours and stays what it is. */
export function clientError(error: unknown): unknown {
  if (error instanceof S3Error) return error
  const { code } = error as { code?: string }
  if (code === '53100') return new S3Error('InsufficientStorage', 'The metadata database has no room left.', { cause: error })
  // Text that PostgreSQL cannot hold: the code point 0.
  if (code === '22021' || code === '22P05') return new S3Error('InvalidArgument', 'A value holds a character that cannot be stored.', { cause: error })
  // Timeouts, deadlocks, too many connections, out of memory.
  if (isConnectionLoss(error) || code === '57014' || code === '55P03' || code === '40P01' || code?.startsWith('53')) return unavailable(error)
  return error
}
