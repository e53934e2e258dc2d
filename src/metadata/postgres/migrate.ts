import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import pg from 'pg'

/** PostgreSQL's own number form. */
const serverVersionMin = 150_000
/** Any constant: the same in all versions of the program, so that two starts at once migrate one after the other. */
const migrationLock = 7_237_113_001
const migrationsFolder = fileURLToPath(new URL('../../../drizzle', import.meta.url))

/**
 * Brings the schema to this program's version. Rejects with a plain Error when the server is too old or not in UTF-8, or when
 * a newer program has already migrated the database: an older one would misread it.
 */
export async function migrateSchema(connection: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(connection)
  client.on('error', () => {})
  await client.connect()
  try {
    await checkServer(client)
    await client.query('SET client_min_messages = warning')
    await client.query('SELECT pg_advisory_lock($1)', [migrationLock])
    const known = readMigrationFiles({ migrationsFolder })
    const applied = await appliedMigrations(client)
    const newest = Math.max(...known.map((migration) => migration.folderMillis))
    assertKnown(applied, known)
    if (!applied.includes(newest)) await applyMigrations(client)
  } finally {
    await client.end()
  }
}

function assertKnown(applied: readonly number[], known: readonly { readonly folderMillis: number }[]): void {
  const unknown = applied.filter((at) => !known.some(({ folderMillis }) => folderMillis === at))
  if (unknown.length === 0) return
  throw new Error(`The database was migrated by a newer Holdfast than this one (${unknown.length} of its migrations ${unknown.length === 1 ? 'is' : 'are'} not known here). Nothing was changed. `
    + 'Start that version, or restore a backup that is as old as this program: the database and the data folder, of the same time.')
}

/** Rejects when the schema is not this program's: whoever only looks must not change it under a server of another version. */
export async function assertMigrated(connection: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(connection)
  client.on('error', () => {})
  await client.connect()
  try {
    const known = readMigrationFiles({ migrationsFolder })
    const newest = Math.max(...known.map((migration) => migration.folderMillis))
    const applied = await appliedMigrations(client)
    assertKnown(applied, known)
    if (Math.max(...applied, 0) !== newest) throw new Error('The database is of an older version of Holdfast than this program. Start the server of this version first.')
  } finally {
    await client.end()
  }
}

const require = createRequire(import.meta.url)

/**
 * Loaded only when there is something to apply, and not with `import`: for each of its hundreds of modules Node would read the package's
 * package.json of 180 KB once more, which takes 0.7 s and 200 MB on a small machine. Takes 70 ms the first time, in which nothing else is done.
 */
export function loadMigrator() {
  const { drizzle } = require('drizzle-orm/node-postgres') as typeof import('drizzle-orm/node-postgres')
  const { migrate } = require('drizzle-orm/node-postgres/migrator') as typeof import('drizzle-orm/node-postgres/migrator')
  return { drizzle, migrate }
}

async function applyMigrations(client: pg.Client): Promise<void> {
  const { drizzle, migrate } = loadMigrator()
  await migrate(drizzle(client), { migrationsFolder })
}

async function checkServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ number: string; version: string; encoding: string }>(
    `SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version, current_setting('server_encoding') AS encoding`,
  )
  const server = rows[0]
  if (server === undefined || Number(server.number) < serverVersionMin) {
    throw new Error(`HOLDFAST_DATABASE_URL names a PostgreSQL ${server?.version}; version 15 or later is needed.`)
  }
  if (server.encoding !== 'UTF8') {
    throw new Error(`HOLDFAST_DATABASE_URL names a database in ${server.encoding}; object keys need one in UTF8.`)
  }
}

async function appliedMigrations(client: pg.Client): Promise<number[]> {
  const { rows: [table] } = await client.query<{ exists: boolean }>(`SELECT to_regclass('drizzle.__drizzle_migrations') IS NOT NULL AS exists`)
  if (table?.exists !== true) return []
  const { rows } = await client.query<{ at: string }>('SELECT created_at AS at FROM drizzle.__drizzle_migrations')
  return rows.map((row) => Number(row.at))
}
