import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Extent } from '../../src/domain/model.ts'
import { openCheckDatabase } from '../../src/metadata/postgres/check.ts'
import type { CheckedRow, CheckPosition, MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

async function put(bucketId: number, key: string, manifest: readonly Extent[] = [freshExtent()]): Promise<Extent[]> {
  const result = await store.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf(manifest) })
  if (!result.ok) throw new Error(result.code)
  return [...manifest]
}

async function allRows(bucketId: number): Promise<CheckedRow[]> {
  const found: CheckedRow[] = []
  for (let after: CheckPosition | null = null; ;) {
    const page: Awaited<ReturnType<MetadataStore['checkedRows']>> = await store.checkedRows(after)
    found.push(...page.rows.filter((row) => row.bucketId === bucketId))
    if (page.next === null) return found
    after = page.next
  }
}

async function openUpload(bucketId: number, key: string): Promise<string> {
  const upload = await store.createUpload({
    bucketId, key, initiator: { id: testAccountId, displayName: 'test' }, ownerAccountId: testAccountId, metadata: { system: {}, user: {} }, tags: [], checksumAlgorithm: null, checksumType: null,
  })
  return upload?.uploadId ?? ''
}

const putPart = (bucketId: number, key: string, uploadId: string, partNumber: number, extent: Extent) =>
  store.commit({ kind: 'put-part', bucketId, key, uploadId, part: { partNumber, size: extent.length, etag: 'e'.repeat(32), checksum: null, manifest: [extent] } })

describe('rows that name bytes', () => {
  test('come once each over all pages: current and old versions, more of one key than a page, parts; no delete markers', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    const expected = new Set<string>()
    const add = (extents: readonly Extent[]): void => extents.forEach(({ blob }) => void expected.add(blob))
    // A page has 500.
    await Promise.all(Array.from({ length: 620 }, async () => add(await put(bucketId, 'many'))))
    await Promise.all(Array.from({ length: 620 }, async (_, index) => add(await put(bucketId, `k${index}`))))
    await store.commit({ kind: 'delete', bucketId, key: 'k1', ownerAccountId: testAccountId, when: {} })
    const uploadId = await openUpload(bucketId, 'parts')
    for (const partNumber of [1, 2, 7]) {
      const extent = freshExtent()
      await putPart(bucketId, 'parts', uploadId, partNumber, extent)
      expected.add(extent.blob)
    }
    const rows = await allRows(bucketId)
    expect(rows.length).toBe(expected.size)
    expect(new Set(rows.map(({ manifest }) => manifest[0]?.blob))).toEqual(expected)
    expect(rows.filter(({ isLatest }) => isLatest).length).toBe(620)
    expect(rows.find(({ upload }) => upload?.partNumber === 7)).toMatchObject({ key: 'parts', versionId: null, upload: { uploadId } })
    expect(rows.every(({ bucket, problem }) => bucket.startsWith('test-') && problem === null)).toBe(true)
  })

  test('a page is bounded by bytes, and one row is always in it', async () => {
    const bucketId = await makeBucket(store)
    const many = () => Array.from({ length: 10_000 }, () => freshExtent())
    for (let index = 0; index < 16; index++) await put(bucketId, `wide-${String(index).padStart(2, '0')}`, many())
    const sizes: number[] = []
    for (let after: CheckPosition | null = { table: 'objects', bucketId, key: '', seq: 0 }; ;) {
      const page: Awaited<ReturnType<MetadataStore['checkedRows']>> = await store.checkedRows(after)
      if (page.next === null || page.rows[0]?.bucketId !== bucketId) break
      sizes.push(page.rows.length)
      after = page.next
    }
    expect(sizes.length).toBeGreaterThan(0)
    expect(Math.max(...sizes)).toBeLessThan(50)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(16)
  })

  test('one with a manifest that cannot be read says so', async () => {
    const bucketId = await makeBucket(store)
    await put(bucketId, 'future')
    await postgres.query(`UPDATE objects SET manifest = '\\xff00' WHERE bucket_id = $1`, [bucketId])
    const [row] = await allRows(bucketId)
    expect(row?.problem).toContain('manifest format 255')
    expect(await store.namesStill(row as CheckedRow)).toBe(true)
  })

  test('are still named after they stopped being current, and no more after a deletion or a part that was sent again', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    await put(bucketId, 'a')
    const [row] = await allRows(bucketId)
    await put(bucketId, 'a')
    expect(await store.namesStill(row as CheckedRow)).toBe(true)
    await store.commit({ kind: 'delete', bucketId, key: 'a', ownerAccountId: testAccountId, when: {}, versionId: row?.versionId ?? '' })
    expect(await store.namesStill(row as CheckedRow)).toBe(false)
    const uploadId = await openUpload(bucketId, 'p')
    await putPart(bucketId, 'p', uploadId, 1, freshExtent())
    const part = (await allRows(bucketId)).find(({ upload }) => upload !== null)
    expect(await store.namesStill(part as CheckedRow)).toBe(true)
    await putPart(bucketId, 'p', uploadId, 1, freshExtent())
    expect(await store.namesStill(part as CheckedRow)).toBe(false)
  })
})

