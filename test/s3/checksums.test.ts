import { createHash } from 'node:crypto'
import { ChecksumAlgorithm, ChecksumMode, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { xmlText, type RawResponse } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const text = '123456789'
const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')

/** The check values that the definitions of the CRCs give for this text. */
const digests: Readonly<Record<string, string>> = {
  crc32: base64('cbf43926'), crc32c: base64('e3069283'), crc64nvme: base64('ae8b14860a799888'),
  sha1: createHash('sha1').update(text).digest('base64'), sha256: createHash('sha256').update(text).digest('base64'),
}
const wrong: Readonly<Record<string, string>> = {
  crc32: base64('00000000'), crc32c: base64('00000000'), crc64nvme: base64('0000000000000000'),
  sha1: createHash('sha1').update('x').digest('base64'), sha256: createHash('sha256').update('x').digest('base64'),
}
const names = Object.keys(digests)

describe.each(names)('%s in a header', (name) => {
  const header = `x-amz-checksum-${name}`

  test('is verified, answered and stored', async () => {
    const put = await send('PUT', `right-${name}`, { body: text, headers: { [header]: digests[name] ?? '' } })
    expect(put.status).toBe(200)
    expect(put.headers).toMatchObject({ [header]: digests[name], 'x-amz-checksum-type': 'FULL_OBJECT' })
    for (const method of ['GET', 'HEAD']) {
      const read = await send(method, `right-${name}`, { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
      expect(read.headers).toMatchObject({ [header]: digests[name], 'x-amz-checksum-type': 'FULL_OBJECT' })
      const plain = await send(method, `right-${name}`)
      expect(plain.headers).not.toHaveProperty(header)
      expect(plain.headers).not.toHaveProperty('x-amz-checksum-type')
    }
  })

  test('that is wrong answers 400 BadDigest and leaves nothing behind', async () => {
    expect(outcome(await send('PUT', `wrong-${name}`, { body: text, headers: { [header]: wrong[name] ?? '' } }))).toBe('400 BadDigest')
    expect(outcome(await send('GET', `wrong-${name}`))).toBe('404 NoSuchKey')
  })

  test('that is wrong for a large body answers 400 BadDigest and leaves nothing behind', async () => {
    expect(outcome(await send('PUT', `large-${name}`, { body: Buffer.alloc(1_500_000, 7), headers: { [header]: wrong[name] ?? '' } }))).toBe('400 BadDigest')
    expect(outcome(await send('GET', `large-${name}`))).toBe('404 NoSuchKey')
  })

  test.each(['', 'AAA', 'not base64 at all!', 'A'.repeat(52)])('that is no digest (%j) answers 400 InvalidRequest', async (value) => {
    expect(outcome(await send('PUT', `malformed-${name}`, { body: text, headers: { [header]: value } }))).toBe('400 InvalidRequest')
  })
})

/** One chunk and a trailer, as the SDKs send since 2025. */
function putWithTrailer(key: string, trailerName: string, trailerLines: string, body: string | Buffer = text, headers: Readonly<Record<string, string>> = {}): Promise<RawResponse> {
  const bytes = Buffer.from(body)
  const framed = Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from(`\r\n0\r\n${trailerLines}\r\n`)])
  return send('PUT', key, {
    body: framed,
    headers: {
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'content-encoding': 'aws-chunked',
      'x-amz-decoded-content-length': String(bytes.length), 'x-amz-trailer': trailerName, ...headers,
    },
  })
}

describe.each(names)('%s in a trailer', (name) => {
  const header = `x-amz-checksum-${name}`

  test('is verified, answered and stored, and the framing is no part of the object', async () => {
    const put = await putWithTrailer(`trailer-${name}`, header, `${header}:${digests[name]}\r\n`)
    expect(outcome(put)).toBe('200')
    expect(put.headers[header]).toBe(digests[name])
    const got = await send('GET', `trailer-${name}`, { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
    expect(got.text).toBe(text)
    expect(got.headers[header]).toBe(digests[name])
    expect(got.headers).not.toHaveProperty('content-encoding')
  })

  test('that is wrong answers 400 BadDigest, for small and large bodies, and leaves nothing behind', async () => {
    for (const body of [text, Buffer.alloc(1_500_000, 7)]) {
      expect(outcome(await putWithTrailer(`wrong-trailer-${name}`, header, `${header}:${wrong[name]}\r\n`, body))).toBe('400 BadDigest')
      expect(outcome(await send('GET', `wrong-trailer-${name}`))).toBe('404 NoSuchKey')
    }
  })
})

test('aws-chunked inside a body of chunked transfer coding, with 100-continue and another content coding, is what it says', async () => {
  const headers = { 'transfer-encoding': 'chunked', expect: '100-continue', 'content-encoding': 'aws-chunked,gzip' }
  for (const body of [Buffer.from(text), Buffer.alloc(1_500_000, 7)]) {
    const trailer = `x-amz-checksum-sha256:${createHash('sha256').update(body).digest('base64')}\r\n`
    expect(outcome(await putWithTrailer('unframed', 'x-amz-checksum-sha256', trailer, body, headers))).toBe('200')
    const got = await send('GET', 'unframed')
    expect(Buffer.compare(got.body, body)).toBe(0)
    expect(got.headers['content-encoding']).toBe('gzip')
  }
})

test.each([
  ['is missing', ''],
  ['is another one than announced', `x-amz-checksum-sha1:${digests['sha1']}\r\n`],
  ['has no colon', 'x-amz-checksum-crc32\r\n'],
])('a trailer that %s answers 400 and leaves nothing behind', async (_what, lines) => {
  const put = await putWithTrailer('bad-trailer', 'x-amz-checksum-crc32', lines)
  expect(put.status).toBe(400)
  expect(outcome(await send('GET', 'bad-trailer'))).toBe('404 NoSuchKey')
})

test('a trailer of no checksum that we know answers 400 InvalidRequest', async () => {
  expect(outcome(await putWithTrailer('unknown-trailer', 'x-amz-checksum-md4', 'x-amz-checksum-md4:AAAA\r\n'))).toBe('400 InvalidRequest')
})

test('two checksum headers answer 400 InvalidRequest', async () => {
  const headers = { 'x-amz-checksum-crc32': digests['crc32'] ?? '', 'x-amz-checksum-sha256': digests['sha256'] ?? '' }
  expect(outcome(await send('PUT', 'two', { body: text, headers }))).toBe('400 InvalidRequest')
  expect(outcome(await send('GET', 'two'))).toBe('404 NoSuchKey')
})

test('an announced algorithm without its checksum answers 400 InvalidRequest', async () => {
  expect(outcome(await send('PUT', 'announced', { body: text, headers: { 'x-amz-sdk-checksum-algorithm': 'SHA256' } }))).toBe('400 InvalidRequest')
})

test('a body without any checksum gets a CRC64NVME of the whole object', async () => {
  const put = await send('PUT', 'default', { body: text })
  expect(put.headers).toMatchObject({ 'x-amz-checksum-crc64nvme': digests['crc64nvme'], 'x-amz-checksum-type': 'FULL_OBJECT' })
  const head = await send('HEAD', 'default', { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
  expect(head.headers).toMatchObject({ 'x-amz-checksum-crc64nvme': digests['crc64nvme'], 'x-amz-checksum-type': 'FULL_OBJECT' })
})

test('Content-MD5 beside a checksum: both are verified', async () => {
  const md5 = createHash('md5').update(text).digest('base64')
  const wrongMd5 = createHash('md5').update('x').digest('base64')
  const put = async (key: string, contentMd5: string, crc32: string | undefined): Promise<string> =>
    outcome(await send('PUT', key, { body: text, headers: { 'content-md5': contentMd5, 'x-amz-checksum-crc32': crc32 ?? '' } }))
  expect(await put('both', md5, digests['crc32'])).toBe('200')
  expect(await put('both-2', md5, wrong['crc32'])).toBe('400 BadDigest')
  expect(await put('both-2', wrongMd5, digests['crc32'])).toBe('400 BadDigest')
  expect(outcome(await send('GET', 'both-2'))).toBe('404 NoSuchKey')
})

test('a range has no checksum: it would be the whole object\'s', async () => {
  const got = await send('GET', 'default', { headers: { 'x-amz-checksum-mode': 'ENABLED', 'range': 'bytes=0-3' } })
  expect(got.status).toBe(206)
  expect(Object.keys(got.headers).filter((name) => name.startsWith('x-amz-checksum'))).toEqual([])
})

test('listings name algorithm and type', async () => {
  await send('PUT', 'listed', { body: text, headers: { 'x-amz-checksum-sha1': digests['sha1'] ?? '' } })
  const list = await send('GET', '?list-type=2&prefix=listed')
  expect([xmlText(list.text, 'ChecksumAlgorithm'), xmlText(list.text, 'ChecksumType')]).toEqual(['SHA1', 'FULL_OBJECT'])
})

const ofTheSdk = [ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32C, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256]
test.each(ofTheSdk)('the SDK uploads with %s and verifies what it downloads', async (algorithm) => {
  const Key = `sdk-${algorithm}`
  const put = await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: text, ChecksumAlgorithm: algorithm }))
  expect(put[`Checksum${algorithm}`]).toBe(digests[algorithm.toLowerCase()])
  const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key, ChecksumMode: ChecksumMode.ENABLED }))
  expect(await got.Body?.transformToString()).toBe(text)
  const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key, ChecksumMode: ChecksumMode.ENABLED }))
  expect(head.ChecksumType).toBe('FULL_OBJECT')
})
