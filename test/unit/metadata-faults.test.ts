import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { keyLock } from '../../src/metadata/postgres/locks.ts'
import type { DeleteCommand, MetadataStore, PutResult } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, openTestStore, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'
import { startProxy, type PostgresProxy } from '../support/postgres-proxy.ts'

let postgres: TestPostgres
let proxy: PostgresProxy
let store: MetadataStore
let bucketId: number

beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())
beforeEach(async () => {
  proxy = await startProxy(postgres.connection.host)
  store = await openTestStore({ connection: { ...postgres.connection, host: proxy.host }, waitMs: 2000 })
  bucketId = await makeBucket(store, 'enabled')
})
afterEach(async () => {
  await store.close()
  await proxy.close()
})

const put = (key: string, etag?: string): Promise<PutResult> => store.commit({
  kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()], etag === undefined ? {} : { etag }),
})

async function versionsOf(key: string): Promise<string[]> {
  return (await store.listVersions(bucketId, { prefix: key, delimiter: '', after: '', limit: 1000 })).rows.map(({ versionId }) => versionId)
}

describe('a lost database', () => {
  test('a COMMIT whose answer was lost is found to be done, and is not done twice', async () => {
    for (let i = 0; i < 3; i++) {
      proxy.cutAtCommit('after', 1)
      const result = await put(`after/${i}`)
      expect(await versionsOf(`after/${i}`)).toEqual([result.ok ? result.version.versionId : 'refused'])
    }
    expect(proxy.cuts()).toBe(3)
  })

  test('a COMMIT that never arrived is found to be missing, and runs again', async () => {
    proxy.cutAtCommit('before', 2)
    const result = await put('before')
    expect(proxy.cuts()).toBe(2)
    expect(await versionsOf('before')).toEqual([result.ok ? result.version.versionId : 'refused'])
  })

  test('sessions that are ended under load lose and double nothing', async () => {
    let going = true
    const storm = (async () => {
      while (going) {
        await postgres.query(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
        await new Promise((resolve) => setTimeout(resolve, 30))
      }
    })()
    const outcomes = await Promise.all(Array.from({ length: 16 }, async (_, writer) => {
      const made: (string | null)[] = []
      for (let i = 0; i < 20; i++) {
        made.unshift(await put(`storm/${writer}/`).then((result) => (result.ok ? result.version.versionId : null), () => null))
      }
      return made
    }))
    going = false
    await storm
    for (const [writer, made] of outcomes.entries()) {
      const stored = await versionsOf(`storm/${writer}/`)
      const acknowledged = made.filter((id) => id !== null)
      expect(stored.filter((id) => acknowledged.includes(id))).toEqual(acknowledged)
      // A write that was answered with an error may be there or not, but only once.
      expect(stored.length).toBeLessThanOrEqual(made.length)
    }
  })

  test('while the database is away every call is refused, and works again by itself', async () => {
    await put('there')
    proxy.away(true)
    const refused = { code: 'ServiceUnavailable', headers: { 'retry-after': '1' } }
    const calls = [put('x'), store.version(bucketId, 'there'), store.listObjects(bucketId, { prefix: '', delimiter: '', after: '', limit: 1 }), store.ping(), store.setVersioning(bucketId, 'suspended')]
    for (const result of await Promise.allSettled(calls)) expect(result).toMatchObject({ status: 'rejected', reason: refused })
    proxy.away(false)
    await expect.poll(() => store.ping().then(() => true, () => false), { timeout: 10_000 }).toBe(true)
    // Every connection heals by itself, each after its own pause.
    await expect.poll(() => put('again').then(({ ok }) => ok, () => false), { timeout: 10_000 }).toBe(true)
    expect(await store.version(bucketId, 'there')).toMatchObject({ key: 'there' })
  })

  test('a session whose server dies when it is ready is refused, and ends nothing else', async () => {
    const unheard: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    onTestFinished(() => {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => void unheard.push(error))
    for (const work of [makeBucket, (second: MetadataStore) => second.sweeping(async () => true)]) {
      const own = await startProxy(postgres.connection.host)
      const second = await openTestStore({ connection: { ...postgres.connection, host: own.host }, lazy: true })
      await second.ping()
      own.dieOnceReady()
      // There is one idle session, so that the other work gets a fresh one, which dies.
      const done = await Promise.allSettled([work(second), work(second)])
      expect(done).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'ServiceUnavailable' } }])
      await work(second)
      await second.close()
      expect(own.cuts()).toBe(1)
      await own.close()
    }
    expect(unheard).toEqual([])
  })

  test('one bad command in a group fails alone', async () => {
    const results = await Promise.allSettled([put('good/1'), put('bad\0'), put('good/2')])
    expect(results).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'InvalidArgument' } }, { status: 'fulfilled' }])
    expect(await store.listObjects(bucketId, { prefix: 'good/', delimiter: '', after: '', limit: 10 })).toMatchObject({ rows: [{ key: 'good/1' }, { key: 'good/2' }] })
  })

  test('of many at once each has its own outcome, in their order, and what the queue has no room for is refused', async () => {
    const kept = await put('many/kept')
    const remove = (key: string, versionId?: string): DeleteCommand => ({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {}, ...versionId === undefined ? {} : { versionId } })
    const versionId = kept.ok ? kept.version.versionId : ''
    const some = await store.commitAll([remove('many/kept', versionId), remove('many/kept', versionId), remove('bad\0'), { ...remove('many/none'), bucketId: 0 }, remove('many/new')])
    expect(some).toMatchObject([
      { status: 'fulfilled', value: { ok: true, versionId } }, { status: 'fulfilled', value: { ok: true } }, { status: 'rejected', reason: { code: 'InvalidArgument' } },
      { status: 'fulfilled', value: { ok: false, code: 'NoSuchBucket' } }, { status: 'fulfilled', value: { ok: true, deleteMarker: true } },
    ])
    expect(await store.commitAll([])).toEqual([])
    const flood = await store.commitAll(Array.from({ length: 9000 }, (_, i) => remove(`many/flood/${i}`)))
    const taken = flood.findIndex(({ status }) => status === 'rejected')
    expect(taken).toBeGreaterThan(8000)
    for (const result of flood.slice(taken)) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'SlowDown' } })
    expect((await store.usage(bucketId)).versions).toBe(taken + 1)
  })

  test('a flood is refused beyond the queue instead of growing without bound', async () => {
    const results = await Promise.allSettled(Array.from({ length: 10_000 }, (_, i) => put(`flood/${i}`)))
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.every((result) => result.reason.code === 'SlowDown')).toBe(true)
    expect((await store.usage(bucketId)).objects).toBe(10_000 - refused.length)
  })
})

