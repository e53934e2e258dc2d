import { createHash, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, digest, md5, putPart } from '../support/multipart.ts'
import { xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  send = bucketSender(server, await newBucket(client))
})

const listed = async (key: string, uploadId: string): Promise<string[]> => xmlTexts((await send('GET', `${key}?uploadId=${uploadId}`)).text, 'PartNumber')

test.each([0, 1, 131_072, 131_073, 3_000_001])('a part of %i bytes answers its MD5 as ETag and is no object', async (size) => {
  const body = randomBytes(size)
  const uploadId = await createUpload(send, 'sizes')
  const put = await putPart(send, 'sizes', uploadId, 1, body)
  expect(put.status).toBe(200)
  expect(put.headers['etag']).toBe(`"${md5(body)}"`)
  expect(put.text).toBe('')
  expect(outcome(await send('GET', 'sizes'))).toBe('404 NoSuchKey')
})

test('a part that is uploaded again takes the place of the one before', async () => {
  const uploadId = await createUpload(send, 'again')
  const first = await putPart(send, 'again', uploadId, 1, 'first')
  const second = await putPart(send, 'again', uploadId, 1, 'second')
  expect(await listed('again', uploadId)).toEqual(['1'])
  expect(outcome(await complete(send, 'again', uploadId, [{ number: 1, etag: first.headers['etag'] ?? '' }]))).toBe('400 InvalidPart')
  expect(outcome(await complete(send, 'again', uploadId, [{ number: 1, etag: second.headers['etag'] ?? '' }]))).toBe('200')
  expect((await send('GET', 'again')).text).toBe('second')
})

test('many puts of one part at once end with one of them, whole', async () => {
  const uploadId = await createUpload(send, 'race')
  const bodies = Array.from({ length: 16 }, (_, i) => String(i).repeat(1 + i * 20_000))
  const puts = await Promise.all(bodies.map((body) => putPart(send, 'race', uploadId, 1, body)))
  expect(puts.map((put) => put.status)).toEqual(bodies.map(() => 200))
  const etag = xmlText((await send('GET', `race?uploadId=${uploadId}`)).text, 'ETag') ?? ''
  expect(outcome(await complete(send, 'race', uploadId, [{ number: 1, etag }]))).toBe('200')
  const got = (await send('GET', 'race')).text
  expect(bodies).toContain(got)
  expect(etag).toBe(`"${md5(got)}"`)
})

describe('part numbers', () => {
  test.each(['0', '10001', '-1', '1.5', 'x', '', '1e3', '99999999999999999999'])('%s answers 400 InvalidArgument', async (number) => {
    const uploadId = await createUpload(send, 'numbers')
    expect(outcome(await putPart(send, 'numbers', uploadId, number, 'x'))).toBe('400 InvalidArgument')
    expect(await listed('numbers', uploadId)).toEqual([])
  })

  test('1 and 10000 are the ends', async () => {
    const uploadId = await createUpload(send, 'ends')
    for (const number of [10_000, 1]) expect((await putPart(send, 'ends', uploadId, number, 'x')).status).toBe(200)
    expect(await listed('ends', uploadId)).toEqual(['1', '10000'])
  })
})

describe('an upload that is not there answers 404 NoSuchUpload', () => {
  test.each(['nothing', '', '%00', '0'.repeat(44), '%F0%9F%98%80', "'%20OR%201=1"])('with the id %j', async (id) => {
    expect(outcome(await putPart(send, 'k', id, 1, 'x'))).toBe(id === '%00' ? '400 InvalidURI' : '404 NoSuchUpload')
  })

  test('with the id of another key, of another bucket, or of an aborted upload', async () => {
    const uploadId = await createUpload(send, 'mine')
    expect(outcome(await putPart(send, 'other', uploadId, 1, 'x'))).toBe('404 NoSuchUpload')
    const elsewhere = bucketSender(server, await newBucket(client))
    expect(outcome(await putPart(elsewhere, 'mine', uploadId, 1, 'x'))).toBe('404 NoSuchUpload')
    await send('DELETE', `mine?uploadId=${uploadId}`)
    expect(outcome(await putPart(send, 'mine', uploadId, 1, 'x'))).toBe('404 NoSuchUpload')
  })

  test('a bucket that is not there answers 404 NoSuchBucket', async () => {
    expect(outcome(await putPart(bucketSender(server, bucketName()), 'k', 'x', 1, 'x'))).toBe('404 NoSuchBucket')
  })
})

