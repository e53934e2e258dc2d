import { randomBytes } from 'node:crypto'
import { CompleteMultipartUploadCommand, CreateMultipartUploadCommand, GetObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, failure, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const large = randomBytes(3_500_000)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'digits', { body: '0123456789', headers: { 'content-type': 'text/plain', 'cache-control': 'no-store' } })
  await send('PUT', 'empty', { body: '' })
  await send('PUT', 'large', { body: large })
})

test('the answer has the headers of the object', async () => {
  const got = await send('GET', 'digits')
  expect(got.status).toBe(200)
  expect(got.text).toBe('0123456789')
  expect(got.headers).toMatchObject({
    'accept-ranges': 'bytes', 'content-length': '10', 'content-type': 'text/plain', 'cache-control': 'no-store', 'etag': '"781e5e245d69b566979b86e28d23f2c7"',
  })
  expect(got.headers['last-modified']).toMatch(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/)
  expect(got.headers).not.toHaveProperty('content-range')
  expect(got.headers).not.toHaveProperty('x-amz-mp-parts-count')
  expect(got.headers).not.toHaveProperty('x-amz-checksum-crc64nvme')
})

test('a key that does not exist answers 404 NoSuchKey with the key and the resource', async () => {
  const got = await send('GET', 'no/such%20key')
  expect(outcome(got)).toBe('404 NoSuchKey')
  expect(got.headers['content-type']).toBe('application/xml')
  expect(xmlText(got.text, 'Key')).toBe('no/such key')
  expect(xmlText(got.text, 'Resource')).toBe(`/${bucket}/no/such%20key`)
  expect(xmlText(got.text, 'RequestId')).toBe(got.headers['x-amz-request-id'])
  expect(xmlText(got.text, 'HostId')).toBe(got.headers['x-amz-id-2'])
  expect(await failure(client.send(new GetObjectCommand({ Bucket: bucket, Key: 'no' })))).toMatchObject({ code: 'NoSuchKey', status: 404 })
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await signedRequest({ server, path: `/${bucketName()}/k` }))).toBe('404 NoSuchBucket')
})

describe('ranges', () => {
  test.each([
    ['bytes=0-3', '0123', 'bytes 0-3/10'],
    ['bytes=3-3', '3', 'bytes 3-3/10'],
    ['bytes=7-', '789', 'bytes 7-9/10'],
    ['bytes=-4', '6789', 'bytes 6-9/10'],
    ['bytes=5-100', '56789', 'bytes 5-9/10'],
    ['bytes=-100', '0123456789', 'bytes 0-9/10'],
    ['bytes=0-', '0123456789', 'bytes 0-9/10'],
    ['bytes=0-9', '0123456789', 'bytes 0-9/10'],
    ['bytes=9-9', '9', 'bytes 9-9/10'],
  ])('%s answers 206 with that part', async (range, text, contentRange) => {
    const got = await send('GET', 'digits', { headers: { range } })
    expect(got.status).toBe(206)
    expect(got.text).toBe(text)
    expect(got.headers).toMatchObject({ 'content-range': contentRange, 'content-length': String(text.length), 'accept-ranges': 'bytes' })
    expect(got.headers['etag']).toBe('"781e5e245d69b566979b86e28d23f2c7"')
  })

  test.each([
    'bytes=0-1,3-4', 'bytes=5-2', 'bytes=a-b', 'bytes=', 'bytes=-', 'lines=0-3', 'bytes 0-3', 'nonsense',
  ])('%s is no single range and answers 200 with the whole object', async (range) => {
    const got = await send('GET', 'digits', { headers: { range } })
    expect(got.status).toBe(200)
    expect(got.text).toBe('0123456789')
    expect(got.headers).not.toHaveProperty('content-range')
  })

  test.each([
    ['digits', 'bytes=10-', 10], ['digits', 'bytes=10-20', 10], ['digits', 'bytes=-0', 10], ['digits', 'bytes=99999999999999999999-', 10], ['empty', 'bytes=0-', 0],
  ])(
    '%s with %s answers 416 InvalidRange with the size', async (key, range, size) => {
      const got = await send('GET', key, { headers: { range } })
      expect(outcome(got)).toBe('416 InvalidRange')
      expect(got.headers['content-range']).toBe(`bytes */${size}`)
      expect(xmlText(got.text, 'ActualObjectSize')).toBe(String(size))
      expect(xmlText(got.text, 'RangeRequested')).toBe(range)
    })

  test('any range of a large object is those bytes', async () => {
    const edges = fc.constantFrom(0, 1, 1_048_575, 1_048_576, 1_048_577, 2_097_151, 2_097_152, 3_145_728, large.length - 1)
    const position = fc.oneof(edges, fc.nat(large.length - 1))
    await fc.assert(fc.asyncProperty(position, position, async (one, two) => {
      const [first, last] = one < two ? [one, two] : [two, one]
      const got = await send('GET', 'large', { headers: { range: `bytes=${first}-${last}` } })
      expect(got.headers['content-range']).toBe(`bytes ${first}-${last}/${large.length}`)
      expect(Buffer.compare(got.body, large.subarray(first, last + 1))).toBe(0)
    }), { numRuns: 40 })
  })

  test('If-Range: the range holds for the object that the client knows, else it gets the whole one', async () => {
    const { headers } = await send('HEAD', 'digits')
    const read = async (ifRange: string): Promise<string> => {
      const got = await send('GET', 'digits', { headers: { 'range': 'bytes=8-', 'if-range': ifRange } })
      return `${got.status} ${got.text}`
    }
    expect(await read(headers['etag'] ?? '')).toBe('206 89')
    expect(await read(headers['last-modified'] ?? '')).toBe('206 89')
    for (const other of ['"other"', `W/${headers['etag']}`, 'Sat, 01 Jan 2000 00:00:00 GMT', 'Fri, 01 Jan 2100 00:00:00 GMT', 'x']) {
      expect(await read(other)).toBe('200 0123456789')
    }
  })

  test('a range does not break a condition: If-Match is looked at first', async () => {
    expect(outcome(await send('GET', 'digits', { headers: { 'range': 'bytes=50-', 'if-match': '"other"' } }))).toBe('412 PreconditionFailed')
    expect((await send('GET', 'digits', { headers: { 'range': 'bytes=0-1', 'if-none-match': '"781e5e245d69b566979b86e28d23f2c7"' } })).status).toBe(304)
  })
})