describe('concurrency', () => {
  test('of many first puts of one key that must not exist, exactly one succeeds, over several processes', async () => {
    const other = await openTestStore({ connection: postgres.connection })
    const holder = new pg.Client(postgres.connection)
    await holder.connect()
    for (let i = 0; i < 20; i++) {
      const key = `race/${i}`
      // Each process waits for the key's lock, so that they go on at the same time however busy the machine is.
      await holder.query('SELECT pg_advisory_lock($1)', [keyLock(bucketId, key).toString()])
      const puts = Array.from({ length: 16 }, (_, n) => (n % 2 === 0 ? store : other).commit({
        kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: { ifNoneMatch: '*' }, content: contentOf([freshExtent()]),
      }))
      await expect.poll(async () => (await postgres.query(`SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`)).length, { interval: 2 }).toBeGreaterThanOrEqual(2)
      await holder.query('SELECT pg_advisory_unlock_all()')
      expect((await Promise.all(puts)).filter((result) => result.ok)).toHaveLength(1)
    }
    await holder.end()
    await other.close()
  })

  test('no put slips into a bucket that is being deleted', async () => {
    const other = await openTestStore({ connection: postgres.connection })
    const put = (bucketId: number, key: string) =>
      store.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
    // Sometimes the one is a little ahead, sometimes the others are: they meet in every order.
    for (let round = 0; round < 100; round++) {
      const doomed = await makeBucket(store)
      const late = sleep(round % 5)
      const [deleted, ...stored] = await Promise.all([
        round % 2 === 0 ? other.deleteBucket(doomed) : late.then(() => other.deleteBucket(doomed)),
        ...['k1', 'k2', 'k3'].map((key) => (round % 2 === 0 ? late.then(() => put(doomed, key)) : put(doomed, key))),
      ])
      expect(deleted.ok).not.toBe(stored.some(({ ok }) => ok))
    }
    await other.close()
  })
})
