import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib'
import pg from 'pg'
import { startEmbedded } from '../../../src/metadata/postgres/embedded.ts'
import { layCluster } from '../../support/cluster.ts'

/**
 * A data folder as the first landed Holdfast left it (commit 80ed49e, migrations 0000 and 0001), kept in three files beside this one:
 *
 * - `first-format.files`: `keys/`, `drive/` and `bootstrap.yaml`, each byte and each time of change as that program wrote them.
 * - `first-format.sql`: every row, and where every sequence stood. A PostgreSQL cluster itself is 40 MB, of which nothing but these rows is
 *   Holdfast's: `initdb` makes the rest anew with the arguments of then, its settings are written at every start, and the tables are
 *   made by the two migrations of then, whose texts are still in `drizzle/` (the dump has their hashes, and the test compares).
 * - `first-format.json`: what that program answered over S3 about all of it.
 *
 * The lock file, PostgreSQL's log and its socket are left out: they are empty, or made at every start. `make.ts` made it.
 */
const fixture = (ending: string): string => path.join(import.meta.dirname, `first-format.${ending}`)
const migrations = path.join(import.meta.dirname, '..', '..', '..', 'drizzle')
export const migrationsOfThen = ['0000_first_schema', '0001_storage_parameters']

interface KeptFile {
  readonly path: string
  readonly bytes: number
  readonly changedAt: number
}

/** One compressed file: the length of the list as four bytes, the list of files as JSON, their bytes. */
export async function keepFiles(dataDir: string, below: readonly string[]): Promise<void> {
  const names = (await Promise.all(below.map(async (name) => {
    if ((await stat(path.join(dataDir, name))).isFile()) return [name]
    return (await readdir(path.join(dataDir, name), { recursive: true })).map((found) => path.join(name, found))
  }))).flat().sort()
  const list: KeptFile[] = []
  const bodies: Buffer[] = []
  for (const name of names) {
    const found = await stat(path.join(dataDir, name))
    if (!found.isFile()) continue
    const body = await readFile(path.join(dataDir, name))
    list.push({ path: name, bytes: body.length, changedAt: Math.round(found.mtimeMs) })
    bodies.push(body)
  }
  const head = Buffer.from(JSON.stringify(list))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(head.length)
  const packed = brotliCompressSync(Buffer.concat([length, head, ...bodies]), { params: { [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS } })
  await writeFile(fixture('files'), packed)
}

async function restoreFiles(dataDir: string): Promise<void> {
  const all = brotliDecompressSync(await readFile(fixture('files')))
  let at = 4 + all.readUInt32BE(0)
  for (const file of JSON.parse(all.toString('utf8', 4, at)) as KeptFile[]) {
    const target = path.join(dataDir, file.path)
    await mkdir(path.dirname(target), { recursive: true, mode: 0o700 })
    await writeFile(target, all.subarray(at, at + file.bytes), { mode: 0o600 })
    await utimes(target, file.changedAt / 1000, file.changedAt / 1000)
    at += file.bytes
  }
}

/** Every row of every table and the place of every sequence, as statements. The tables have to be there. */
export async function keepRows(connection: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(connection)
  await client.connect()
  const list = async (text: string): Promise<string[]> => (await client.query<[string]>({ text, rowMode: 'array' })).rows.map(([value]) => value)
  const statements: string[] = []
  const relations = `FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'drizzle')`
  for (const table of await list(`SELECT format('%I.%I', n.nspname, c.relname) ${relations} AND c.relkind = 'r' ORDER BY 1`)) {
    const columns = await list(`SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`)
    const values = columns.map((column) => `quote_nullable(${column}::text)`).join(', ')
    const rows = await list(`SELECT concat_ws(', ', ${values}) FROM ${table} ORDER BY 1`)
    if (rows.length > 0) statements.push(`INSERT INTO ${table} (${columns.join(', ')}) OVERRIDING SYSTEM VALUE VALUES\n${rows.map((row) => `  (${row})`).join(',\n')};`)
  }
  statements.push(...await list(
    `SELECT format('SELECT setval(%L, %s);', format('%I.%I', schemaname, sequencename), last_value) FROM pg_sequences WHERE last_value IS NOT NULL ORDER BY 1`,
  ))
  await client.end()
  await writeFile(fixture('sql'), `${statements.join('\n')}\n`)
}

/** The database of then in an empty one. */
export async function restoreDatabase(connection: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(connection)
  await client.connect()
  try {
    // As Drizzle's migrator makes it.
    await client.query('CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)')
    for (const name of migrationsOfThen) await client.query(await readFile(path.join(migrations, `${name}.sql`), 'utf8'))
    // The tables name each other, and come in the order of their names.
    await client.query(`SET session_replication_role = replica;\n${await readFile(fixture('sql'), 'utf8')}`)
  } finally {
    await client.end()
  }
}

/** The whole folder of then, with the embedded database or, with `databaseUrl`, with its rows there. */
export async function restoreFolder(dataDir: string, databaseUrl: string | null = null): Promise<void> {
  await restoreFiles(dataDir)
  if (databaseUrl !== null) return restoreDatabase({ connectionString: databaseUrl })
  await layCluster(dataDir, 'empty')
  const embedded = await startEmbedded({ dataDir, log: () => {} })
  await restoreDatabase(embedded.connection)
  await embedded.stop()
}

/** Hashes of the migrations that the database of then had, by Drizzle's own record; and those of their texts today. */
export async function migrationHashes(): Promise<{ kept: string[]; today: string[] }> {
  const dump = await readFile(fixture('sql'), 'utf8')
  const rows = /INSERT INTO drizzle\.__drizzle_migrations [^;]*;/.exec(dump)?.[0] ?? ''
  const texts = await Promise.all(migrationsOfThen.map((name) => readFile(path.join(migrations, `${name}.sql`), 'utf8')))
  return { kept: rows.match(/[0-9a-f]{64}/g) ?? [], today: texts.map((text) => createHash('sha256').update(text).digest('hex')) }
}

export const keptAnswers = async (): Promise<unknown> => JSON.parse(await readFile(fixture('json'), 'utf8'))
export const keepAnswers = (answers: unknown): Promise<void> => writeFile(fixture('json'), `${JSON.stringify(answers, null, 1)}\n`)

/** The root keys that the program of then drew. */
export async function rootKeys(dataDir: string): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  return JSON.parse(await readFile(path.join(dataDir, 'keys', 'root-key.json'), 'utf8')) as { accessKeyId: string; secretAccessKey: string }
}
