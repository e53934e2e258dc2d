import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { CompleteMultipartUploadCommand, CreateBucketCommand, GetObjectCommand, ListMultipartUploadsCommand, ListPartsCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { crc32c } from '../../src/storage/local/crc32c.ts'
import { startEmbedded } from '../../src/metadata/postgres/embedded.ts'
import { startExternalPostgres, type ExternalPostgres } from '../support/external-postgres.ts'
import { fsckReport, holdfast, scrubReport } from '../support/holdfast.ts'
import { newWorld, startLoad } from '../support/load.ts'
import { failure, newBucket, s3Client } from '../support/s3.ts'
import { failedStart, startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/under-load.ts'
import { allAnswers, bodyOf } from './upgrade/answers.ts'
import { keptAnswers, migrationHashes, restoreFolder, rootKeys } from './upgrade/old-folder.ts'

/** A data folder of the first landed format opens with this program, whatever happens at its first start; one of a later format is refused. */

let base: string
let external: ExternalPostgres
beforeAll(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'holdfast-upgrade-'))
  external = await startExternalPostgres()
})
afterAll(async () => {
  await external?.remove()
  await rm(base, { recursive: true, force: true })
})

const folder = (name: string): string => path.join(base, name)
/** Empty counts as not set: the keys are those that the program of then drew. */
const drawnKeys = (dataDir: string) => ({ HOLDFAST_ROOT_ACCESS_KEY: '', HOLDFAST_ROOT_SECRET_KEY: '', HOLDFAST_BOOTSTRAP_FILE: path.join(dataDir, 'bootstrap.yaml') })

async function startOn(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<{ server: TestServer; root: S3Client; second: S3Client; reader: S3Client }> {
  const server = await startServer({ dataDir, env: { ...drawnKeys(dataDir), ...env } })
  const clientOf = (keys: { accessKeyId: string; secretAccessKey: string }): S3Client => s3Client({ ...server, ...keys })
  return {
    server, root: clientOf(await rootKeys(dataDir)), second: clientOf({ accessKeyId: 'SECONDACCOUNTKEY', secretAccessKey: 'a-secret-of-the-second-account' }),
    reader: clientOf({ accessKeyId: 'READERKEY', secretAccessKey: 'a-secret-of-its-reader' }),
  }
}

async function isAsItWas({ root, second, reader }: { root: S3Client; second: S3Client; reader: S3Client }): Promise<void> {
  expect({ root: await allAnswers(root), second: await allAnswers(second) }).toEqual(await keptAnswers())
  const { Body } = await reader.send(new GetObjectCommand({ Bucket: 'second', Key: 'mine' }))
  expect(await Body?.transformToByteArray()).toEqual(new Uint8Array(bodyOf('mine', 50)))
  expect((await failure(reader.send(new PutObjectCommand({ Bucket: 'second', Key: 'not', Body: 'x' })))).code).toBe('AccessDenied')
}

async function findNothing(dataDir: string): Promise<void> {
  expect(await scrubReport(dataDir, '--digests')).toMatchObject({ complete: true, differences: 0, code: 0 })
  expect(await fsckReport(dataDir)).toMatchObject({ complete: true, differences: 0, code: 0 })
}

async function newDatabase(name: string): Promise<string> {
  await sql(external.url, `CREATE DATABASE ${name}`)
  return external.url.replace(/\/postgres$/, `/${name}`)
}

async function sql(connection: string | pg.ClientConfig, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client(connection)
  await client.connect()
  return client.query(text).finally(() => client.end())
}

async function bytesOf(client: S3Client, Bucket: string, Key: string, sizeOfRange?: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, Range: sizeOfRange }))
  return Buffer.from(await Body?.transformToByteArray() ?? [])
}

