import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { anyDelimiter, anyText, naiveEntries, oddKeys, rowsOf, urlDecoded, type Question } from '../support/listing-model.ts'
import { xmlBlocks, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, keyPath, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>
/** Uploads of each key in the order of their initiation. */
const uploads = new Map<string, string[]>()

async function create(target: ReturnType<typeof bucketSender>, key: string): Promise<string> {
  const answer = await target('POST', `${keyPath(key)}?uploads`)
  expect(answer.status).toBe(200)
  return xmlText(answer.text, 'UploadId') ?? ''
}

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await Promise.all(oddKeys.slice(0, 40).map(async (key, index) => {
    const ids: string[] = []
    for (let i = 0; i <= index % 3; i++) {
      ids.push(await create(send, key))
      // The order of initiation is told in milliseconds.
      await new Promise((resolve) => { setTimeout(resolve, 3) })
    }
    uploads.set(key, ids)
  }))
})

interface Marker {
  readonly after: string
  readonly uploadId?: string
}

async function page(question: Question & Marker, limit: number) {
  const parameters = {
    uploads: '', prefix: question.prefix, 'max-uploads': String(limit), 'encoding-type': 'url', ...(question.delimiter === '' ? {} : { delimiter: question.delimiter }),
    ...(question.after === '' ? {} : { 'key-marker': question.after }), ...(question.uploadId === undefined ? {} : { 'upload-id-marker': question.uploadId }),
  }
  const { text, status } = await send('GET', `?${Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`)
  expect(status).toBe(200)
  const truncated = xmlText(text, 'IsTruncated') === 'true'
  return {
    rows: rowsOf(text, 'Upload').map((row) => JSON.stringify([urlDecoded(xmlText(row, 'Key') ?? ''), xmlText(row, 'UploadId')])),
    prefixes: xmlBlocks(text, 'CommonPrefixes').map((block) => urlDecoded(xmlText(block, 'Prefix') ?? '')),
    next: truncated ? { after: urlDecoded(xmlText(text, 'NextKeyMarker') ?? ''), uploadId: xmlText(text, 'NextUploadIdMarker') ?? '' } : undefined,
  }
}

test('every prefix, delimiter, marker and page size gives each open upload exactly once: by key, oldest first', async () => {
  const question = fc.record({ prefix: fc.oneof(fc.constant(''), anyText, fc.constantFrom('a', 'a/')), delimiter: anyDelimiter, after: fc.oneof(fc.constant(''), anyText, fc.constantFrom(...oddKeys)) })
  await fc.assert(fc.asyncProperty(question, fc.constantFrom(1, 2, 3, 7, 50, 1000), async (asked, limit) => {
    const found: { rows: string[]; prefixes: string[] } = { rows: [], prefixes: [] }
    for (let at: Question & Marker = asked; ;) {
      const one = await page(at, limit)
      expect(one.rows.length + one.prefixes.length).toBeLessThanOrEqual(limit)
      found.rows.push(...one.rows)
      found.prefixes.push(...one.prefixes)
      if (one.next === undefined) break
      at = { ...asked, ...one.next }
    }
    const entries = naiveEntries(uploads.keys(), asked)
    expect(found).toEqual({
      rows: entries.filter((entry) => !entry.isPrefix).flatMap(({ name }) => (uploads.get(name) ?? []).map((id) => JSON.stringify([name, id]))),
      prefixes: entries.filter((entry) => entry.isPrefix).map((entry) => entry.name),
    })
  }), { numRuns: 100 })
})

test('a row has initiator, owner, class, time and what checksum the upload was created with', async () => {
  const own = await newBucket(client)
  const target = bucketSender(server, own)
  await target('POST', 'k?uploads', { headers: { 'x-amz-checksum-algorithm': 'SHA256' } })
  const listed = await client.send(new ListMultipartUploadsCommand({ Bucket: own }))
  expect(listed.Bucket).toBe(own)
  expect(listed.IsTruncated).toBe(false)
  expect(listed.Uploads?.[0]).toMatchObject({ Key: 'k', StorageClass: 'STANDARD', ChecksumAlgorithm: 'SHA256', ChecksumType: 'COMPOSITE', Owner: { ID: expect.stringMatching(/^[0-9a-f]{64}$/) }, Initiator: { ID: expect.stringMatching(/^[0-9a-f]{64}$/) } })
  expect(listed.Uploads?.[0]?.Initiated).toBeInstanceOf(Date)
})

test('completed and aborted uploads are not listed, and open uploads are no objects', async () => {
  const target = bucketSender(server, await newBucket(client))
  const [completed, aborted, open] = [await create(target, 'a'), await create(target, 'b'), await create(target, 'c')]
  const { headers } = await target('PUT', `a?partNumber=1&uploadId=${completed}`, { body: 'x' })
  await target('POST', `a?uploadId=${completed}`, { body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${headers['etag']}</ETag></Part></CompleteMultipartUpload>` })
  await target('DELETE', `b?uploadId=${aborted}`)
  const { text } = await target('GET', '?uploads')
  expect(rowsOf(text, 'Upload').map((row) => xmlText(row, 'UploadId'))).toEqual([open])
  expect((await target('GET', '?list-type=2')).text).toContain('<KeyCount>1</KeyCount>')
})

test('an upload-id-marker without a key-marker is ignored', async () => {
  const all = await page({ prefix: '', delimiter: '', after: '' }, 1000)
  expect((await page({ prefix: '', delimiter: '', after: '', uploadId: 'f'.repeat(44) }, 1000)).rows).toEqual(all.rows)
})

test('markers survive the end of the upload that they name', async () => {
  const target = bucketSender(server, await newBucket(client))
  const ids: string[] = []
  for (let i = 0; i < 4; i++) {
    ids.push(await create(target, 'k'))
    await new Promise((resolve) => { setTimeout(resolve, 3) })
  }
  await target('DELETE', `k?uploadId=${ids[1]}`)
  const { text } = await target('GET', `?uploads&key-marker=k&upload-id-marker=${ids[1]}`)
  expect(rowsOf(text, 'Upload').map((row) => xmlText(row, 'UploadId'))).toEqual(ids.slice(2))
})

test('an upload id that never was, of any form, is a place like any other', async () => {
  for (const marker of ['x', '%00', '%F0%9F%98%80', "'", '-1']) {
    const { status } = await send('GET', `?uploads&key-marker=a&upload-id-marker=${marker}`)
    expect(status, marker).toBeLessThan(500)
  }
})

test.each(['max-uploads=-1', 'max-uploads=x', 'max-uploads=2147483648', 'encoding-type=x'])('%s answers 400 InvalidArgument', async (query) => {
  expect(outcome(await send('GET', `?uploads&${query}`))).toBe('400 InvalidArgument')
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await bucketSender(server, bucketName())('GET', '?uploads'))).toBe('404 NoSuchBucket')
})