describe('digests', () => {
  const body = Buffer.from('a part with digests')

  test.each(Object.keys(digest))('%s in a header is verified and answered; a wrong one leaves no part', async (algorithm) => {
    const header = `x-amz-checksum-${algorithm.toLowerCase()}`
    const uploadId = await createUpload(send, `sum-${algorithm}`, { 'x-amz-checksum-algorithm': algorithm })
    const value = digest[algorithm]?.(body) ?? ''
    const wrong = await putPart(send, `sum-${algorithm}`, uploadId, 1, 'another body', { [header]: value })
    expect(outcome(wrong)).toBe('400 BadDigest')
    expect(await listed(`sum-${algorithm}`, uploadId)).toEqual([])
    const right = await putPart(send, `sum-${algorithm}`, uploadId, 1, body, { [header]: value })
    expect(right.status).toBe(200)
    expect(right.headers[header]).toBe(value)
  })

  test('another algorithm than the one of the upload answers 400 InvalidRequest', async () => {
    const uploadId = await createUpload(send, 'mixed', { 'x-amz-checksum-algorithm': 'SHA256' })
    expect(outcome(await putPart(send, 'mixed', uploadId, 1, body, { 'x-amz-checksum-crc32': digest['CRC32']?.(body) ?? '' }))).toBe('400 InvalidRequest')
    expect(await listed('mixed', uploadId)).toEqual([])
  })

  test('a wrong Content-MD5 or payload hash is refused and the part before stays', async () => {
    const uploadId = await createUpload(send, 'md5')
    await putPart(send, 'md5', uploadId, 1, 'old')
    expect(outcome(await putPart(send, 'md5', uploadId, 1, 'new', { 'content-md5': Buffer.alloc(16).toString('base64') }))).toBe('400 BadDigest')
    expect(outcome(await putPart(send, 'md5', uploadId, 1, 'new', { 'x-amz-content-sha256': createHash('sha256').update('x').digest('hex') }))).toBe('400 XAmzContentSHA256Mismatch')
    expect(outcome(await putPart(send, 'md5', uploadId, 1, 'new', { 'content-md5': 'x' }))).toBe('400 InvalidDigest')
    expect(xmlText((await send('GET', `md5?uploadId=${uploadId}`)).text, 'ETag')).toBe(`"${md5('old')}"`)
  })
})

test('a part above 5 GiB is refused before a byte is read', async () => {
  const uploadId = await createUpload(send, 'huge')
  const answer = await send('PUT', `huge?partNumber=1&uploadId=${uploadId}`, { headers: { 'content-length': String(5 * 1024 ** 3 + 1), 'expect': '100-continue', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  expect(outcome(answer)).toBe('400 EntityTooLarge')
})

test('a part without a length answers 411 MissingContentLength', async () => {
  const uploadId = await createUpload(send, 'nolength')
  const answer = await send('PUT', `nolength?partNumber=1&uploadId=${uploadId}`, { body: 'x', headers: { 'transfer-encoding': 'chunked', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  expect(outcome(answer)).toBe('411 MissingContentLength')
})

test('an expected owner that is another account, and encryption by the client, are refused', async () => {
  const uploadId = await createUpload(send, 'owner')
  expect(outcome(await putPart(send, 'owner', uploadId, 1, 'x', { 'x-amz-expected-bucket-owner': '999988887777' }))).toBe('403 AccessDenied')
  expect(outcome(await putPart(send, 'owner', uploadId, 1, 'x', { 'x-amz-server-side-encryption-customer-algorithm': 'AES256' }))).toBe('501 NotImplemented')
  expect(await listed('owner', uploadId)).toEqual([])
})

test('a part without an upload id is refused, never stored as the object', async () => {
  await send('PUT', 'whole', { body: 'whole' })
  expect(outcome(await send('PUT', 'whole?partNumber=1', { body: 'part' }))).toBe('400 InvalidArgument')
  expect((await send('GET', 'whole')).text).toBe('whole')
})
