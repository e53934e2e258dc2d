import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ListedObject } from '../../src/domain/model.ts'
import { afterPrefix, compareKeys } from '../../src/metadata/postgres/listing-bounds.ts'
import type { ListedPage, ListPage, MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

/** Few characters, so that keys share prefixes; among them the one behind the slash, the ends of the code space and both sides of the surrogates. */
const character = fc.constantFrom('a', 'b', '/', '/', '0', '\u0001', ' ', '%', '_', '\\', '"', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}')
const keyOf = (one: typeof character) => fc.array(one, { minLength: 1, maxLength: 5 }).map((characters) => characters.join(''))
/** Every other one of so few characters that several are below one prefix, and one right behind it. */
const keyText = fc.oneof(keyOf(character), keyOf(fc.constantFrom('a', '/', '0')))
const anyText = fc.array(character, { maxLength: 3 }).map((characters) => characters.join(''))
const delimiter = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('', '/') }, fc.constantFrom('//', 'a/', '\u{10ffff}', '\u{10ffff}\u{10ffff}', '\ud7ff', 'é'))

const put = (bucketId: number, key: string) =>
  store.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
const remove = (bucketId: number, key: string) => store.commit({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {} })

/** Keys right behind a common prefix, behind one that has no successor, and on both sides of the surrogates: chance comes here seldom. */
const edges: [string[], number[], ListPage[]][] = ['/', '\ud7ff', '\u{10ffff}'].map((mark) => {
  const behind = afterPrefix(`a${mark}`) ?? 'b'
  const page = { prefix: '', delimiter: mark, after: '', limit: 1 }
  return [[`a${mark}1`, `a${mark}2`, `a${mark}3`, behind, `${behind}1`, 'c'], [4], [page, { ...page, limit: 2 }, { ...page, prefix: `a${mark}`, delimiter: '', limit: 9 }, { ...page, after: `a${mark}` }]]
})

interface Entry {
  readonly name: string
  readonly isPrefix: boolean
}

/** Common prefixes and keys in order, after `after`: by looking at every key. */
function naiveEntries(keys: readonly string[], page: ListPage): Entry[] {
  const entries: Entry[] = []
  for (const key of [...new Set(keys)].sort(compareKeys)) {
    if (!key.startsWith(page.prefix)) continue
    const at = page.delimiter === '' ? -1 : key.indexOf(page.delimiter, page.prefix.length)
    const name = at < 0 ? key : key.slice(0, at + page.delimiter.length)
    if (at >= 0 && (name === page.after || entries.at(-1)?.name === name)) continue
    if (page.after === '' || compareKeys(key, page.after) > 0) entries.push({ name, isPrefix: at >= 0 })
  }
  return entries
}

async function allPages(list: (page: ListPage) => Promise<{ names: string[]; prefixes: readonly string[]; truncated: boolean; next: string }>, first: ListPage): Promise<Entry[]> {
  const entries: Entry[] = []
  for (let page = first; ;) {
    const { names, prefixes, truncated, next } = await list(page)
    expect(names.length + prefixes.length).toBeLessThanOrEqual(page.limit)
    const together = [...names.map((name) => ({ name, isPrefix: false })), ...prefixes.map((name) => ({ name, isPrefix: true }))]
    entries.push(...together.sort((a, b) => compareKeys(a.name, b.name)))
    if (!truncated) return entries
    expect(together).not.toEqual([])
    expect(next).toBe(entries.at(-1)?.name)
    page = { ...page, after: next }
  }
}

