import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Extent } from '../../src/domain/model.ts'
import type { MetadataStore, SharedSource } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

async function put(bucketId: number, key: string, manifest: readonly Extent[], sharedFrom?: SharedSource): Promise<SharedSource> {
  const result = await store.commit({
    kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf(manifest), ...(sharedFrom === undefined ? {} : { sharedFrom }),
  })
  if (!result.ok) throw new Error(result.code)
  return { bucketId, key, seq: result.version.seq }
}

const remove = (bucketId: number, key: string) => store.commit({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {} })

describe('released bytes', () => {
  test('wait for the grace, are handed out until they are forgotten, and keep their place', async () => {
    const bucketId = await makeBucket(store)
    const extent = freshExtent()
    await put(bucketId, 'a', [extent])
    await remove(bucketId, 'a')
    expect(await store.released(60_000, 10)).toEqual([])
    const [released] = await store.released(-1000, 10)
    expect(released).toMatchObject({ blob: extent.blob, length: extent.blobLength, place: extent.place })
    expect(await store.released(-1000, 10)).toEqual([released])
    await store.forgetReleased([released?.id as number])
    expect(await store.released(-1000, 10)).toEqual([])
  })

  test('a copy outlives its source, and a copy of the copy outlives both', async () => {
    const bucketId = await makeBucket(store)
    const extent = freshExtent()
    const source = await put(bucketId, 'source', [extent])
    const copy = await put(bucketId, 'copy', [extent], source)
    await remove(bucketId, 'source')
    expect(await store.released(-1000, 10)).toEqual([])
    await put(bucketId, 'copy of copy', [extent], copy)
    await remove(bucketId, 'copy')
    expect(await store.released(-1000, 10)).toEqual([])
    expect(await store.referenced([{ blob: extent.blob, bucketId, key: 'source' }])).toEqual(new Set([extent.blob]))
    await remove(bucketId, 'copy of copy')
    const [last] = await store.released(-1000, 10)
    expect(last?.blob).toBe(extent.blob)
    await store.forgetReleased([last?.id as number])
    expect(await store.referenced([{ blob: extent.blob, bucketId, key: 'source' }])).toEqual(new Set())
  })

  test('copies that are gone while others stay hide nothing that waits behind them', async () => {
    const bucketId = await makeBucket(store)
    const [shared, own] = [freshExtent(), freshExtent()]
    let source = await put(bucketId, 'source', [shared])
    const copies = Array.from({ length: 5 }, (_, index) => `copy ${index}`)
    for (const copy of copies) source = await put(bucketId, copy, [shared], source)
    await put(bucketId, 'own', [own])
    for (const key of [...copies, 'own']) await remove(bucketId, key)
    const page = await store.released(-1000, 2)
    expect(page.map(({ blob }) => blob)).toEqual([own.blob])
    expect(await store.released(-1000, 2, page[0]?.id)).toEqual([])
    await store.forgetReleased(page.map(({ id }) => id))
  })

  test('those of a write that was refused wait with the others, and those that a refused copy shares do not', async () => {
    const bucketId = await makeBucket(store)
    const [kept, refused] = [freshExtent(), freshExtent()]
    const source = await put(bucketId, 'a', [kept])
    const onlyNew = { kind: 'put', bucketId, key: 'a', ownerAccountId: testAccountId, when: { ifNoneMatch: '*' } } as const
    expect(await store.commit({ ...onlyNew, content: contentOf([refused]) })).toMatchObject({ ok: false, code: 'PreconditionFailed' })
    expect(await store.commit({ ...onlyNew, content: contentOf([kept]), sharedFrom: source })).toMatchObject({ ok: false, code: 'PreconditionFailed' })
    const waiting = await store.released(-1000, 10)
    expect(waiting.map(({ blob }) => blob)).toEqual([refused.blob])
    await store.forgetReleased(waiting.map(({ id }) => id))
  })

  test('a copy onto itself keeps its bytes', async () => {
    const bucketId = await makeBucket(store)
    const extent = freshExtent()
    const source = await put(bucketId, 'a', [extent])
    await put(bucketId, 'a', [extent], source)
    expect(await store.released(-1000, 10)).toEqual([])
    expect(await store.version(bucketId, 'a')).toMatchObject({ manifest: [extent] })
    await expect(put(bucketId, 'b', [extent], source)).rejects.toThrow('SourceGone')
  })

  test('what a row names is referenced: current, noncurrent, part, and waiting for the sweeper', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    const [current, noncurrent, part, waiting, orphan] = [freshExtent(), freshExtent(), freshExtent(), freshExtent(), freshExtent()]
    await put(bucketId, 'a', [noncurrent])
    await put(bucketId, 'a', [current])
    const upload = await store.createUpload({
      bucketId, key: 'a', initiator: { id: 'x', displayName: 'x' }, ownerAccountId: testAccountId, metadata: { system: {}, user: {} }, tags: [], checksumAlgorithm: null, checksumType: null,
    })
    const uploadId = upload?.uploadId as string
    await store.commit({ kind: 'put-part', bucketId, key: 'a', uploadId, part: { partNumber: 1, size: 10, etag: 'e', checksum: null, manifest: [waiting] } })
    await store.commit({ kind: 'put-part', bucketId, key: 'a', uploadId, part: { partNumber: 1, size: 10, etag: 'e', checksum: null, manifest: [part] } })
    const all = [current, noncurrent, part, waiting, orphan]
    const found = await store.referenced(all.map(({ blob }) => ({ blob, bucketId, key: 'a' })))
    expect(found).toEqual(new Set([current, noncurrent, part, waiting].map(({ blob }) => blob)))
    const fates = await store.fates(all.map(({ blob, place }) => ({ blob, bucketId, key: 'a', place })))
    expect(new Set([...fates].filter(([, { live, released, here }]) => (live || released) && here).map(([blob]) => blob)), 'by its fate, and where it is').toEqual(found)
    const copies = await store.fates(all.map(({ blob, place }) => ({ blob, bucketId, key: 'a', place: { ...place, at: 128 } as Extent['place'] })))
    expect(new Set([...copies].filter(([, { live, released }]) => live || released).map(([blob]) => blob))).toEqual(found)
    expect([...copies.values()].some(({ here }) => here), 'a copy is not').toBe(false)
  })

  test('moved records are found at their new place, until their bytes are gone', async () => {
    const bucketId = await makeBucket(store)
    const extent = freshExtent()
    const place = { kind: 'segment' as const, drives: [1], segment: 'bb'.repeat(16), at: 99 }
    await put(bucketId, 'a', [extent])
    await store.relocate([{ blob: extent.blob, from: null, place: { ...place, at: 1 } }])
    await store.relocate([{ blob: extent.blob, from: { ...place, at: 1 }, place }])
    expect(await store.relocations([extent.blob, freshExtent().blob])).toEqual(new Map([[extent.blob, place]]))
    await remove(bucketId, 'a')
    const released = (await store.released(-1000, 100)).filter(({ blob }) => blob === extent.blob)
    expect(released).toMatchObject([{ place }])
    await store.forgetReleased(released.map(({ id }) => id))
    expect(await store.relocations([extent.blob])).toEqual(new Map())
  })

  test('a move that comes late changes nothing, and those beside it are told', async () => {
    const [moved, forgotten, fresh] = [freshExtent().blob, freshExtent().blob, freshExtent().blob]
    const place = (at: number) => ({ kind: 'segment' as const, drives: [1], segment: 'bb'.repeat(11), at })
    await store.relocate([{ blob: moved, from: null, place: place(1) }])
    await store.relocate([{ blob: moved, from: null, place: place(2) }, { blob: fresh, from: null, place: place(3) }])
    await store.relocate([{ blob: moved, from: place(9), place: place(4) }, { blob: forgotten, from: place(9), place: place(5) }])
    expect(await store.relocations([moved, forgotten, fresh])).toEqual(new Map([[moved, place(1)], [fresh, place(3)]]))
  })

  test('a drive keeps its number', async () => {
    const first = await store.registerDrive('uuid-1')
    expect(await store.registerDrive('uuid-2')).not.toBe(first)
    expect(await store.registerDrive('uuid-1')).toBe(first)
    expect((await store.drives()).map(({ uuid }) => uuid)).toEqual(['uuid-1', 'uuid-2'])
    for (const since of [42, 43]) await store.registerDrive('uuid-3', since)
    expect((await store.drives()).at(-1)?.createdAt).toBe(42)
  })
})

test('one process at a time sweeps; who loses its connection is told, and another one may', async () => {
  const other = await postgres.openStore()
  const seen: boolean[] = []
  await store.sweeping(async (lost) => {
    expect(await other.sweeping(async () => 'too')).toBeNull()
    seen.push(lost())
    await postgres.query(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7237113004 - (7237113004::bigint / 4294967296) * 4294967296`)
    await expect.poll(lost).toBe(true)
    // The server lets go of a lock a moment after the connection is gone.
    await expect.poll(() => other.sweeping(async () => 'now')).toBe('now')
  })
  expect(seen).toEqual([false])
  await expect.poll(() => store.sweeping(async () => 'again')).toBe('again')
})
