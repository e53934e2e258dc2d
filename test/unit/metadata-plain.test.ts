import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DeleteCommand, MetadataStore, PutCommand } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

/** A server that saw a bucket while it kept no versions, and another one that has changed that. */

let postgres: TestPostgres
let knows: MetadataStore
let changes: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  knows = await postgres.openStore()
  changes = await postgres.openStore()
})
afterAll(() => postgres.stop())

const put = (bucketId: number, key: string): PutCommand => ({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
const remove = (bucketId: number, key: string): DeleteCommand => ({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {} })

async function versionsOf(bucketId: number): Promise<string[]> {
  const rows = await postgres.query(`SELECT key, nonce IS NULL AS isnull, etag IS NULL AS ismarker FROM (SELECT key, nonce, etag, seq FROM objects WHERE bucket_id = ${bucketId}
    UNION ALL SELECT key, nonce, etag, seq FROM noncurrent_versions WHERE bucket_id = ${bucketId}) AS v ORDER BY key, seq`)
  return (rows as { key: string; isnull: boolean; ismarker: boolean }[]).map(({ key, isnull, ismarker }) => `${key} ${isnull ? 'null' : 'id'}${ismarker ? ' marker' : ''}`)
}

async function seenPlain(): Promise<number> {
  const bucketId = await makeBucket(changes)
  // By each of its lanes.
  await Promise.all(Array.from({ length: 4 }, async (_, index) => {
    await knows.commit(put(bucketId, `seen-${index}`))
    await knows.commit(remove(bucketId, `seen-${index}`))
  }))
  return bucketId
}

test('a deletion keeps what it hides, and leaves a marker', async () => {
  const bucketId = await seenPlain()
  await changes.commit(put(bucketId, 'a'))
  await changes.setVersioning(bucketId, 'enabled')
  expect(await knows.commit(remove(bucketId, 'a'))).toMatchObject({ ok: true, deleteMarker: true, versioning: 'enabled' })
  expect(await versionsOf(bucketId)).toEqual(['a null', 'a id marker'])
})

test('a put that replaces the null version finds it below the current one', async () => {
  const bucketId = await seenPlain()
  await changes.commit(put(bucketId, 'b'))
  await changes.setVersioning(bucketId, 'enabled')
  await changes.commit(put(bucketId, 'b'))
  await changes.setVersioning(bucketId, 'suspended')
  expect(await knows.commit(put(bucketId, 'b'))).toMatchObject({ ok: true, versioning: 'suspended' })
  expect(await versionsOf(bucketId)).toEqual(['b id', 'b null'])
})

test('a bucket that keeps versions and one that does not share a group', async () => {
  const [plain, versioned] = [await seenPlain(), await seenPlain()]
  await Promise.all([plain, versioned].map((bucketId) => changes.commit(put(bucketId, 'c'))))
  await changes.setVersioning(versioned, 'enabled')
  await Promise.all([plain, versioned].map((bucketId) => knows.commit(remove(bucketId, 'c'))))
  expect(await versionsOf(plain)).toEqual([])
  expect(await versionsOf(versioned)).toEqual(['c null', 'c id marker'])
})
