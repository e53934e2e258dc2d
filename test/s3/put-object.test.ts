import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, failure, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const md5 = (body: string | Uint8Array): string => createHash('md5').update(body).digest('hex')

test.each([0, 1, 4096, 131_072, 131_073, 1_048_576, 1_048_577, 5_000_000])('%i bytes come back as they were put', async (size) => {
  const Body = randomBytes(size)
  const put = await client.send(new PutObjectCommand({ Bucket: bucket, Key: `size-${size}`, Body }))
  expect(put.ETag).toBe(`"${md5(Body)}"`)
  const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key: `size-${size}` }))
  expect(got.ContentLength).toBe(size)
  expect(got.ETag).toBe(put.ETag)
  expect(Buffer.compare(await got.Body?.transformToByteArray() ?? new Uint8Array(), Body)).toBe(0)
})

test('the answer has an ETag, request ids, a date, an empty body, and no version id in a bucket without versioning', async () => {
  const put = await send('PUT', 'answer', { body: 'hello' })
  expect(put.status).toBe(200)
  expect(put.headers['etag']).toBe(`"${md5('hello')}"`)
  expect(put.headers['content-length']).toBe('0')
  expect(put.headers['x-amz-request-id']).toMatch(/^\S+$/)
  expect(put.headers['x-amz-id-2']).toMatch(/^\S+$/)
  expect(Date.parse(put.headers['date'] ?? '')).not.toBeNaN()
  expect(put.headers).not.toHaveProperty('x-amz-version-id')
  expect(put.headers).not.toHaveProperty('x-amz-delete-marker')
})

test('a second put replaces the bytes, the metadata and the tags', async () => {
  await send('PUT', 'replaced', { body: 'one', headers: { 'x-amz-meta-a': '1', 'x-amz-tagging': 'k=v', 'content-type': 'text/plain' } })
  await send('PUT', 'replaced', { body: 'second' })
  const got = await send('GET', 'replaced')
  expect(got.text).toBe('second')
  expect(got.headers).not.toHaveProperty('x-amz-meta-a')
  expect(got.headers).not.toHaveProperty('x-amz-tagging-count')
  expect(got.headers['content-type']).toBe('binary/octet-stream')
})

test('a bucket that does not exist answers 404 NoSuchBucket with its name, and nothing is made', async () => {
  const missing = bucketName()
  const put = await signedRequest({ server, method: 'PUT', path: `/${missing}/k`, body: 'x' })
  expect(outcome(put)).toBe('404 NoSuchBucket')
  expect(xmlText(put.text, 'BucketName')).toBe(missing)
  expect(outcome(await signedRequest({ server, path: `/${missing}` }))).toBe('404 NoSuchBucket')
})

test('a body without a length answers 411 MissingContentLength', async () => {
  const put = await send('PUT', 'no-length', { headers: { 'transfer-encoding': 'chunked', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }, body: 'hello' })
  expect(outcome(put)).toBe('411 MissingContentLength')
  expect(outcome(await send('GET', 'no-length'))).toBe('404 NoSuchKey')
})

test('a wrong Content-MD5 answers 400 BadDigest and leaves the old object as it was', async () => {
  await send('PUT', 'md5', { body: 'old' })
  const wrong = createHash('md5').update('other').digest('base64')
  expect(outcome(await send('PUT', 'md5', { body: 'new', headers: { 'content-md5': wrong } }))).toBe('400 BadDigest')
  expect((await send('GET', 'md5')).text).toBe('old')
  const right = createHash('md5').update('new').digest('base64')
  expect((await send('PUT', 'md5', { body: 'new', headers: { 'content-md5': right } })).status).toBe(200)
  expect((await send('GET', 'md5')).text).toBe('new')
})

test.each(['abc', '', 'not base64!', Buffer.alloc(15).toString('base64')])('Content-MD5 %j answers 400 InvalidDigest', async (value) => {
  expect(outcome(await send('PUT', 'bad-md5', { body: 'x', headers: { 'content-md5': value } }))).toBe('400 InvalidDigest')
  expect(outcome(await send('GET', 'bad-md5'))).toBe('404 NoSuchKey')
})

test('STANDARD is the one storage class: another is refused by name and nothing is stored', async () => {
  expect((await send('PUT', 'class', { body: 'x', headers: { 'x-amz-storage-class': 'STANDARD' } })).status).toBe(200)
  const refused = await send('PUT', 'class-ia', { body: 'x', headers: { 'x-amz-storage-class': 'STANDARD_IA' } })
  expect(outcome(refused)).toBe('400 InvalidStorageClass')
  expect(outcome(await send('GET', 'class-ia'))).toBe('404 NoSuchKey')
  // S3 shows the class in answers only when it is not STANDARD.
  expect((await send('HEAD', 'class')).headers).not.toHaveProperty('x-amz-storage-class')
})

