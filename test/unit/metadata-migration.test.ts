import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { versionIdOf } from '../../src/versioning/versions.ts'
import { contentOf, freshExtent, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

/** Databases of the first release are opened by this one: everything that is in them stays what it was. */

let postgres: TestPostgres
beforeAll(async () => { postgres = await startTestPostgres('empty') })
afterAll(() => postgres.stop())

const migrations = join(import.meta.dirname, '..', '..', 'drizzle')
const bytes = (first: number, length: number): string => first.toString(16).padStart(2, '0').repeat(length)

/** The schema as the first `count` migrations left it. */
async function migrateUntil(count: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-migrations-'))
  await mkdir(join(folder, 'meta'))
  const journal = JSON.parse(await readFile(join(migrations, 'meta', '_journal.json'), 'utf8')) as { entries: { tag: string }[] }
  journal.entries.splice(count)
  await writeFile(join(folder, 'meta', '_journal.json'), JSON.stringify(journal))
  for (const { tag } of journal.entries) await cp(join(migrations, `${tag}.sql`), join(folder, `${tag}.sql`))
  const client = new pg.Client(postgres.connection)
  await client.connect()
  await migrate(drizzle(client), { migrationsFolder: folder })
  await client.end()
  await rm(folder, { recursive: true })
}

test('rows of the first schema keep their identity, digests, owner, manifest and place in the history of their key', async () => {
  await migrateUntil(2)
  await postgres.query(`INSERT INTO accounts (id, canonical_id, display_name, email, created_at) VALUES ('${testAccountId}', 'c', 'd', 'e', 0), ('000000000007', 'f', 'd', 'e', 0)`)
  const [bucket] = await postgres.query<{ id: number }>(
    `INSERT INTO buckets (name, account_id, region, versioning, created_at) VALUES ('old', '${testAccountId}', 'us-east-1', 'enabled', 0) RETURNING id`,
  )
  const bucketId = bucket?.id as number
  const manifest = '01021021a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a18020010117b2b2b2b2b2b2b2b2b2b2b2c0c4076121c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c30a058020066b6579020102'
  const row = (key: string, seq: number, more: Record<string, string | number | boolean>): Promise<unknown> => {
    const { table = 'objects', ...changed } = more
    const fields = {
      bucket_id: bucketId, key, seq, nonce: -seq, is_null: false, delete_marker: false, size: 4106, etag: bytes(seq, 16), last_modified: 1000 * seq, owner_account_id: testAccountId,
      manifest: Buffer.from(manifest, 'hex'), ...changed,
    }
    return postgres.query(`INSERT INTO ${table} (${Object.keys(fields).join(', ')}) VALUES (${Object.keys(fields).map((_, index) => `$${index + 1}`).join(', ')})`, Object.values(fields))
  }
  const sha = Buffer.from(bytes(9, 32), 'hex').toString('base64')
  await row('one', 1, { checksum_algorithm: 'CRC64NVME', checksum_type: 'FULL_OBJECT', checksum_value: 'AQIDBAUGBwg=', is_null: true, metadata: '{"system":{"content-type":"a/b"},"user":{"x":"y"}}' })
  await row('parts', 2, { etag: `${bytes(2, 16)}-10000`, checksum_algorithm: 'SHA256', checksum_type: 'COMPOSITE', checksum_value: `${sha}-10000`, owner_account_id: '000000000007' })
  await row('gone', 5, { delete_marker: true, etag: '', size: 0 })
  await row('gone', 4, { table: 'noncurrent_versions', noncurrent_seq: 5, tags: '[{"key":"k","value":"v"}]' })
  await row('gone', 3, { table: 'noncurrent_versions', noncurrent_seq: 4, delete_marker: true, etag: '', size: 0, is_null: true })
  await postgres.query(`SELECT setval('version_sequence', 100)`)

  const store = await postgres.openStore()
  const idOf = (seq: number): string => versionIdOf(seq, BigInt.asUintN(64, BigInt(-seq)))
  expect(await store.version(bucketId, 'one')).toMatchObject({
    seq: 1, versionId: 'null', size: 4106, etag: bytes(1, 16), lastModified: 1000, ownerAccountId: null, checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AQIDBAUGBwg=' },
    metadata: { system: { 'content-type': 'a/b' }, user: { x: 'y' } }, manifest: [{ blob: bytes(0xa1, 16) }, { blob: bytes(0xc3, 16), dataKey: 'key' }],
  })
  expect(await store.version(bucketId, 'parts')).toMatchObject({
    versionId: idOf(2), etag: `${bytes(2, 16)}-10000`, ownerAccountId: '000000000007', checksum: { algorithm: 'SHA256', type: 'COMPOSITE', value: `${sha}-10000` },
  })
  expect(await store.version(bucketId, 'gone')).toMatchObject({ isDeleteMarker: true, isLatest: true, versionId: idOf(5) })
  expect(await store.version(bucketId, 'gone', 'null')).toMatchObject({ isDeleteMarker: true, isLatest: false, seq: 3 })
  const page = { prefix: '', delimiter: '', after: '', limit: 10 }
  expect((await store.listObjects(bucketId, page)).rows.map(({ key, checksumAlgorithm }) => [key, checksumAlgorithm])).toEqual([['one', 'CRC64NVME'], ['parts', 'SHA256']])
  const history = async () => (await store.listVersions(bucketId, page)).rows.map(({ key, seq, isLatest, isDeleteMarker }) => [key, seq, isLatest, isDeleteMarker])
  expect(await history()).toEqual([['gone', 5, true, true], ['gone', 4, false, false], ['gone', 3, false, true], ['one', 1, true, false], ['parts', 2, true, false]])

  // The current marker goes: the version below it is current again.
  await store.commit({ kind: 'delete', bucketId, key: 'gone', versionId: idOf(5), ownerAccountId: testAccountId, when: {} })
  expect(await store.version(bucketId, 'gone')).toMatchObject({ seq: 4, tags: [{ key: 'k', value: 'v' }] })
  const put = await store.commit({ kind: 'put', bucketId, key: 'gone', ownerAccountId: testAccountId, when: { ifMatch: bytes(4, 16) }, content: contentOf([freshExtent()]) })
  expect(put.ok).toBe(true)
  expect((await history()).slice(0, 3)).toEqual([['gone', 102, true, false], ['gone', 4, false, false], ['gone', 3, false, true]])
})
