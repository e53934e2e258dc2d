import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { startEmbedded } from '../../src/metadata/postgres/embedded.ts'
import { migrateSchema } from '../../src/metadata/postgres/migrate.ts'

/**
 * Database clusters are made once for each run of the tests and copied from then on: initdb and the migrations take four fifths of the
 * first start of a server, and a copy takes next to nothing. Outside of vitest nothing is copied.
 */

const variable = 'HOLDFAST_TEST_CLUSTERS'

/** vitest's global set-up: a folder for the clusters of this run. */
export default async function setup(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-clusters-'))
  // Clusters of other users are in it too; each of them is closed.
  await chmod(folder, 0o711)
  process.env[variable] = folder
  return () => rm(folder, { recursive: true, force: true })
}

/** A copy at `target` of what `make` makes under this name. False outside of vitest. */
export async function copyOnceMade(name: string, target: string, make: (path: string) => Promise<void>): Promise<boolean> {
  const folder = process.env[variable]
  if (folder === undefined) return false
  const made = join(folder, name)
  if (!existsSync(made)) {
    // Workers that come at the same time each make one; the first one stays.
    const scratch = await mkdtemp(join(folder, 'making-'))
    await make(join(scratch, name))
    await rename(join(scratch, name), made).catch((error: unknown) => {
      if (!existsSync(made)) throw error
    })
    await rm(scratch, { recursive: true, force: true })
  }
  await promisify(execFile)('cp', ['-a', made, target])
  return true
}

/**
 * Spares the first start on a data folder its work on the database, which has no rows: `migrated` has the tables of this program, and
 * `empty` has none. The embedded PostgreSQL's own beginning is tested by metadata-embedded.test.ts and start.test.ts.
 */
export async function layCluster(dataDir: string, kind: 'migrated' | 'empty' = 'migrated'): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await copyOnceMade(kind, join(dataDir, 'postgres'), async (path) => {
    const scratch = join(dirname(path), 'data')
    const { connection, stop } = await startEmbedded({ dataDir: scratch, log: () => {} })
    try {
      if (kind === 'migrated') await migrateSchema(connection)
      await slim(connection, ['postgres', 'template0', 'template1'])
    } finally {
      await stop()
    }
    await rename(join(scratch, 'postgres'), path)
  })
}

/** What nobody looks at need not be copied: databases that come with a cluster, and a log that is full of their making. */
export async function slim(connection: pg.ClientConfig, databases: readonly string[]): Promise<void> {
  const client = new pg.Client(connection)
  await client.connect()
  await client.query('UPDATE pg_database SET datistemplate = false WHERE datname = ANY ($1)', [databases])
  for (const name of databases) await client.query(`DROP DATABASE ${name}`)
  // Segments of the log are holes until something is written, and old ones go.
  for (const setting of ['wal_init_zero', 'wal_recycle']) await client.query(`ALTER SYSTEM SET ${setting} = off`)
  // Nobody cuts the power of a test: what a killed PostgreSQL has written is there without a sync.
  await client.query('ALTER SYSTEM SET fsync = off')
  await client.query('SELECT pg_reload_conf()')
  await client.query('SELECT pg_switch_wal()')
  await client.query('CHECKPOINT')
  await client.end()
}