describe('partNumber of an object that was put whole', () => {
  test('1 is the object, as a part of the content and without a parts count', async () => {
    const got = await send('GET', 'digits?partNumber=1')
    expect(got.status).toBe(206)
    expect(got.text).toBe('0123456789')
    expect(got.headers['content-range']).toBe('bytes 0-9/10')
    expect(got.headers).not.toHaveProperty('x-amz-mp-parts-count')
  })

  test('2 answers 416 InvalidPartNumber', async () => {
    expect(outcome(await send('GET', 'digits?partNumber=2'))).toBe('416 InvalidPartNumber')
  })

  test.each(['0', '-1', '10001', 'one', '1.5'])('%s answers 400 InvalidArgument', async (number) => {
    expect(outcome(await send('GET', `digits?partNumber=${number}`))).toBe('400 InvalidArgument')
  })

  test('together with Range it answers 400 InvalidRequest', async () => {
    expect(outcome(await send('GET', 'digits?partNumber=1', { headers: { range: 'bytes=0-1' } }))).toBe('400 InvalidRequest')
  })
})

describe('response header overrides', () => {
  const query = new URLSearchParams({
    'response-content-type': 'application/x-thing', 'response-content-language': 'de', 'response-expires': 'Thu, 01 Dec 1994 16:00:00 GMT',
    'response-cache-control': 'max-age=5', 'response-content-disposition': 'attachment; filename="a b.txt"', 'response-content-encoding': 'gzip',
  }).toString().replaceAll('+', '%20')
  const expected = {
    'content-type': 'application/x-thing', 'content-language': 'de', 'expires': 'Thu, 01 Dec 1994 16:00:00 GMT',
    'cache-control': 'max-age=5', 'content-disposition': 'attachment; filename="a b.txt"', 'content-encoding': 'gzip',
  }

  test.each(['header', 'presigned'] as const)('replace what the object has in a request signed in the %s', async (sign) => {
    const got = await send('GET', `digits?${query}`, { sign })
    expect(got.status).toBe(200)
    expect(got.headers).toMatchObject(expected)
    expect(got.text).toBe('0123456789')
  })

  test('hold for HEAD and for a range too', async () => {
    expect((await send('HEAD', `digits?${query}`)).headers).toMatchObject(expected)
    expect((await send('GET', `digits?${query}`, { headers: { range: 'bytes=1-2' } })).headers).toMatchObject(expected)
  })

  test('may have any text', async () => {
    const disposition = 'attachment; filename="größe 日本.txt"'
    const got = await send('GET', `digits?response-content-disposition=${encodeURIComponent(disposition)}`, { sign: 'presigned' })
    expect(got.status).toBe(200)
    expect(Buffer.from(got.headers['content-disposition'] ?? '', 'latin1').toString('utf8')).toBe(disposition)
  })

  test('of an anonymous request are refused', async () => {
    const got = await send('GET', `digits?${query}`, { sign: 'none' })
    expect([400, 403]).toContain(got.status)
    expect(got.text).not.toContain('0123456789')
  })

  test('that would end the header are refused with 400', async () => {
    const got = await send('GET', 'digits?response-content-type=a%0D%0Ax-evil%3A%201')
    expect(got.status).toBe(400)
    expect(got.headers).not.toHaveProperty('x-evil')
  })
})