describe('listing', () => {
  test('objects: every page is what a look at every key gives', async () => {
    await fc.assert(fc.asyncProperty(
      fc.uniqueArray(keyText, { maxLength: 40 }), fc.array(fc.nat(39), { maxLength: 5 }),
      fc.array(fc.record({ prefix: anyText, delimiter, after: fc.oneof(fc.constant(''), anyText, keyText), limit: fc.integer({ min: 1, max: 12 }) }), { minLength: 1, maxLength: 12 }),
      async (keys, deleted, pages) => {
        const bucketId = await makeBucket(store, 'enabled')
        await Promise.all(keys.map((key) => put(bucketId, key)))
        const gone = new Set(deleted.map((index) => keys[index]).filter((key) => key !== undefined))
        await Promise.all([...gone].map((key) => remove(bucketId, key)))
        for (const page of pages) {
          const found = await allPages(async (one) => {
            const listed = await store.listObjects(bucketId, one)
            return { names: listed.rows.map(({ key }) => key), prefixes: listed.commonPrefixes, truncated: listed.truncated, next: listed.next }
          }, page)
          expect(found).toEqual(naiveEntries(keys.filter((key) => !gone.has(key)), page))
        }
      },
    ), { numRuns: 60, examples: edges })
  })

  test('versions: pages by key and version id give every version once, newest first', async () => {
    await fc.assert(fc.asyncProperty(
      fc.array(fc.tuple(keyText, fc.boolean()), { maxLength: 40 }), fc.record({ prefix: anyText, delimiter, limit: fc.integer({ min: 1, max: 7 }) }),
      async (writes, page) => {
        const bucketId = await makeBucket(store, 'enabled')
        const versions: { key: string; versionId: string; order: number }[] = []
        for (const [order, [key, isDelete]] of writes.entries()) {
          const result = isDelete ? await remove(bucketId, key) : await put(bucketId, key)
          if (result.ok) versions.push({ key, order, versionId: 'version' in result ? result.version.versionId : result.versionId ?? '' })
        }
        const entries = naiveEntries(versions.map(({ key }) => key), { ...page, after: '' })
        const expected = entries.flatMap(({ name, isPrefix }) => isPrefix ? [`prefix ${name}`]
          : versions.filter(({ key }) => key === name).sort((a, b) => b.order - a.order).map(({ key, versionId }) => `${key} ${versionId}`))
        expect((await versionPages(bucketId, page)).sort()).toEqual(expected.sort())
      },
    ), { numRuns: 40, examples: [[[['a', false], ['a', false], ['a', true], ['b', false]], { prefix: '', delimiter: '', limit: 1 }]] })
  })

  test('a hundred thousand delete markers cost a page nothing', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    await postgres.query(`INSERT INTO noncurrent_versions (bucket_id, key, seq, nonce, size, last_modified)
      SELECT $1, 'deleted/' || lpad(i::text, 7, '0'), i, i, 0, 0 FROM generate_series(1, 100000) i`, [bucketId])
    await put(bucketId, 'deleted')
    await put(bucketId, 'z')
    const { listed, read } = await listCounting(bucketId, { prefix: '', delimiter: '/', after: '', limit: 10 })
    expect(listed.rows.map(({ key }) => key)).toEqual(['deleted', 'z'])
    expect(read).toBeLessThan(100)
  })

  test('common prefixes of many keys cost one probe each', async () => {
    const bucketId = await makeBucket(store)
    await postgres.query(`INSERT INTO objects (bucket_id, key, seq, size, last_modified, etag)
      SELECT $1, 'folder' || lpad((i / 2000)::text, 3, '0') || '/' || lpad(i::text, 7, '0'), i, 0, 0, decode(md5(''), 'hex') FROM generate_series(0, 99999) i`, [bucketId])
    const { listed, read } = await listCounting(bucketId, { prefix: '', delimiter: '/', after: '', limit: 40 })
    expect(listed).toMatchObject({ truncated: true, next: 'folder039/', commonPrefixes: Array.from({ length: 40 }, (_, i) => `folder${String(i).padStart(3, '0')}/`) })
    expect(read).toBeLessThan(200)
  })

  test('the string after a prefix is above everything below it and below everything else', () => {
    fc.assert(fc.property(anyText, keyText, keyText, (prefix, rest, other) => {
      const bound = afterPrefix(prefix)
      if (bound !== null) expect(compareKeys(prefix + rest, bound)).toBeLessThan(0)
      if (bound !== null && !other.startsWith(prefix) && compareKeys(other, prefix) > 0) expect(compareKeys(other, bound)).toBeGreaterThanOrEqual(0)
    }))
  })
})

async function versionPages(bucketId: number, page: { prefix: string; delimiter: string; limit: number }): Promise<string[]> {
  const found: string[] = []
  for (let marker: { after: string; afterVersionId?: string } = { after: '' }; ;) {
    const listed = await store.listVersions(bucketId, { ...page, ...marker })
    expect(listed.rows.length + listed.commonPrefixes.length).toBeLessThanOrEqual(page.limit)
    found.push(...listed.rows.map(({ key, versionId }) => `${key} ${versionId}`), ...listed.commonPrefixes.map((prefix) => `prefix ${prefix}`))
    if (!listed.truncated) return found
    marker = { after: listed.next, ...(listed.nextVersionId === null ? {} : { afterVersionId: listed.nextVersionId }) }
  }
}

/** The first page, and how many index entries of `objects` were read for it. */
async function listCounting(bucketId: number, page: ListPage): Promise<{ listed: ListedPage<ListedObject>; read: number }> {
  const before = await entriesRead()
  // A session reports what it read when it ends.
  const reader = await postgres.openStore()
  const listed = await reader.listObjects(bucketId, page)
  await reader.close()
  await expect.poll(entriesRead, { timeout: 20_000 }).toBeGreaterThan(before)
  return { listed, read: await entriesRead() - before }
}

async function entriesRead(): Promise<number> {
  const rows = await postgres.query<{ read: string }>(`SELECT sum(idx_tup_read) AS read FROM pg_stat_user_indexes WHERE relname = 'objects'`)
  return Number(rows[0]?.read)
}