test.each([
  ['x-amz-server-side-encryption', 'AES256'],
  ['x-amz-server-side-encryption', 'aws:kms'],
  ['x-amz-server-side-encryption-customer-algorithm', 'AES256'],
  ['x-amz-acl', 'public-read'],
  ['x-amz-grant-read', 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'],
  ['x-amz-object-lock-mode', 'COMPLIANCE'],
  ['x-amz-object-lock-legal-hold', 'ON'],
  ['x-amz-write-offset-bytes', '0'], ['x-amz-checksum-sha512', 'x'], ['x-amz-checksum-md5', 'x'], ['x-amz-checksum-xxhash64', 'x'], ['x-amz-checksum-xxhash3', 'x'], ['x-amz-checksum-xxhash128', 'x'],
])('%s: %s is refused by name rather than ignored', async (name, value) => {
  const put = await send('PUT', 'unsupported', { body: 'x', headers: { [name]: value } })
  expect(outcome(put)).toBe('501 NotImplemented')
  expect(put.text).toContain(name)
  expect(outcome(await send('GET', 'unsupported'))).toBe('404 NoSuchKey')
})

test('x-amz-acl: private and bucket-owner-full-control say what is so anyway', async () => {
  for (const acl of ['private', 'bucket-owner-full-control']) {
    expect((await send('PUT', 'acl', { body: 'x', headers: { 'x-amz-acl': acl } })).status).toBe(200)
  }
})

test('tags come with the put and are counted by reads', async () => {
  await send('PUT', 'tagged', { body: 'x', headers: { 'x-amz-tagging': 'one=1&two=zwei%20%2B%20drei&empty' } })
  expect((await send('HEAD', 'tagged')).headers['x-amz-tagging-count']).toBe('3')
  const tags = await send('GET', 'tagged?tagging')
  expect(tags.text).toContain('<Tag><Key>one</Key><Value>1</Value></Tag>')
  expect(tags.text).toContain('<Value>zwei + drei</Value>')
})

test.each([
  ['more than ten tags', Array.from({ length: 11 }, (_, i) => `k${i}=v`).join('&'), '400 BadRequest'],
  ['a key twice', 'a=1&a=2', '400 InvalidTag'],
  ['a key of 129 characters', `${'k'.repeat(129)}=v`, '400 InvalidTag'],
  ['a value of 257 characters', `k=${'v'.repeat(257)}`, '400 InvalidTag'],
  ['a key in the name space of AWS', 'aws:x=1', '400 InvalidTag'],
  ['a character outside the set', 'k=%3Cv%3E', '400 InvalidTag'],
])('x-amz-tagging with %s is refused', async (_what, value, expected) => {
  expect(outcome(await send('PUT', 'bad-tags', { body: 'x', headers: { 'x-amz-tagging': value } }))).toBe(expected)
  expect(outcome(await send('GET', 'bad-tags'))).toBe('404 NoSuchKey')
})

test('x-amz-expected-bucket-owner: the own account passes, another answers 403 AccessDenied', async () => {
  const other = await send('PUT', 'owner', { body: 'x', headers: { 'x-amz-expected-bucket-owner': '999988887777' } })
  expect(outcome(other)).toBe('403 AccessDenied')
  expect(outcome(await send('GET', 'owner'))).toBe('404 NoSuchKey')
  const { id } = JSON.parse(await readFile(path.join(server.dataDir, 'keys', 'root-account.json'), 'utf8')) as { id: string }
  expect((await send('PUT', 'owner', { body: 'x', headers: { 'x-amz-expected-bucket-owner': id } })).status).toBe(200)
})

test('many puts of one key at once end with one of them, whole', async () => {
  const bodies = Array.from({ length: 24 }, (_, i) => String(i).repeat(1 + i * 9000))
  const puts = await Promise.all(bodies.map((body) => send('PUT', 'race', { body })))
  expect(puts.map((put) => put.status)).toEqual(bodies.map(() => 200))
  const got = await send('GET', 'race')
  expect(bodies).toContain(got.text)
  expect(got.headers['etag']).toBe(`"${md5(got.text)}"`)
})

test('a body that is signed as another answers 400 XAmzContentSHA256Mismatch and nothing is stored', async () => {
  const sha256 = createHash('sha256').update('other').digest('hex')
  expect(outcome(await send('PUT', 'sha', { body: 'body', headers: { 'x-amz-content-sha256': sha256 } }))).toBe('400 XAmzContentSHA256Mismatch')
  expect(outcome(await send('GET', 'sha'))).toBe('404 NoSuchKey')
})

test('a declared length above 5 GiB answers 400 EntityTooLarge before any byte is read', async () => {
  const put = await send('PUT', 'huge', { headers: { 'content-length': String(5 * 1024 ** 3 + 1), 'expect': '100-continue', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  expect(outcome(put)).toBe('400 EntityTooLarge')
  expect(xmlText(put.text, 'MaxSizeAllowed')).toBe(String(5 * 1024 ** 3))
})

test.each(['versionId=null', 'versionId=x', 'partNumber=1'])('?%s is no part of a put: 400 InvalidArgument, and the object stays as it was', async (query) => {
  await send('PUT', 'named', { body: 'old' })
  expect(outcome(await send('PUT', `named?${query}`, { body: 'new' }))).toBe('400 InvalidArgument')
  expect((await send('GET', 'named')).text).toBe('old')
})

test('the SDK sends a stream of known length as signed or trailed chunks, and its bytes come back', async () => {
  const body = randomBytes(3_000_000)
  const pieces = Array.from({ length: 30 }, (_, i) => body.subarray(i * 100_000, (i + 1) * 100_000))
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'stream', Body: Readable.from(pieces), ContentLength: body.length }))
  const got = await send('GET', 'stream')
  expect(Buffer.compare(got.body, body)).toBe(0)
  expect(got.headers).not.toHaveProperty('content-encoding')
})

test('the SDK reports an error of the server by its code', async () => {
  expect(await failure(client.send(new PutObjectCommand({ Bucket: bucketName(), Key: 'k', Body: 'x' })))).toMatchObject({ code: 'NoSuchBucket', status: 404 })
})
