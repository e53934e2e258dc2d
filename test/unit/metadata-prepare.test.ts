import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MetadataStore, PreparedPut, PutCommand } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore
let bucketId: number

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
  bucketId = await makeBucket(store, 'enabled')
})
afterAll(() => postgres.stop())

const put = (key: string, more: Partial<PutCommand> = {}): PutCommand => (
  { kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]), ...more }
)

/** A lane is free again a moment after it has answered. */
async function prepared(key: string): Promise<PreparedPut> {
  const found = store.prepare({ bucketId, key })
  if (found !== null) return found
  await sleep(5)
  return prepared(key)
}

test('a prepared put is committed with what its bytes turned out to be', async () => {
  const waiting = await prepared('a')
  await sleep(50)
  const command = put('a')
  expect(await waiting.commit(command)).toMatchObject({ ok: true, version: { key: 'a', etag: command.content.etag } })
  expect(await store.version(bucketId, 'a')).toMatchObject({ manifest: command.content.manifest })
})

test('what is written in between is seen by its conditions', async () => {
  const waiting = await prepared('b')
  await sleep(50)
  const between = store.commit(put('b'))
  expect(await waiting.commit(put('b', { when: { ifNoneMatch: '*' } }))).toMatchObject({ ok: true })
  expect(await between).toMatchObject({ ok: true })
  const late = await prepared('b')
  expect(await late.commit(put('b', { when: { ifNoneMatch: '*' } }))).toMatchObject({ ok: false, code: 'PreconditionFailed' })
})

test('one that is cancelled does nothing, and holds nobody up', async () => {
  const waiting = await prepared('c')
  await sleep(50)
  waiting.cancel()
  expect(await store.commit(put('c', { when: { ifNoneMatch: '*' } }))).toMatchObject({ ok: true })
  expect(await store.version(bucketId, 'c')).not.toBeNull()
})

test('several of one turn share a group; while a lane is busy there is none', async () => {
  await sleep(50)
  const three = ['d1', 'd2', 'd3'].map((key) => store.prepare({ bucketId, key }))
  await sleep(20)
  expect(store.prepare({ bucketId, key: 'd4' })).toBeNull()
  three[1]?.cancel()
  const last = three[2]?.commit(put('d3'))
  expect(await three[0]?.commit(put('d1'))).toMatchObject({ ok: true })
  expect(await last).toMatchObject({ ok: true })
  expect(await store.version(bucketId, 'd2')).toBeNull()
})

test('bytes that do not come keep their key from nobody for long, and are committed when they come', async () => {
  await sleep(50)
  const [waiting, quick] = ['e', 'e2'].map((key) => store.prepare({ bucketId, key }))
  await sleep(20)
  // They share a group, and one of them has come.
  expect(await quick?.commit(put('e2'))).toMatchObject({ ok: true })
  const other = put('e')
  expect(await store.commit(other)).toMatchObject({ ok: true })
  const late = put('e')
  expect(await waiting?.commit(late)).toMatchObject({ ok: true })
  expect(await store.version(bucketId, 'e')).toMatchObject({ manifest: late.content.manifest })
})

test('a put that waited for another one is younger than it', async () => {
  const other = await postgres.openStore()
  const first = await prepared('w')
  await sleep(50)
  const waits = other.commit(put('w'))
  await sleep(200)
  const goesOn = Date.now()
  await first.commit(put('w'))
  const second = await waits
  expect(second.ok && second.version.lastModified).toBeGreaterThanOrEqual(goesOn)
})