/** What was begun then is ended, and new things are done. */
async function goesOn(client: S3Client): Promise<void> {
  const [Bucket, Key] = ['plain', 'joined/later']
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket }))
  const UploadId = Uploads?.[0]?.UploadId
  const { Parts } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }))
  const named = Parts?.map(({ PartNumber, ETag, ChecksumCRC32 }) => ({ PartNumber, ETag, ChecksumCRC32 }))
  const done = await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts: named } }))
  const [first, last] = [bodyOf('part 1', 5 * 1024 ** 2), bodyOf('part 7', 1000)]
  const digests = [first, last].map((part) => createHash('md5').update(part).digest())
  expect(done.ETag).toBe(`"${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-2"`)
  expect((await bytesOf(client, Bucket, Key)).equals(Buffer.concat([first, last]))).toBe(true)
  expect((await bytesOf(client, Bucket, Key, `bytes=${first.length - 5}-${first.length + 4}`)).equals(Buffer.concat([first.subarray(-5), last.subarray(0, 5)]))).toBe(true)

  await client.send(new CreateBucketCommand({ Bucket: 'today' }))
  for (const bytes of [100, 400_000]) {
    await client.send(new PutObjectCommand({ Bucket: 'today', Key: String(bytes), Body: bodyOf('today', bytes) }))
    await client.send(new PutObjectCommand({ Bucket: 'history', Key: 'document', Body: bodyOf('today', bytes) }))
  }
}

async function wentOn(client: S3Client): Promise<void> {
  for (const bytes of [100, 400_000]) expect((await bytesOf(client, 'today', String(bytes))).equals(bodyOf('today', bytes))).toBe(true)
  expect((await bytesOf(client, 'history', 'document')).equals(bodyOf('today', 400_000))).toBe(true)
  expect((await bytesOf(client, 'plain', 'joined/later')).length).toBe(5 * 1024 ** 2 + 1000)
}

test('the migrations of then are what they were', async () => {
  const { kept, today } = await migrationHashes()
  expect(today).toEqual(kept)
})

