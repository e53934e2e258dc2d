import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, digest, md5, multipartEtag, partBytesMin, putPart, type UploadedPart } from '../support/multipart.ts'
import { xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>
const source = randomBytes(2 * partBytesMin + 100)

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'source', { body: source })
  await send('PUT', 'small', { body: 'hello' })
})

const copyPart = (uploadId: string, number: number | string, headers: Readonly<Record<string, string>> = {}, key = 'target'): Promise<RawResponse> =>
  send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, { headers: { 'x-amz-copy-source': `/${bucket}/source`, ...headers } })

test('ranges of one object, joined with an uploaded part, are the bytes they name', async () => {
  const uploadId = await createUpload(send, 'target')
  const parts: UploadedPart[] = []
  for (const [index, range] of [`bytes=0-${partBytesMin - 1}`, `bytes=100-${partBytesMin + 99}`].entries()) {
    const answer = await copyPart(uploadId, index + 1, { 'x-amz-copy-source-range': range })
    expect(answer.status).toBe(200)
    expect(answer.text).toContain('<CopyPartResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
    expect(xmlText(answer.text, 'LastModified')).toMatch(/^\d{4}-\d\d-\d\dT/)
    parts.push({ number: index + 1, etag: xmlText(answer.text, 'ETag') ?? '' })
  }
  const last = await putPart(send, 'target', uploadId, 3, 'tail')
  parts.push({ number: 3, etag: last.headers['etag'] ?? '' })
  const bodies = [source.subarray(0, partBytesMin), source.subarray(100, partBytesMin + 100), Buffer.from('tail')]
  expect(parts.map((part) => part.etag)).toEqual(bodies.map((body) => `"${md5(body)}"`))
  const done = await complete(send, 'target', uploadId, parts)
  expect(xmlText(done.text, 'ETag')).toBe(multipartEtag(bodies))
  await send('DELETE', 'source-gone')
  const got = await send('GET', 'target', { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
  expect(Buffer.compare(got.body, Buffer.concat(bodies))).toBe(0)
  expect(got.headers['x-amz-checksum-crc64nvme']).toBe(digest['CRC64NVME']?.(Buffer.concat(bodies)))
})

test('without a range the whole object is the part, and it outlives its source', async () => {
  await send('PUT', 'short-lived', { body: 'bytes that stay' })
  const uploadId = await createUpload(send, 'whole')
  const answer = await copyPart(uploadId, 1, { 'x-amz-copy-source': `${bucket}/short-lived` }, 'whole')
  expect(xmlText(answer.text, 'ETag')).toBe(`"${md5('bytes that stay')}"`)
  await send('DELETE', 'short-lived')
  expect(outcome(await complete(send, 'whole', uploadId, [{ number: 1, etag: xmlText(answer.text, 'ETag') ?? '' }]))).toBe('200')
  expect((await send('GET', 'whole')).text).toBe('bytes that stay')
})

test('a named version of the source is copied and named in the answer', async () => {
  const versioned = await newBucket(client, 'Enabled')
  const own = bucketSender(server, versioned)
  const old = (await own('PUT', 'k%20%2B', { body: 'old' })).headers['x-amz-version-id'] ?? ''
  await own('PUT', 'k%20%2B', { body: 'new' })
  const uploadId = await createUpload(send, 'version')
  const answer = await copyPart(uploadId, 1, { 'x-amz-copy-source': `/${versioned}/k%20%2B?versionId=${old}` }, 'version')
  expect([xmlText(answer.text, 'ETag'), answer.headers['x-amz-copy-source-version-id']]).toEqual([`"${md5('old')}"`, old])
})

test.each(Object.keys(digest))('a part copied into an upload with %s has that checksum', async (algorithm) => {
  const uploadId = await createUpload(send, 'sum', { 'x-amz-checksum-algorithm': algorithm })
  const answer = await copyPart(uploadId, 1, { 'x-amz-copy-source': `/${bucket}/small` }, 'sum')
  expect(xmlText(answer.text, `Checksum${algorithm}`)).toBe(digest[algorithm]?.(Buffer.from('hello')))
})

describe('ranges', () => {
  test.each([['bytes=0-0', 'h'], ['bytes=1-3', 'ell'], ['bytes=0-4', 'hello']])('%s', async (range, expected) => {
    const uploadId = await createUpload(send, 'range')
    const answer = await copyPart(uploadId, 1, { 'x-amz-copy-source': `/${bucket}/small`, 'x-amz-copy-source-range': range }, 'range')
    expect(xmlText(answer.text, 'ETag')).toBe(`"${md5(expected)}"`)
  })

  /** Unlike a GET's, this range must be `bytes=first-last` and lie inside the source. */
  test.each(['bytes=0-5', 'bytes=5-5', 'bytes=2-1', 'bytes=-1', 'bytes=1-', 'bytes=0-1,3-4', '0-1', 'bytes=a-b', 'bytes=0-99999999999999999999', 'items=0-1', ''])('%j answers 400 and stores no part', async (range) => {
    const uploadId = await createUpload(send, 'range')
    const answer = await copyPart(uploadId, 1, { 'x-amz-copy-source': `/${bucket}/small`, 'x-amz-copy-source-range': range }, 'range')
    expect(outcome(answer)).toMatch(/^(400 InvalidArgument|400 InvalidRequest|416 InvalidRange)$/)
    expect(xmlTexts((await send('GET', `range?uploadId=${uploadId}`)).text, 'PartNumber')).toEqual([])
  })
})

describe('conditions on the source', () => {
  const yesterday = new Date(Date.now() - 86_400_000).toUTCString()
  test.each([
    [{ 'x-amz-copy-source-if-match': `"${md5('hello')}"` }, '200'], [{ 'x-amz-copy-source-if-match': '"other"' }, '412 PreconditionFailed'],
    [{ 'x-amz-copy-source-if-none-match': '"other"' }, '200'], [{ 'x-amz-copy-source-if-none-match': `"${md5('hello')}"` }, '412 PreconditionFailed'],
    [{ 'x-amz-copy-source-if-modified-since': yesterday }, '200'], [{ 'x-amz-copy-source-if-unmodified-since': yesterday }, '412 PreconditionFailed'],
    [{ 'x-amz-copy-source-if-match': `"${md5('hello')}"`, 'x-amz-copy-source-if-unmodified-since': yesterday }, '200'],
    [{ 'x-amz-copy-source-if-none-match': `"${md5('hello')}"`, 'x-amz-copy-source-if-modified-since': yesterday }, '412 PreconditionFailed'],
  ])('%j: %s', async (headers, expected) => {
    const uploadId = await createUpload(send, 'when')
    expect(outcome(await copyPart(uploadId, 1, { 'x-amz-copy-source': `/${bucket}/small`, ...headers } as Record<string, string>, 'when'))).toBe(expected)
    expect(xmlTexts((await send('GET', `when?uploadId=${uploadId}`)).text, 'PartNumber')).toEqual(expected === '200' ? ['1'] : [])
  })
})

test.each([
  ['a key that is not there', { 'x-amz-copy-source': 'BUCKET/missing' }, '404 NoSuchKey'],
  ['a bucket that is not there', { 'x-amz-copy-source': `${bucketName()}/k` }, '404 NoSuchBucket'],
  ['no key', { 'x-amz-copy-source': 'BUCKET' }, '400 InvalidArgument'],
  ['a path that climbs out', { 'x-amz-copy-source': '/BUCKET/../other/k' }, '400 InvalidArgument'],
  ['a version id that is none', { 'x-amz-copy-source': '/BUCKET/small?versionId=nonsense' }, '400 InvalidArgument'],
  ['a source of another owner than expected', { 'x-amz-copy-source': '/BUCKET/small', 'x-amz-source-expected-bucket-owner': '999988887777' }, '403 AccessDenied'],
  ['a target of another owner than expected', { 'x-amz-copy-source': '/BUCKET/small', 'x-amz-expected-bucket-owner': '999988887777' }, '403 AccessDenied'],
  ['a key of the client for the source', { 'x-amz-copy-source': '/BUCKET/small', 'x-amz-copy-source-server-side-encryption-customer-algorithm': 'AES256' }, '501 NotImplemented'],
])('a source with %s is refused and no part is stored', async (_what, headers, expected) => {
  const uploadId = await createUpload(send, 'refused')
  const named = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replace('BUCKET', bucket)]))
  expect(outcome(await copyPart(uploadId, 1, named, 'refused'))).toBe(expected)
  expect(xmlTexts((await send('GET', `refused?uploadId=${uploadId}`)).text, 'PartNumber')).toEqual([])
})

test('part numbers and uploads that are not there are refused as for an uploaded part', async () => {
  const uploadId = await createUpload(send, 'numbers')
  for (const number of ['0', '10001', 'x', '']) expect(outcome(await copyPart(uploadId, number, {}, 'numbers'))).toBe('400 InvalidArgument')
  expect(outcome(await copyPart('x', 1, {}, 'numbers'))).toBe('404 NoSuchUpload')
})