describe('the fate of a blob', () => {
  const fateOf = async (extent: Extent, bucketId: number, key: string) =>
    (await store.fates([{ blob: extent.blob, bucketId, key, place: extent.place }])).get(extent.blob)

  test('is live here, live but not here, shared, released, unknown', async () => {
    const bucketId = await makeBucket(store)
    const [extent] = await put(bucketId, 'a')
    if (extent === undefined) throw new Error('no extent')
    expect(await fateOf(extent, bucketId, 'a')).toEqual({ live: true, here: true, released: false, shared: false, moved: null })
    expect(await fateOf({ ...extent, place: { kind: 'segment', drives: [1], segment: 'bb'.repeat(11), at: 128 } }, bucketId, 'a')).toMatchObject({ live: true, here: false })
    expect(await fateOf(extent, bucketId, 'another')).toMatchObject({ live: false, released: false })
    const version = await store.version(bucketId, 'a')
    await store.commit({
      kind: 'put', bucketId, key: 'copy', ownerAccountId: testAccountId, when: {}, content: contentOf([extent]), sharedFrom: { bucketId, key: 'a', seq: version?.seq ?? 0 },
    })
    await store.commit({ kind: 'delete', bucketId, key: 'a', ownerAccountId: testAccountId, when: {} })
    expect(await store.shared([extent.blob])).toEqual(new Set([extent.blob]))
    expect(await fateOf(extent, bucketId, 'a')).toMatchObject({ live: true, shared: true })
    await store.commit({ kind: 'delete', bucketId, key: 'copy', ownerAccountId: testAccountId, when: {} })
    expect(await fateOf(extent, bucketId, 'a')).toMatchObject({ live: false, released: true })
  })

  test('that was released is here where it was, and not where a copy of it lies', async () => {
    const bucketId = await makeBucket(store)
    const [extent] = await put(bucketId, 'a')
    if (extent === undefined) throw new Error('no extent')
    const copy = { ...extent, place: { kind: 'segment' as const, drives: [1], segment: 'bb'.repeat(11), at: 128 } }
    await store.commit({ kind: 'delete', bucketId, key: 'a', ownerAccountId: testAccountId, when: {} })
    expect(await fateOf(extent, bucketId, 'a')).toEqual({ live: false, here: true, released: true, shared: false, moved: null })
    expect(await fateOf(copy, bucketId, 'a')).toMatchObject({ here: false, released: true })
    await store.relocate([{ blob: extent.blob, from: null, place: copy.place }])
    expect(await fateOf(copy, bucketId, 'a')).toMatchObject({ released: true, moved: copy.place })
  })

  test('a place that the database knows is not changed by one that is added', async () => {
    const bucketId = await makeBucket(store)
    const [extent] = await put(bucketId, 'a')
    const blob = extent?.blob ?? ''
    const place = (at: number) => ({ kind: 'segment' as const, drives: [1], segment: 'cc'.repeat(11), at })
    expect(await store.addRelocations([{ blob, place: place(1) }])).toBe(1)
    expect(await store.addRelocations([{ blob, place: place(2) }])).toBe(0)
    expect((await store.relocations([blob])).get(blob)).toEqual(place(1))
  })
})

test('the mark changes with every write, and not by looking', async () => {
  const bucketId = await makeBucket(store)
  const marks = [await store.changeMark()]
  const step = async (): Promise<void> => void marks.push(await store.changeMark())
  await put(bucketId, 'a').then(step)
  await put(bucketId, 'a').then(step)
  await store.commit({ kind: 'delete', bucketId, key: 'a', ownerAccountId: testAccountId, when: {} }).then(step)
  await putPart(bucketId, 'p', await openUpload(bucketId, 'p'), 1, freshExtent()).then(step)
  expect(new Set(marks).size).toBe(marks.length)
  await allRows(bucketId)
  expect(await store.changeMark()).toBe(marks.at(-1))
})

test('who only looks is refused by a database of another version, and does not migrate it', async () => {
  const options = { connection: postgres.connection, log: () => undefined }
  await (await openCheckDatabase(options)).close()
  const [last] = await postgres.query<{ id: number; created_at: string }>('SELECT id, created_at FROM drizzle.__drizzle_migrations ORDER BY created_at DESC LIMIT 1')
  await postgres.query('UPDATE drizzle.__drizzle_migrations SET created_at = created_at + 1 WHERE id = $1', [last?.id])
  await expect(openCheckDatabase(options)).rejects.toThrow('migrated by a newer Holdfast')
  await postgres.query('UPDATE drizzle.__drizzle_migrations SET created_at = $2 WHERE id = $1', [last?.id, last?.created_at])
})