describe('a data folder of the first format', () => {
  test('opens with every answer as it was, goes on, and scrub and fsck find nothing; the sweeper too takes only what was dead', async () => {
    const dataDir = folder('first')
    await restoreFolder(dataDir)
    // It is older than everything: what is dead goes at once.
    const opened = await startOn(dataDir, { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' })
    await isAsItWas(opened)
    const released = async (): Promise<number> => Number((await sql({ host: path.join(dataDir, 'postgres-socket'), user: 'holdfast', database: 'holdfast' }, 'SELECT count(*) AS n FROM released_blobs')).rows[0].n)
    while (await released() > 0) await sleep(200)
    await isAsItWas(opened)
    await findNothing(dataDir)
    await goesOn(opened.root)
    await wentOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.kill9()
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
  })

  test('opens over an external PostgreSQL, after its server was killed in the middle of the migration, and with several processes', async () => {
    const dataDir = folder('external')
    const url = await newDatabase('killed')
    await restoreFolder(dataDir, url)
    // A table of this name that is not committed yet: the migration waits behind its own first half for what becomes of it.
    const holder = new pg.Client(url)
    // It ends with its server, should the test fail before it.
    holder.on('error', () => {})
    await holder.connect()
    await holder.query('BEGIN; CREATE TABLE settings_version ()')
    for (let time = 0; time < 2; time++) {
      const waiting = `SELECT FROM pg_stat_activity WHERE datname = 'killed' AND wait_event_type = 'Lock' AND query LIKE '%settings_version%' AND pid <> pg_backend_pid()`
      const seen = until('the migration waits', async () => (await sql(url, waiting)).rowCount !== 0)
      expect((await failedStart({ HOLDFAST_DATA_DIR: dataDir, HOLDFAST_DATABASE_URL: url, HOLDFAST_PROCESSES: '1', ...drawnKeys(dataDir) }, seen)).code).toBeNull()
      await seen
      // Nothing of it is to be seen: the old program could still go on here.
      expect((await sql(url, `SELECT to_regclass('objects_wide') AS wide, (SELECT count(*)::int FROM drizzle.__drizzle_migrations) AS applied`)).rows).toEqual([{ wide: null, applied: 2 }])
      await sql(url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'killed' AND wait_event_type = 'Lock'`)
    }
    await holder.query('ROLLBACK')
    await holder.end()
    const opened = await startOn(dataDir, { HOLDFAST_DATABASE_URL: url, HOLDFAST_PROCESSES: '2' })
    await isAsItWas(opened)
    await goesOn(opened.root)
    await opened.server.kill9()
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.stop()
  })

  test('opens after its first starts were killed at any moment, with the database or without', async () => {
    const dataDir = folder('killed')
    await restoreFolder(dataDir)
    for (const killMs of [250, 400, 500, 600, 700, 850, 1000]) {
      await failedStart({ HOLDFAST_DATA_DIR: dataDir, HOLDFAST_PROCESSES: '1', ...drawnKeys(dataDir) }, killMs)
    }
    const opened = await startOn(dataDir)
    await isAsItWas(opened)
    await opened.server.kill9()
    await opened.server.restart()
    await isAsItWas(opened)
    await goesOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
  })
})

test('a backup for going back: the database first, the folder after it, while clients write, overwrite and delete', async () => {
  const dataDir = folder('running')
  const url = await newDatabase('running')
  const server = await startServer({ dataDir, env: { HOLDFAST_DATABASE_URL: url } })
  const client = s3Client(server)
  const world = newWorld(server, await newBucket(client), await newBucket(client, 'Enabled'))
  const load = startLoad(world, { clients: 8, largeBytesMax: 500_000 })
  await sleep(1500)
  const run = promisify(execFile)
  await run('pg_dump', ['--format=custom', `--file=${folder('dump')}`, url])
  // What is gone when its turn comes was a temporary file: cp says so, and copies the rest.
  await run('cp', ['-a', dataDir, folder('copy')]).catch((error: unknown) => expect(String(error)).toMatch(/No such file/))
  await sleep(500)
  await load.stop()
  await server.stop()

  const restored = await newDatabase('restored')
  await run('pg_restore', ['--dbname', restored, folder('dump')])
  await server.restart({ HOLDFAST_DATA_DIR: folder('copy'), HOLDFAST_DATABASE_URL: restored })
  // Each byte is verified as it is read.
  const answers = await allAnswers(client) as { versions: unknown[] }[]
  expect(answers.flatMap(({ versions }) => versions).length).toBeGreaterThan(20)
  expect(world.wrong).toEqual([])
  await server.stop()
})

describe('migrations since several servers may share a data folder', () => {
  test('only add, so that servers of both versions run over one database while they are replaced in turn', async () => {
    const drizzle = path.join(import.meta.dirname, '..', '..', 'drizzle')
    const names = (await readdir(drizzle)).filter((name) => name.endsWith('.sql') && name > '0005')
    const lines = (await Promise.all(names.map((name) => readFile(path.join(drizzle, name), 'utf8')))).flatMap((text) => text.split('\n'))
    const others = /\b(?:DROP|RENAME|TRUNCATE|SET NOT NULL|SET DATA TYPE)\b|^\s*(?:DELETE|UPDATE)\b|\bADD COLUMN\b(?!.*\bDEFAULT\b).*\bNOT NULL\b/i
    expect(lines.filter((line) => others.test(line))).toEqual([])
  })
})

describe('a data folder of a newer format is refused in words that say what to do, and stays as it was:', () => {
  let dataDir: string
  let url: string
  beforeAll(async () => {
    dataDir = folder('newer')
    url = await newDatabase('newer')
    await restoreFolder(dataDir)
    const { server } = await startOn(dataDir)
    await server.stop()
    await restoreFolder(folder('newer external'), url)
    const second = await startOn(folder('newer external'), { HOLDFAST_DATABASE_URL: url })
    await second.server.stop()
  })

  const whatToDo = /written by a newer Holdfast than this one|migrated by a newer Holdfast than this one/

  async function isRefused(env: Readonly<Record<string, string>>, named: string): Promise<void> {
    const dir = env['HOLDFAST_DATA_DIR'] ?? ''
    const before = await driveFiles(dir)
    const { code, output } = await failedStart({ ...drawnKeys(dir), ...env })
    expect(code).toBe(1)
    expect(output).toMatch(whatToDo)
    expect(output).toContain(named)
    expect(output).toContain('Nothing was changed. Start that version, or restore a backup that is as old as this program: the data')
    expect(await driveFiles(dir)).toEqual(before)
  }

  /** Hash of each file below the drive. */
  async function driveFiles(dir: string): Promise<Record<string, string>> {
    const found: Record<string, string> = {}
    for (const entry of await readdir(path.join(dir, 'drive'), { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name)
      if (entry.isFile()) found[file] = createHash('sha256').update(await readFile(file)).digest('hex')
    }
    return found
  }

  const unknown = `INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('unknown', 99999999999999)`

  test('a migration that this program does not know', async () => {
    const inside = async (text: string): Promise<void> => {
      const embedded = await startEmbedded({ dataDir, log: () => {} })
      await sql({ ...embedded.connection }, text)
      await embedded.stop()
    }
    await inside(unknown)
    await isRefused({ HOLDFAST_DATA_DIR: dataDir }, '1 of its migrations is not known here')
    for (const command of ['scrub', 'fsck']) expect(await holdfast(dataDir, command)).toMatchObject({ code: 2, stderr: expect.stringContaining('migrated by a newer Holdfast') })
    await inside(`DELETE FROM drizzle.__drizzle_migrations WHERE hash = 'unknown'`)
  })

  test('such a migration in an external database, also one that is older than the newest of this program', async () => {
    for (const text of [unknown, unknown.replace('99999999999999', '1795699000001')]) {
      await sql(url, text)
      await isRefused({ HOLDFAST_DATA_DIR: folder('newer external'), HOLDFAST_DATABASE_URL: url }, '1 of its migrations is not known here')
      await sql(url, `DELETE FROM drizzle.__drizzle_migrations WHERE hash = 'unknown'`)
    }
  })

  test('a drive whose marker names a later format, before the database is migrated', async () => {
    const old = folder('newer drive')
    const fresh = await newDatabase('untouched')
    await restoreFolder(old, fresh)
    const marker = path.join(old, 'drive', 'holdfast-drive.json')
    const text = await readFile(marker, 'utf8')
    await writeFile(marker, text.replace('"format":1', '"format":2,"more":"things"'))
    await isRefused({ HOLDFAST_DATA_DIR: old, HOLDFAST_DATABASE_URL: fresh }, 'holdfast-drive.json has format 2, this program knows 1')
    expect((await sql(fresh, 'SELECT FROM drizzle.__drizzle_migrations')).rowCount).toBe(2)
    await writeFile(marker, text.slice(0, 20))
    const damaged = await failedStart({ ...drawnKeys(old), HOLDFAST_DATA_DIR: old, HOLDFAST_DATABASE_URL: fresh })
    expect(damaged).toMatchObject({ code: 1, output: expect.stringContaining('holdfast-drive.json is damaged') })
  })

  test('a cluster of another PostgreSQL', async () => {
    const version = path.join(dataDir, 'postgres', 'PG_VERSION')
    const ours = await readFile(version)
    await writeFile(version, '99\n')
    const { code, output } = await failedStart({ ...drawnKeys(dataDir), HOLDFAST_DATA_DIR: dataDir })
    expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining('belongs to PostgreSQL 99; this program carries PostgreSQL 18. Dump it with 99 and restore it') })
    await writeFile(version, ours)
  })

  test.each([
    { format: 'HFSEGM02', number: 1 },
    { format: 'HFSEGM01', number: 2 },
  ])('a segment of a later format: $format, $number', async ({ format, number }) => {
    const head = Buffer.alloc(128)
    head.write(format, 'latin1')
    head.writeUInt32BE(number, 8)
    head.writeUInt32BE(crc32c(head.subarray(0, 124)), 124)
    const later = path.join(dataDir, 'drive', 'segments', '01'.repeat(16))
    await writeFile(later, Buffer.concat([head, Buffer.alloc(1000, 'later')]))
    await isRefused({ HOLDFAST_DATA_DIR: dataDir }, `segments/${'01'.repeat(16)} has a format that this program does not know`)
    expect(await holdfast(dataDir, 'fsck')).toMatchObject({ code: 2, stderr: expect.stringContaining('written by a newer Holdfast') })
    // One rotten bit is no new format.
    await writeFile(later, Buffer.concat([head.fill(1, 30, 31), Buffer.alloc(1000, 'later')]))
    const { server } = await startOn(dataDir)
    await server.stop()
    await rm(later)
  })
})
