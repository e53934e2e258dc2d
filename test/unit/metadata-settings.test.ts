import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, openTestStore, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

/** Defaults that an operator may have set for a server or database of their own must not weaken a promise. */

let postgres: TestPostgres
let store: MetadataStore
const logged: string[] = []

beforeAll(async () => {
  postgres = await startTestPostgres()
  await (await openTestStore({ connection: postgres.connection })).close()
  await postgres.query(`ALTER DATABASE holdfast SET synchronous_commit = off`)
  await postgres.query(`ALTER DATABASE holdfast SET default_transaction_isolation = 'repeatable read'`)
  await postgres.query(`ALTER SYSTEM SET fsync = off`)
  await postgres.query('SELECT pg_reload_conf()')
  await vi.waitFor(async () => expect(await postgres.query('SHOW fsync')).toEqual([{ fsync: 'off' }]))
  // Notes under which setting each table is written to.
  await postgres.query('CREATE TABLE written (name text, setting text)')
  await postgres.query(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO written VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END $$`)
  for (const table of ['buckets', 'bucket_settings', 'uploads', 'objects', 'drives']) {
    await postgres.query(`CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON ${table} EXECUTE FUNCTION note()`)
  }
  store = await postgres.openStore({ log: (message) => logged.push(message) })
})
afterAll(() => postgres.stop())

test('every kind of write waits for the disk', async () => {
  const bucketId = await makeBucket(store, 'enabled')
  await store.putSetting(bucketId, 'tagging', { document: '[]', compiled: [] })
  await store.registerDrive('a-drive')
  await store.createUpload({
    bucketId, key: 'k', initiator: { id: 'i', displayName: 'i' }, ownerAccountId: testAccountId, metadata: { system: {}, user: {} }, tags: [], checksumAlgorithm: null,
    checksumType: null,
  })
  await store.commit({ kind: 'put', bucketId, key: 'k', ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
  const written = await postgres.query<{ name: string; setting: string }>('SELECT DISTINCT name, setting FROM written ORDER BY name, setting')
  expect(written).toEqual(['bucket_settings', 'buckets', 'drives', 'objects', 'uploads'].map((name) => ({ name, setting: 'on' })))
})

test('what a command waited for is seen by it', async () => {
  const other = await postgres.openStore()
  const bucketId = await makeBucket(store, 'enabled')
  const results = await Promise.all(Array.from({ length: 60 }, (_, n) => (n % 2 === 0 ? store : other).commit({
    kind: 'put', bucketId, key: 'one', ownerAccountId: testAccountId, when: n % 3 === 0 ? { ifNoneMatch: '*' } : {}, content: contentOf([freshExtent()]),
  })))
  const stored = results.filter((result) => result.ok).length
  expect((await store.listVersions(bucketId, { prefix: '', delimiter: '', after: '', limit: 1000 })).rows).toHaveLength(stored)
  for (let i = 0; i < 20; i++) {
    const doomed = await makeBucket(store)
    const [deleted, put] = await Promise.all([
      other.deleteBucket(doomed),
      store.commit({ kind: 'put', bucketId: doomed, key: 'k', ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) }),
    ])
    expect(deleted.ok).not.toBe(put.ok)
  }
})

test('a server that does not sync is told of', () => {
  expect(logged.join()).toContain('fsync')
})

test('a version that is promoted and retired again in one group has the number at which it stopped last', async () => {
  const bucketId = await makeBucket(store, 'enabled')
  const put = () => store.commit({ kind: 'put', bucketId, key: 'k', ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
  await put()
  const second = await put()
  // Sent in one turn: one group.
  const [, third] = await Promise.all([
    store.commit({ kind: 'delete', bucketId, key: 'k', ownerAccountId: testAccountId, when: {}, versionId: second.ok ? second.version.versionId : '' }), put(),
  ])
  const [row] = await postgres.query<{ stopped: string }>('SELECT noncurrent_seq AS stopped FROM noncurrent_versions WHERE bucket_id = $1', [bucketId])
  expect(Number(row?.stopped)).toBe(third.ok ? third.version.seq : 0)
})
