import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import type { ObjectVersion, VersionContent } from '../../src/domain/model.ts'
import type { Committer } from '../../src/metadata/postgres/committer.ts'
import { createVersionCache, type VersionCache } from '../../src/metadata/postgres/version-cache.ts'
import type { MetadataStore, PutCommand } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, openTestStore, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/postgres-proxy.ts'

/** Versions that a process remembers which is alone with its database. */

const putOf = (bucketId: number, key: string, content: VersionContent = contentOf([freshExtent()])): PutCommand => ({ kind: 'put', bucketId, key, ownerAccountId: '', when: {}, content })
const versionOf = (key: string, seq: number): ObjectVersion => ({
  ...contentOf([freshExtent()]), bucketId: 1, key, seq, versionId: 'null', isLatest: true, lastModified: 0, ownerAccountId: null, isDeleteMarker: false,
})

describe('a key', () => {
  /** A committer whose commands end as the test says. */
  function setUp() {
    const meter = { hits: 0, misses: 0 }
    const cache = createVersionCache(meter)
    const ends: PromiseWithResolvers<unknown>[] = []
    const next = (): Promise<unknown> => {
      const end = Promise.withResolvers<unknown>()
      ends.push(end)
      return end.promise
    }
    const committer = cache.watched({ commit: next, prepare: () => ({ commit: next as () => ReturnType<MetadataStore['commit']>, cancel: () => undefined }), close: async () => undefined } as unknown as Committer)
    const end = async (index: number, error?: Error): Promise<void> => {
      if (error === undefined) ends[index]?.resolve({ ok: true })
      else ends[index]?.reject(error)
      await sleep(0)
    }
    return { cache, committer, end, meter }
  }

  function remember(cache: VersionCache, key: string, seq = 1): boolean {
    cache.reading(1, key)?.found(versionOf(key, seq), 100)
    return cache.get(1, key)?.seq === seq
  }

  test('is remembered once it was read, and counted', () => {
    const { cache, meter } = setUp()
    expect(cache.get(1, 'a')).toBeUndefined()
    expect(remember(cache, 'a')).toBe(true)
    expect(cache.get(2, 'a')).toBeUndefined()
    expect(meter).toEqual({ hits: 1, misses: 2 })
  })

  test('is forgotten when a command for it is accepted, and not remembered before that has ended', async () => {
    const { cache, committer, end } = setUp()
    expect(remember(cache, 'a')).toBe(true)
    const done = committer.commit(putOf(1, 'a'))
    expect(cache.get(1, 'a')).toBeUndefined()
    expect(remember(cache, 'a')).toBe(false)
    expect(remember(cache, 'b')).toBe(true)
    await end(0)
    await done
    expect(remember(cache, 'a', 2)).toBe(true)
  })

  test('is as one that changes while many are committed at once, each by its own outcome', async () => {
    const { cache, committer } = setUp()
    const keys = ['a', 'b', 'c']
    for (const key of keys) expect(remember(cache, key)).toBe(true)
    const ended = Promise.withResolvers<PromiseSettledResult<unknown>[]>()
    const done = cache.watched({ ...committer, commitAll: () => ended.promise }).commitAll(keys.map((key) => putOf(1, key)))
    for (const key of keys) expect([cache.get(1, key), remember(cache, key)]).toEqual([undefined, false])
    expect(remember(cache, 'd')).toBe(true)
    ended.resolve([{ status: 'fulfilled', value: {} }, { status: 'rejected', reason: new S3Error('SlowDown') }, { status: 'rejected', reason: new S3Error('ServiceUnavailable') }])
    await done
    // What became of the last one nobody knows.
    expect(keys.map((key) => remember(cache, key, 2))).toEqual([true, true, false])
  })

  test('is not remembered as it was found by a look-up that began before a command for it, whenever that ends', async () => {
    const { cache, committer, end } = setUp()
    const [early, late] = [cache.reading(1, 'a'), cache.reading(1, 'b')]
    const commands = ['a', 'b'].map((key) => committer.commit(putOf(1, key)))
    early?.found(versionOf('a', 1), 100)
    await Promise.all([end(0), end(1), ...commands])
    late?.found(versionOf('b', 1), 100)
    expect([cache.get(1, 'a'), cache.get(1, 'b')]).toEqual([undefined, undefined])
    expect(remember(cache, 'b')).toBe(true)
  })

  test('is as one that changes from when a put is prepared until it is committed or cancelled', async () => {
    const { cache, committer, end } = setUp()
    expect(remember(cache, 'a')).toBe(true)
    const [put, other] = [committer.prepare(putOf(1, 'a')), committer.prepare(putOf(1, 'b'))]
    expect([remember(cache, 'a', 2), remember(cache, 'b')]).toEqual([false, false])
    const done = put?.commit(putOf(1, 'a'))
    // Without effect.
    put?.cancel()
    other?.cancel()
    expect([remember(cache, 'a', 2), remember(cache, 'b')]).toEqual([false, true])
    await end(0)
    await done
    expect(remember(cache, 'a', 2)).toBe(true)
  })

  test('of a command with an unknown outcome is remembered again only after another one held its lock', async () => {
    const { cache, committer, end } = setUp()
    const before = committer.commit(putOf(1, 'a'))
    const lost = committer.commit(putOf(1, 'a')).catch((error: unknown) => error)
    await end(1, new S3Error('ServiceUnavailable'))
    expect(await lost).toBeInstanceOf(S3Error)
    await end(0)
    await before
    // It may have been committed before the one whose fate is not known.
    expect(remember(cache, 'a')).toBe(false)
    const full = committer.commit(putOf(1, 'a')).catch((error: unknown) => error)
    await end(2, new S3Error('SlowDown'))
    expect(await full).toBeInstanceOf(S3Error)
    expect(remember(cache, 'a')).toBe(false)
    const after = committer.commit(putOf(1, 'a'))
    await end(3)
    await after
    expect(remember(cache, 'a')).toBe(true)
  })

  test('of a refused command is remembered at once', async () => {
    const { cache, committer, end } = setUp()
    const full = committer.commit(putOf(1, 'a')).catch((error: unknown) => error)
    await end(0, new S3Error('SlowDown'))
    expect(await full).toBeInstanceOf(S3Error)
    expect(remember(cache, 'a')).toBe(true)
  })

  test('is nothing that is remembered any more when ten thousand are in doubt', async () => {
    const { cache, committer, end } = setUp()
    expect(remember(cache, 'kept')).toBe(true)
    const lost = Array.from({ length: 10_001 }, (_, index) => committer.commit(putOf(1, `k${index}`)).catch(() => 'lost'))
    for (let index = 0; index < 10_000; index++) void end(index, new S3Error('ServiceUnavailable'))
    await sleep(10)
    expect(cache.get(1, 'kept')?.seq).toBe(1)
    await end(10_000, new S3Error('ServiceUnavailable'))
    expect(await Promise.all(lost)).toHaveLength(10_001)
    expect(cache.get(1, 'kept')).toBeUndefined()
    expect(remember(cache, 'other')).toBe(false)
  })

  test('takes its share of a bounded memory: long rows and delete markers take none', () => {
    const { cache } = setUp()
    cache.reading(1, 'long')?.found(versionOf('long', 1), 5000)
    cache.reading(1, 'marker')?.found({ bucketId: 1, key: 'marker', seq: 1, versionId: 'null', isLatest: true, lastModified: 0, ownerAccountId: null, isDeleteMarker: true }, 100)
    expect([cache.get(1, 'long'), cache.get(1, 'marker')]).toEqual([undefined, undefined])
    for (let index = 0; index < 60_000; index++) cache.reading(1, `k${index}`)?.found(versionOf(`k${index}`, 1), 4000)
    const kept = Array.from({ length: 60_000 }, (_, index) => cache.get(1, `k${index}`)).filter((each) => each !== undefined)
    expect(kept.length).toBeGreaterThan(3000)
    expect(kept.length).toBeLessThan(4000)
  })
})