describe('an object that was uploaded in parts', () => {
  const parts = [randomBytes(5 * 1024 ** 2), randomBytes(5 * 1024 ** 2 + 7), Buffer.from('the rest')]
  const whole = Buffer.concat(parts)

  beforeAll(async () => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: 'parts' }))
    // Gaps in the numbers do not count: the parts of the object are 1, 2 and 3.
    const Parts = await Promise.all(parts.map(async (Body, index) => {
      const PartNumber = 1 + index * 10
      const { ETag } = await client.send(new UploadPartCommand({ Bucket: bucket, Key: 'parts', UploadId, PartNumber, Body }))
      return { PartNumber, ETag }
    }))
    await client.send(new CompleteMultipartUploadCommand({ Bucket: bucket, Key: 'parts', UploadId, MultipartUpload: { Parts } }))
  })

  test('is read whole, by ranges over its parts, and by part with the count of them', async () => {
    const got = await send('GET', 'parts')
    expect(Buffer.compare(got.body, whole)).toBe(0)
    expect(got.headers['etag']).toMatch(/^"[0-9a-f]{32}-3"$/)
    expect(got.headers).not.toHaveProperty('x-amz-mp-parts-count')
    for (const [start, end] of [[0, 9], [5 * 1024 ** 2 - 5, 5 * 1024 ** 2 + 4], [100, whole.length - 2], [whole.length - 10, whole.length - 1]] as const) {
      expect(Buffer.compare((await send('GET', 'parts', { headers: { range: `bytes=${start}-${end}` } })).body, whole.subarray(start, end + 1))).toBe(0)
    }
    let at = 0
    for (const [index, part] of parts.entries()) {
      for (const method of ['GET', 'HEAD']) {
        const read = await send(method, `parts?partNumber=${index + 1}`)
        expect(read.status).toBe(206)
        expect(read.headers).toMatchObject({
          'content-range': `bytes ${at}-${at + part.length - 1}/${whole.length}`, 'content-length': String(part.length),
          'x-amz-mp-parts-count': '3', 'etag': got.headers['etag'],
        })
        if (method === 'GET') expect(Buffer.compare(read.body, part)).toBe(0)
      }
      at += part.length
    }
    expect(outcome(await send('GET', 'parts?partNumber=4'))).toBe('416 InvalidPartNumber')
  })

  test('is copied with its bytes', async () => {
    expect((await send('PUT', 'parts-copy', { headers: { 'x-amz-copy-source': `${bucket}/parts` } })).status).toBe(200)
    await send('DELETE', 'parts')
    expect(Buffer.compare((await send('GET', 'parts-copy')).body, whole)).toBe(0)
  })
})

test('x-amz-expected-bucket-owner of another account answers 403 AccessDenied', async () => {
  expect(outcome(await send('GET', 'digits', { headers: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
})

test('a reader gets the version that it began with, while the key is overwritten and deleted', async () => {
  const old = randomBytes(6_000_000)
  await send('PUT', 'moving', { body: old })
  const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key: 'moving' }))
  await send('PUT', 'moving', { body: 'new' })
  await send('DELETE', 'moving')
  expect(Buffer.compare(await got.Body?.transformToByteArray() ?? new Uint8Array(), old)).toBe(0)
  expect(outcome(await send('GET', 'moving'))).toBe('404 NoSuchKey')
})

test('versionId in a bucket that never had versioning: null is the object, an unknown id answers 404, a malformed one 400', async () => {
  const got = await send('GET', 'digits?versionId=null')
  expect(got.text).toBe('0123456789')
  expect(got.headers).not.toHaveProperty('x-amz-version-id')
  expect(outcome(await send('GET', 'digits?versionId=not-an-id'))).toBe('400 InvalidArgument')
  expect(outcome(await send('GET', 'digits?versionId='))).toBe('400 InvalidArgument')
  expect(outcome(await send('GET', 'nothing?versionId=null'))).toBe('404 NoSuchVersion')
})

test('a key of the client for an object that is not encrypted answers 400 InvalidRequest', async () => {
  const headers = { 'x-amz-server-side-encryption-customer-algorithm': 'AES256', 'x-amz-server-side-encryption-customer-key': Buffer.alloc(32).toString('base64') }
  expect(outcome(await send('GET', 'digits', { headers }))).toBe('400 InvalidRequest')
  expect((await send('HEAD', 'digits', { headers })).status).toBe(400)
})
