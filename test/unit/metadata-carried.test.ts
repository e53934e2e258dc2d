import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { CarriedRecord } from '../../src/domain/model.ts'
import type { MetadataStore, PutCommand } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, openTestStore, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'
import { startProxy, type PostgresProxy } from '../support/postgres-proxy.ts'

/** Puts that bring the bytes of their records, of a process that is alone with its database. */

let postgres: TestPostgres
let proxy: PostgresProxy
let store: MetadataStore
let bucketId: number
let segment: string
let end: number

beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())
beforeEach(async () => {
  proxy = await startProxy(postgres.connection.host)
  store = await openTestStore({ connection: { ...postgres.connection, host: proxy.host }, shared: false, waitMs: 2000 })
  bucketId = await makeBucket(store)
  segment = randomBytes(11).toString('hex')
  end = 128
  // Of buckets that were looked at before, puts need no plan: both lanes have seen this one.
  await Promise.all(Array.from({ length: 300 }, (_, index) => store.commit({ ...put(`before/${index}`), carried: null })))
})
afterEach(async () => {
  await store.close()
  await proxy.close()
})

function record(size = 100): CarriedRecord {
  const made = { segment, at: end, bytes: randomBytes(size) }
  end += size
  return made
}

const put = (key: string, more: Partial<PutCommand> = {}): PutCommand & { carried: CarriedRecord } => {
  const carried = record()
  return { kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]), ...more, carried }
}

const carried = async (): Promise<CarriedRecord[]> => (await store.carriedRecords()).filter((one) => one.segment === segment)

test('a row and the bytes of its record are committed together, until they are forgotten', async () => {
  const commands = [put('a'), put('b'), put('c')]
  for (const command of commands) {
    expect(await store.commit(command)).toMatchObject({ ok: true, version: { key: command.key, manifest: command.content.manifest }, versioning: 'off' })
    expect(await store.version(bucketId, command.key)).toMatchObject({ manifest: command.content.manifest, etag: command.content.etag })
  }
  expect(await carried()).toEqual(commands.map((command) => command.carried))
  await store.forgetCarried(segment, commands[2]?.carried.at ?? 0)
  expect(await carried()).toEqual([commands[2]?.carried])
  await store.forgetCarried(randomBytes(11).toString('hex'), end)
  expect(await carried()).toHaveLength(1)
  await store.forgetCarried(segment, end)
  expect(await carried()).toEqual([])
  expect(await store.usage(bucketId)).toMatchObject({ objects: 303 })
})

test('also where a plan is needed: over an object, in a group, where versions are kept', async () => {
  await store.commit(put('over'))
  const over = put('over')
  expect(await store.commit(over)).toMatchObject({ ok: true })
  const group = Array.from({ length: 5 }, (_, index) => put(`group/${index}`))
  await Promise.all(group.map((command) => store.commit(command)))
  await store.setVersioning(bucketId, 'enabled')
  const kept = [put('over'), put('over')]
  for (const command of kept) expect(await store.commit(command)).toMatchObject({ ok: true, versioning: 'enabled' })
  const known = await carried()
  for (const command of [over, ...group, ...kept]) expect(known).toContainEqual(command.carried)
  expect((await store.listVersions(bucketId, { prefix: 'over', delimiter: '', after: '', limit: 10 })).rows).toHaveLength(3)
})

test('of a put that is refused nothing is carried, and its blob is released', async () => {
  await store.commit(put('there'))
  const refused = put('there', { when: { ifNoneMatch: '*' } })
  expect(await store.commit(refused)).toMatchObject({ ok: false, code: 'PreconditionFailed' })
  expect(await carried()).not.toContainEqual(refused.carried)
  expect((await store.released(-1, 1000)).map(({ blob }) => blob)).toContain(refused.content.manifest[0]?.blob)
})

test('a COMMIT whose answer was lost is found to be done and not done twice, though all that is synced is being forgotten', async () => {
  const before = await store.released(-1, 1000)
  for (let i = 0; i < 5; i++) {
    proxy.cutAtCommit('after', 1)
    const command = put(`after/${i}`)
    let running = true
    const committed = store.commit(command).finally(() => { running = false })
    while (running) await store.forgetCarried(segment, end).catch(() => undefined)
    await expect(committed).resolves.toMatchObject({ ok: true, version: { versionId: 'null', manifest: command.content.manifest } })
    expect(await store.version(bucketId, command.key)).toMatchObject({ manifest: command.content.manifest })
  }
  expect(proxy.cuts()).toBe(5)
  // Done a second time, each would have replaced itself, and given its bytes away.
  expect(await store.released(-1, 1000)).toEqual(before)
  await store.forgetCarried(segment, end)
  expect(await carried()).toEqual([])
})

test('a COMMIT that never arrived is found to be missing, and runs again', async () => {
  proxy.cutAtCommit('before', 2)
  const command = put('before-cut', { when: { ifNoneMatch: '*' } })
  expect(await store.commit(command)).toMatchObject({ ok: true })
  expect(proxy.cuts()).toBe(2)
  expect(await carried()).toEqual([command.carried])
})

test('nothing is carried while both lanes are busy, nor ever where others use the database', async () => {
  await expect.poll(() => store.mayCarry()).toBe(true)
  const waiting = [store.prepare({ bucketId, key: 'x' }), null]
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  expect(store.mayCarry()).toBe(true)
  waiting[1] = store.prepare({ bucketId, key: 'y' })
  const many = Array.from({ length: 1000 }, (_, index) => store.commit({ ...put(`many/${index}`), carried: null }))
  await new Promise((resolve) => { setImmediate(resolve) })
  expect(store.mayCarry()).toBe(false)
  for (const each of waiting) each?.cancel()
  await Promise.all(many)
  const other = await openTestStore({ connection: postgres.connection })
  expect(other.mayCarry()).toBe(false)
  await other.close()
})
