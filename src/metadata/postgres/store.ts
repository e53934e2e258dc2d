import type pg from 'pg'
import type { Bucket } from '../../domain/model.ts'
import { cacheMeter, createMeters, type Meters } from '../../telemetry/metrics.ts'
import type { AccessKey, MetadataStore, ObjectStore } from '../store.ts'
import { openAdmin } from './admin.ts'
import { openBuckets } from './buckets.ts'
import { briefCache, catchingUp } from './cache.ts'
import { openCarried } from './carried.ts'
import { openChecks } from './check.ts'
import { openCommitter } from './committer.ts'
import { openLine, openPool, readSetup, type Line } from './connect.ts'
import { openIdentity } from './identity.ts'
import { openListing } from './listing.ts'
import { migrateSchema } from './migrate.ts'
import { openMultipart } from './multipart.ts'
import { openVersionReads } from './reads.ts'
import { openSweep } from './sweep.ts'
import { createVersionCache } from './version-cache.ts'

export interface PostgresStoreOptions {
  readonly connection: pg.ClientConfig
  /** 32 bytes: encrypts the secrets of access keys. */
  readonly masterKey: Buffer
  readonly log: (message: string) => void
  readonly now: () => number
  /** Other processes change the same database: what is remembered has to be proven current, and versions of objects are not remembered. */
  readonly shared: boolean
  /** Connections are made when they are first needed: for a process that sweeps and supervises. */
  readonly lazy?: boolean
  /** The schema was brought up to date and the server looked at by the process that started this one. */
  readonly prepared?: boolean
  /** How long a call waits for a database that is away before it is refused. Default 5000. */
  readonly waitMs?: number
  readonly meters?: Meters
}

const waitMsDefault = 5000
const listingLines = 2
/** Rare work in transactions of its own, and the sessions that hold the locks of the sweeper and the scrubber. */
const poolMax = 4

/**
 * Migrates the database and opens the metadata room on it. Rejects with a plain Error that an operator can act on. The connections
 * heal themselves from then on.
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<MetadataStore> {
  const { connection, masterKey, log, now, lazy = false } = options
  const waitMs = options.waitMs ?? waitMsDefault
  const meters = options.meters ?? createMeters()
  if (masterKey.length !== 32) throw new Error('The master key must have 32 bytes.')
  if (options.prepared !== true) await migrateSchema(connection)

  const line = (setup: string): Line => openLine({ connection, setup, log, waitMs, lazy, meters })
  const reads = line(readSetup)
  const listings = Array.from({ length: listingLines }, () => line(readSetup))
  let turn = 0
  const nextListing = (): Line => listings[turn++ % listingLines] as Line
  const pool = openPool({ ...connection, max: poolMax, idleTimeoutMillis: 10_000, connectionTimeoutMillis: waitMs }, log)
  meters.watch('holdfast_database_connections', () => [['used', pool.totalCount - pool.idleCount], ['idle', pool.idleCount]])
  meters.watch('holdfast_database_waiting', () => pool.waitingCount)
  const buckets = briefCache<Bucket>(cacheMeter(meters, 'buckets'))
  const keys = briefCache<AccessKey>(cacheMeter(meters, 'access_keys'))
  const catchUp = catchingUp(reads, () => {
    buckets.clear()
    keys.clear()
  })
  if (options.prepared !== true) await warnOfUnsafeServer(reads, log)
  // Who is alone knows of every change of an object.
  const versions = options.shared ? null : createVersionCache(cacheMeter(meters, 'versions'))
  const opened = openCommitter({ connection, log, now, waitMs, lazy, shared: options.shared, meters })
  const carried = openCarried(reads, pool)
  const committer = carried.watched(versions?.watched(opened) ?? opened)

  const close = async (): Promise<void> => {
    await committer.close()
    await Promise.all([reads, ...listings].map((each) => each.close()))
    await pool.end()
  }
  let closed: Promise<void> | null = null

  return {
    version: openVersionReads(reads, versions).version,
    // The overloads of `commit` pair each command with its result; the committer keeps that pairing in its plans.
    commit: committer.commit as ObjectStore['commit'],
    commitAll: committer.commitAll as ObjectStore['commitAll'],
    prepare: committer.prepare,
    mayCarry: () => !options.shared && committer.isFree(),
    carriedRecords: carried.carriedRecords,
    forgetCarried: carried.forgetCarried,
    ...openListing(nextListing),
    ...openBuckets({ reads, line: nextListing(), pool, cache: buckets, now }),
    ...openIdentity({ reads, pool, cache: keys, masterKey, now }),
    ...openMultipart(reads, nextListing, now),
    ...openSweep(nextListing(), pool, now),
    ...openChecks(nextListing(), pool),
    ...openAdmin({ line: nextListing(), pool, masterKey, now, forget: () => keys.clear() }),
    catchUp: () => (options.shared ? catchUp() : null),
    ping: async () => {
      await reads.query({ name: 'ping', text: 'SELECT 1', values: [] })
    },
    close: () => (closed ??= close()),
  }
}

/** What no session can set right for itself; the embedded server has it right unless somebody changed it. */
async function warnOfUnsafeServer(line: Line, log: (message: string) => void): Promise<void> {
  const rows = await line.query({
    name: 'unsafe', text: `SELECT name FROM pg_settings WHERE name = ANY ($1::text[]) AND setting = 'off'`, values: ['{fsync,full_page_writes}'],
  })
  for (const [name] of rows) log(`PostgreSQL runs with ${name} = off: a loss of power can destroy the database and every object with it`)
}
