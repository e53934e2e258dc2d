import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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

describe('a put that is foreseen whole', () => {
  let plainId: number
  let count = 0
  const plain = (more: Partial<PutCommand> = {}): PutCommand => put(`k${++count}`, { bucketId: plainId, ...more })

  async function ahead(command: PutCommand): Promise<PreparedPut> {
    const found = store.prepare(command)
    if (found === null) await sleep(5)
    return found ?? ahead(command)
  }
  /** Long enough for its statement to have run; what is checked then holds either way. */
  async function waited(command: PutCommand): Promise<PreparedPut> {
    const waiting = await ahead(command)
    await sleep(50)
    return waiting
  }
  const seen = (key: string) => store.version(plainId, key)
  const usage = () => store.usage(plainId)

  beforeAll(async () => {
    plainId = await makeBucket(store, 'off')
    // Both lanes learn that it keeps no versions.
    await Promise.all(Array.from({ length: 600 }, (_, index) => store.commit(plain({ key: `first${index}` }))))
  })

  test('is nobody’s before it is committed, and is counted then', async () => {
    const before = await usage()
    const command = plain({ content: { ...contentOf([freshExtent()]), tags: [{ key: 'a', value: '"\\' }], metadata: { system: { 'content-type': 'text/plain' }, user: { a: 'é' } } } })
    const waiting = await waited(command)
    expect([await seen(command.key), await usage()]).toEqual([null, before])
    const result = await waiting.commit(command)
    expect(result).toMatchObject({ ok: true, versioning: 'off', version: { key: command.key, versionId: 'null', ownerAccountId: null } })
    expect(await seen(command.key)).toEqual(result.ok && result.version)
    expect(await usage()).toEqual({ objects: before.objects + 1, versions: before.versions + 1, bytes: before.bytes + command.content.size })
  })

  test('leaves nothing when it is cancelled, and its key is free', async () => {
    const before = await usage()
    const command = plain()
    const waiting = await waited(command)
    waiting.cancel()
    expect(await store.commit(plain({ key: command.key, when: { ifNoneMatch: '*' } }))).toMatchObject({ ok: true })
    expect((await usage()).objects).toBe(before.objects + 1)
  })

  test('that turns out to be another one is committed as the other one', async () => {
    const command = plain()
    const waiting = await waited(command)
    const other = plain({ key: command.key })
    expect(await waiting.commit(other)).toMatchObject({ ok: true })
    expect(await seen(command.key)).toMatchObject({ manifest: other.content.manifest })
  })

  test('replaces what the key has, and its bytes are released', async () => {
    const before = await usage()
    const old = plain()
    await store.commit(old)
    const fresh = plain({ key: old.key })
    expect(await (await waited(fresh)).commit(fresh)).toMatchObject({ ok: true })
    expect(await seen(old.key)).toMatchObject({ manifest: fresh.content.manifest })
    const released = await store.released(-60_000, 1000)
    expect(released.map(({ blob }) => blob)).toContain(old.content.manifest[0]?.blob)
    expect(released.map(({ blob }) => blob)).not.toContain(fresh.content.manifest[0]?.blob)
    expect((await usage()).objects).toBe(before.objects + 1)
  })

  test('meets its conditions, or is refused by them', async () => {
    const command = plain({ when: { ifNoneMatch: '*' } })
    expect(await (await waited(command)).commit(command)).toMatchObject({ ok: true })
    const second = plain({ key: command.key, when: { ifNoneMatch: '*' } })
    expect(await (await waited(second)).commit(second)).toMatchObject({ ok: false, code: 'PreconditionFailed' })
    const third = plain({ when: { ifMatch: '0'.repeat(32) } })
    expect(await (await waited(third)).commit(third)).toMatchObject({ ok: false, code: 'NoSuchKey' })
  })

  test('is numbered and planned as ever where its bucket has come to keep versions, or is gone', async () => {
    const [versionedId, goneId] = [await makeBucket(store, 'off'), await makeBucket(store, 'off')]
    for (const bucketId of [versionedId, goneId]) await Promise.all(Array.from({ length: 600 }, (_, index) => store.commit(plain({ bucketId, key: `first${index}` }))))
    const [versioned, gone] = [plain({ bucketId: versionedId }), plain({ bucketId: goneId })]
    await store.setVersioning(versionedId, 'enabled')
    const result = await (await waited(versioned)).commit(versioned)
    expect(result).toMatchObject({ ok: true, versioning: 'enabled' })
    expect(result.ok && result.version.versionId).not.toBe('null')
    for (let index = 0; index < 600; index++) await store.commit({ kind: 'delete', bucketId: goneId, key: `first${index}`, ownerAccountId: testAccountId, when: {} })
    expect(await store.deleteBucket(goneId)).toEqual({ ok: true })
    expect(await (await waited(gone)).commit(gone)).toMatchObject({ ok: false, code: 'NoSuchBucket' })
  })

  test('comes late, and is committed then', async () => {
    const command = plain()
    const waiting = await waited(command)
    await sleep(1200)
    // Its locks were given back meanwhile, so that this one need not wait.
    expect(await store.commit(plain({ key: command.key }))).toMatchObject({ ok: true })
    expect(await waiting.commit(command)).toMatchObject({ ok: true })
    expect(await seen(command.key)).toMatchObject({ manifest: command.content.manifest })
  })

  test('of another account is that account’s', async () => {
    const command = plain({ ownerAccountId: '210987654321' })
    const result = await (await waited(command)).commit(command)
    expect(result.ok && result.version.ownerAccountId).toBe('210987654321')
    expect(await seen(command.key)).toMatchObject({ ownerAccountId: '210987654321' })
  })
})
