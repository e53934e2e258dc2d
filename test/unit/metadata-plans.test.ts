import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  // As after everything was deleted: the planner knows for certain that the tables are empty, and nobody tells it otherwise for a while.
  for (const table of tables) await postgres.query(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`)
  await postgres.query('VACUUM (ANALYZE)')
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

const tables = ['objects', 'noncurrent_versions']

const put = async (bucketId: number, key: string) => {
  const result = await store.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
  if (!result.ok) throw new Error(result.code)
  return result.version
}
const remove = (bucketId: number, key: string, versionId?: string, when = {}) =>
  store.commit({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when, ...(versionId === undefined ? {} : { versionId }) })

/** What there is to do with the keys and versions of a bucket, once. */
async function everything(plain: number, versioned: number, key: string): Promise<void> {
  for (const bucketId of [plain, versioned]) {
    const first = await put(bucketId, key)
    await put(bucketId, key)
    // Two in one turn of the event loop are looked up by a list of keys.
    expect(await Promise.all([key, `${key}-missing`].map((name) => store.version(bucketId, name)))).toEqual([expect.anything(), null])
    await store.version(bucketId, key, first.versionId)
    await remove(bucketId, key, first.versionId)
    await remove(bucketId, `${key}-missing`)
    await store.version(bucketId, `${key}-missing`)
    await put(bucketId, key)
    await remove(bucketId, key, undefined, { ifMatch: '*' })
    await put(bucketId, key)
    await remove(bucketId, key)
  }
}

test('a command reads rows by their keys also where a table was empty when its statements were planned', { timeout: 60_000 }, async () => {
  const plain = await makeBucket(store)
  const versioned = await makeBucket(store, 'enabled')
  await everything(plain, versioned, 'first')
  const fill = 3000
  for (let at = 0; at < fill; at += 500) {
    await Promise.all(Array.from({ length: 500 }, async (_, index) => {
      const key = `fill-${at + index}`
      await put(plain, key)
      await put(versioned, key)
      await put(versioned, key)
      await remove(versioned, `${key}-missing`)
    }))
  }
  const times = 40
  for (let index = 0; index < times; index++) await everything(plain, versioned, `again-${index}`)
  // Sessions tell what they read when they end, at the latest.
  await store.close()
  const others = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
  await expect.poll(async () => (await postgres.query(others)).length, { timeout: 10_000 }).toBe(0)
  const rows = await postgres.query<{ relname: string; read: string }>(
    `SELECT t.relname, t.seq_tup_read + sum(i.idx_tup_read) AS read FROM pg_stat_user_tables t JOIN pg_stat_user_indexes i USING (relid)
     WHERE t.relname = ANY ($1) GROUP BY t.relname, t.seq_tup_read`, [tables],
  )
  const commands = 4 * fill + times * 20
  expect(rows).toHaveLength(tables.length)
  // A statement that goes over a table reads `fill` rows each of the `times`.
  for (const { relname, read } of rows) expect(Number(read), relname).toBeLessThan(4 * commands)
})