describe('a store that is alone', () => {
  let postgres: TestPostgres
  let store: MetadataStore
  beforeAll(async () => {
    postgres = await startTestPostgres()
    store = await postgres.openStore({ shared: false })
  })
  afterAll(() => postgres?.stop())

  test('asks the database once for what does not change', async () => {
    const bucketId = await makeBucket(store)
    await store.commit(putOf(bucketId, 'still'))
    const first = await store.version(bucketId, 'still')
    // By hand, which is seen later only.
    await postgres.query('DELETE FROM objects WHERE bucket_id = $1', [bucketId])
    expect(await store.version(bucketId, 'still')).toEqual(first)
    expect(await store.version(bucketId, 'still', 'null')).toBeNull()
  })

  test.each(['off', 'enabled'] as const)('shows every reader the newest version that was answered before it asked: versioning %s', async (versioning) => {
    const bucketId = await makeBucket(store, versioning)
    const keys = ['a', 'b', 'c']
    /** By key: the newest that was answered, and what clients see of each. */
    const answered = new Map<string, number>(keys.map((key) => [key, 0]))
    const until = performance.now() + 2000
    let [reads, turn] = [0, 0]
    const sizeOf = async (key: string): Promise<number> => {
      const version = await store.version(bucketId, key)
      return version === null || version.isDeleteMarker ? 0 : version.size
    }
    const writers = keys.map(async (key) => {
      while (performance.now() < until) {
        const size = ++turn
        const command = putOf(bucketId, key, contentOf([freshExtent(size)]))
        const prepared = turn % 3 === 0 ? store.prepare(turn % 2 === 0 ? command : { bucketId, key }) : null
        await (prepared ?? store).commit(command)
        answered.set(key, size)
        if (turn % 7 === 0) await store.commit({ kind: 'put-tags', bucketId, key, tags: [{ key: 'size', value: String(size) }] })
        if (turn % 7 === 0) expect((await store.version(bucketId, key) as ObjectVersion).tags).toEqual([{ key: 'size', value: String(size) }])
        if (turn % 5 === 0) {
          await store.commit({ kind: 'delete', bucketId, key, ownerAccountId: '', when: {} })
          expect(await sizeOf(key)).toBe(0)
        }
        await sleep(turn % 4)
      }
    })
    const readers = Array.from({ length: 12 }, async (_, index) => {
      const key = keys[index % keys.length] as string
      while (performance.now() < until) {
        const newest = answered.get(key) ?? 0
        const size = await sizeOf(key)
        // Deletes apart, what is read grows.
        if (size !== 0) expect(size).toBeGreaterThanOrEqual(newest)
        reads += 1
      }
    })
    await Promise.all([...writers, ...readers])
    expect(reads).toBeGreaterThan(100)
  })

  test('shows what was committed behind a connection that was cut at the COMMIT', async () => {
    const proxy = await startProxy(postgres.connection.host)
    const own = await openTestStore({ connection: { ...postgres.connection, host: proxy.host }, shared: false, waitMs: 2000 })
    try {
      const bucketId = await makeBucket(own)
      for (const when of ['before', 'after'] as const) {
        await own.commit(putOf(bucketId, 'cut'))
        await own.version(bucketId, 'cut')
        proxy.cutAtCommit(when, 1)
        const content = contentOf([freshExtent(77)])
        expect(await own.commit(putOf(bucketId, 'cut', content))).toMatchObject({ ok: true })
        expect(await own.version(bucketId, 'cut')).toMatchObject({ size: 77, etag: content.etag })
      }
    } finally {
      await own.close()
      await proxy.close()
    }
  })
})
