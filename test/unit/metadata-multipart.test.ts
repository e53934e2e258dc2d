import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { joinManifests } from '../../src/domain/manifest.ts'
import type { Extent, Part } from '../../src/domain/model.ts'
import type { CompleteCommand, MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

const key = 'movies/one'

async function startUpload(bucketId: number, name = key): Promise<string> {
  const upload = await store.createUpload({
    bucketId, key: name, initiator: { id: '4'.repeat(64), displayName: 'test' }, ownerAccountId: testAccountId,
    metadata: { system: { 'content-type': 'video/mp4' }, user: { a: 'b' } }, tags: [{ key: 't', value: 'v' }], checksumAlgorithm: 'CRC32', checksumType: 'COMPOSITE',
  })
  if (upload === null) throw new Error('no bucket')
  return upload.uploadId
}

const putPart = (bucketId: number, uploadId: string, partNumber: number, manifest: readonly Extent[], name = key) => store.commit({
  kind: 'put-part', bucketId, key: name, uploadId, part: { partNumber, size: 10, etag: `etag${partNumber}`, checksum: null, manifest },
})

/** Joins the parts of these numbers, as an operation would. */
const complete = (bucketId: number, uploadId: string, numbers: readonly number[], more: Partial<CompleteCommand> = {}) => store.commit({
  kind: 'complete', bucketId, key, uploadId, when: {}, requestHash: numbers.join(),
  plan: (_upload, parts) => {
    const chosen = numbers.map((number) => parts.find(({ partNumber }) => partNumber === number))
    if (chosen.includes(undefined)) return { error: new S3Error('InvalidPart') }
    return { content: contentOf(joinManifests((chosen as Part[]).map(({ manifest }) => manifest)), { etag: `${'0e'.repeat(16)}-2` }) }
  },
  ...more,
})

async function deadBlobs(): Promise<Set<string>> {
  return new Set((await store.released(-1000, 1000)).map(({ blob }) => blob))
}

describe('multipart uploads', () => {
  test('a completed upload is an object of its parts, and what it left out is released', async () => {
    const bucketId = await makeBucket(store)
    const uploadId = await startUpload(bucketId)
    const [first, replaced, second, unused] = [freshExtent(), freshExtent(), freshExtent(), freshExtent()]
    await putPart(bucketId, uploadId, 1, [replaced])
    await Promise.all([putPart(bucketId, uploadId, 3, [unused]), putPart(bucketId, uploadId, 2, [second]), putPart(bucketId, uploadId, 1, [first])])
    expect(await store.parts(uploadId, { after: 0, limit: 2 })).toMatchObject({ truncated: true, parts: [{ partNumber: 1 }, { partNumber: 2 }] })
    expect(await store.parts(uploadId, { after: 2, limit: 2 })).toMatchObject({ truncated: false, parts: [{ partNumber: 3, size: 10, etag: 'etag3' }] })

    expect(await complete(bucketId, uploadId, [1, 2])).toMatchObject({ ok: true, replay: false, version: { versionId: 'null', etag: `${'0e'.repeat(16)}-2` } })
    expect(await store.version(bucketId, key)).toMatchObject({ size: 20, manifest: [first, second] })
    expect(await store.upload(bucketId, key, uploadId)).toBeNull()
    expect((await store.parts(uploadId, { after: 0, limit: 10 })).parts).toEqual([])
    const dead = await deadBlobs()
    expect([replaced, unused].every(({ blob }) => dead.has(blob))).toBe(true)
    expect([first, second].some(({ blob }) => dead.has(blob))).toBe(false)
  })

  test('completing again gets the same answer, whatever became of the object; another list does not', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    const uploadId = await startUpload(bucketId)
    await putPart(bucketId, uploadId, 1, [freshExtent()])
    const answers = await Promise.all([complete(bucketId, uploadId, [1]), complete(bucketId, uploadId, [1]), complete(bucketId, uploadId, [1])])
    expect(answers.map((answer) => answer.ok && answer.replay)).toEqual([false, true, true])
    await store.commit({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {} })
    expect(await complete(bucketId, uploadId, [1])).toEqual({ ...answers[0], replay: true })
    expect((await store.listVersions(bucketId, { prefix: '', delimiter: '', after: '', limit: 10 })).rows).toHaveLength(2)
    expect(await complete(bucketId, uploadId, [1, 1])).toMatchObject({ ok: false, code: 'NoSuchUpload' })
    expect(await putPart(bucketId, uploadId, 2, [freshExtent()])).toMatchObject({ ok: false, code: 'NoSuchUpload' })
  })

  test('a refused completion changes nothing', async () => {
    const bucketId = await makeBucket(store)
    const uploadId = await startUpload(bucketId)
    await putPart(bucketId, uploadId, 1, [freshExtent()])
    expect(await complete(bucketId, uploadId, [1, 7])).toMatchObject({ ok: false, code: 'Planned', error: { code: 'InvalidPart' } })
    expect(await complete(bucketId, uploadId, [1], { when: { ifMatch: '*' } })).toMatchObject({ ok: false, code: 'NoSuchKey' })
    expect(await complete(bucketId, 'unknown', [1])).toMatchObject({ ok: false, code: 'NoSuchUpload' })
    expect(await complete(bucketId, uploadId, [1], { key: 'other' })).toMatchObject({ ok: false, code: 'NoSuchUpload' })
    await expect(complete(bucketId, uploadId, [1], { plan: () => { throw new S3Error('InternalError') } })).rejects.toMatchObject({ code: 'InternalError' })
    expect(await store.upload(bucketId, key, uploadId)).toMatchObject({
      uploadId, tags: [{ key: 't', value: 'v' }], metadata: { system: { 'content-type': 'video/mp4' }, user: { a: 'b' } }, checksumAlgorithm: 'CRC32', checksumType: 'COMPOSITE',
    })
    expect(await complete(bucketId, uploadId, [1])).toMatchObject({ ok: true })
  })

  test('an abort releases the parts and is final', async () => {
    const bucketId = await makeBucket(store)
    const uploadId = await startUpload(bucketId)
    const part = freshExtent()
    await putPart(bucketId, uploadId, 1, [part])
    expect(await store.deleteBucket(bucketId)).toMatchObject({ ok: false, code: 'BucketNotEmpty' })
    const results = await Promise.all([1, 2].map(() => store.commit({ kind: 'abort', bucketId, key, uploadId })))
    expect(results).toEqual([{ ok: true }, { ok: false, code: 'NoSuchUpload' }])
    expect(await complete(bucketId, uploadId, [1])).toMatchObject({ ok: false, code: 'NoSuchUpload' })
    expect((await deadBlobs()).has(part.blob)).toBe(true)
    expect(await store.deleteBucket(bucketId)).toEqual({ ok: true })
    await expect(startUpload(bucketId)).rejects.toThrow('no bucket')
  })

  test('a part that comes again while its upload is completed or aborted is in the object, given back or refused, over several processes', async () => {
    const others = await Promise.all([postgres.openStore(), postgres.openStore()])
    const bucketId = await makeBucket(store)
    for (let round = 0; round < 30; round++) {
      const uploadId = await startUpload(bucketId)
      const first = freshExtent()
      await putPart(bucketId, uploadId, 1, [first])
      const later = Array.from({ length: 8 }, () => freshExtent())
      // One sends the first part again, the other one further parts.
      const again = later.map((extent, n) => (others[n % 2] as MetadataStore).commit({
        kind: 'put-part', bucketId, key, uploadId, part: { partNumber: n % 2 === 0 ? 1 : n + 1, size: 10, etag: 'again', checksum: null, manifest: [extent] },
      }))
      const ends = round % 3 === 0
      const [ended, ...answers] = await Promise.all([ends ? store.commit({ kind: 'abort', bucketId, key, uploadId }) : complete(bucketId, uploadId, [1]), ...again])
      expect(ended.ok).toBe(true)
      const dead = await deadBlobs()
      const live = new Set(ends ? [] : ((await store.version(bucketId, key)) as { manifest: readonly Extent[] }).manifest.map(({ blob }) => blob))
      // Each of its bytes has one fate.
      for (const { blob } of [first, ...later]) expect([live.has(blob), dead.has(blob)].filter(Boolean)).toHaveLength(1)
      expect(answers.every((answer) => answer.ok || ('code' in answer && answer.code === 'NoSuchUpload'))).toBe(true)
      await store.commit({ kind: 'delete', bucketId, key, ownerAccountId: testAccountId, when: {} })
    }
    expect(await postgres.query(`SELECT p.upload_id FROM parts p JOIN uploads u USING (upload_id) WHERE u.state <> 'open'`)).toEqual([])
  })

  test('parts copied from one object keep its bytes alive until the last of them goes', async () => {
    const bucketId = await makeBucket(store)
    const source = freshExtent(100)
    const put = await store.commit({ kind: 'put', bucketId, key: 'source', ownerAccountId: testAccountId, when: {}, content: contentOf([source]) })
    if (!put.ok) throw new Error('refused')
    const uploadId = await startUpload(bucketId)
    const sharedFrom = { bucketId, key: 'source', seq: put.version.seq }
    for (const [index, offset] of [0, 50].entries()) {
      const part = { partNumber: index + 1, size: 50, etag: `e${index}`, checksum: null, manifest: [{ ...source, offset, length: 50 }] }
      expect(await store.commit({ kind: 'put-part', bucketId, key, uploadId, part, sharedFrom })).toMatchObject({ ok: true })
    }
    // Both halves become one extent again: two references become one.
    expect(await complete(bucketId, uploadId, [1, 2])).toMatchObject({ ok: true })
    const remove = (name: string) => store.commit({ kind: 'delete', bucketId, key: name, ownerAccountId: testAccountId, when: {} })
    await remove('source')
    expect((await deadBlobs()).has(source.blob)).toBe(false)
    const lost = { partNumber: 1, size: 50, etag: 'e', checksum: null, manifest: [source] }
    const next = await startUpload(bucketId)
    expect(await store.commit({ kind: 'put-part', bucketId, key, uploadId: next, part: lost, sharedFrom })).toEqual({ ok: false, code: 'SourceGone' })
    await remove(key)
    expect((await deadBlobs()).has(source.blob)).toBe(true)
  })

  test('uploads are listed by key and then by time, in pages', async () => {
    const bucketId = await makeBucket(store)
    const names = ['b', 'a/1', 'a/2', 'b', 'c', 'b']
    const uploads: { key: string; uploadId: string }[] = []
    for (const name of names) uploads.push({ key: name, uploadId: await startUpload(bucketId, name) })
    const expected = ['a/1', 'a/2', 'b', 'c'].flatMap((name) => uploads.filter((upload) => upload.key === name).map(({ uploadId }) => uploadId).sort())
    const found: string[] = []
    for (let marker: { after: string; afterUploadId?: string } = { after: '' }; ;) {
      const page = await store.listUploads(bucketId, { prefix: '', delimiter: '', limit: 2, ...marker })
      found.push(...page.uploads.map(({ uploadId }) => uploadId))
      if (!page.truncated) break
      marker = { after: page.next, ...(page.nextUploadId === null ? {} : { afterUploadId: page.nextUploadId }) }
    }
    expect(found).toEqual(expected)
    const folders = await store.listUploads(bucketId, { prefix: '', delimiter: '/', after: '', limit: 10 })
    expect([folders.commonPrefixes, folders.uploads.map(({ key: name }) => name)]).toEqual([['a/'], ['b', 'b', 'b', 'c']])
  })
})
