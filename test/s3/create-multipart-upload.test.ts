import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, putParts } from '../support/multipart.ts'
import { xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const openUploads = async (): Promise<number> => ((await send('GET', '?uploads')).text.match(/<Upload>/g) ?? []).length

test('the answer names bucket, key and an upload id of its own for each call', async () => {
  const first = await send('POST', 'k?uploads')
  expect(first.status).toBe(200)
  expect(first.text).toContain('<InitiateMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
  expect([xmlText(first.text, 'Bucket'), xmlText(first.text, 'Key')]).toEqual([bucket, 'k'])
  const second = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: 'k' }))
  expect(second.UploadId).toMatch(/^[A-Za-z0-9._-]+$/)
  expect(second.UploadId).not.toBe(xmlText(first.text, 'UploadId'))
  expect(outcome(await send('GET', 'k'))).toBe('404 NoSuchKey')
})

test('an odd key comes back as it was sent', async () => {
  expect(xmlText((await send('POST', '%F0%9F%98%80%20%26%3C%2B%25?uploads')).text, 'Key')).toBe('😀 &<+%')
})

test('metadata, system headers and tags of the create are those of the completed object', async () => {
  const headers = {
    'content-type': 'text/x-test', 'cache-control': 'no-cache', 'content-disposition': 'attachment', 'content-encoding': 'gzip', 'content-language': 'de', 'expires': 'Thu, 01 Dec 2044 16:00:00 GMT',
    'x-amz-meta-one': 'eins', 'x-amz-tagging': 'a=1&b=2', 'x-amz-storage-class': 'STANDARD', 'x-amz-website-redirect-location': '/other',
  }
  const uploadId = await createUpload(send, 'meta', headers)
  await complete(send, 'meta', uploadId, await putParts(send, 'meta', uploadId, [[1, 'x']]))
  const head = await send('HEAD', 'meta')
  const { 'x-amz-tagging': _tagging, 'x-amz-storage-class': _class, ...shown } = headers
  expect(head.headers).toMatchObject({ ...shown, 'x-amz-tagging-count': '2' })
})

describe('checksum of the upload', () => {
  test.each([
    ['CRC32', undefined, 'COMPOSITE'], ['CRC32', 'FULL_OBJECT', 'FULL_OBJECT'], ['CRC32C', 'COMPOSITE', 'COMPOSITE'], ['CRC32C', 'FULL_OBJECT', 'FULL_OBJECT'],
    ['CRC64NVME', undefined, 'FULL_OBJECT'], ['CRC64NVME', 'FULL_OBJECT', 'FULL_OBJECT'], ['SHA1', undefined, 'COMPOSITE'], ['SHA256', 'COMPOSITE', 'COMPOSITE'],
  ])('%s with type %s is %s', async (algorithm, type, expected) => {
    const answer = await send('POST', 'sum?uploads', { headers: { 'x-amz-checksum-algorithm': algorithm, ...(type === undefined ? {} : { 'x-amz-checksum-type': type }) } })
    expect(answer.status).toBe(200)
    expect(answer.headers).toMatchObject({ 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': expected })
  })

  test('none is named when none was asked for', async () => {
    const answer = await send('POST', 'sum?uploads')
    expect(answer.headers).not.toHaveProperty('x-amz-checksum-algorithm')
    expect(answer.headers).not.toHaveProperty('x-amz-checksum-type')
  })

  test.each([['CRC64NVME', 'COMPOSITE'], ['SHA1', 'FULL_OBJECT'], ['SHA256', 'FULL_OBJECT'], ['CRC32', 'HALF'], ['MD4', undefined], [undefined, 'FULL_OBJECT']])(
    '%s with type %s is no pair that S3 has: 400 InvalidRequest, and no upload is opened', async (algorithm, type) => {
      const before = await openUploads()
      const headers = { ...(algorithm === undefined ? {} : { 'x-amz-checksum-algorithm': algorithm }), ...(type === undefined ? {} : { 'x-amz-checksum-type': type }) }
      expect(outcome(await send('POST', 'sum?uploads', { headers }))).toBe('400 InvalidRequest')
      expect(await openUploads()).toBe(before)
    })
})

test.each([
  [{ 'x-amz-storage-class': 'GLACIER' }, '400 InvalidStorageClass'], [{ 'x-amz-server-side-encryption': 'AES256' }, '501 NotImplemented'], [{ 'x-amz-acl': 'public-read' }, '501 NotImplemented'],
  [{ 'x-amz-object-lock-legal-hold': 'ON' }, '501 NotImplemented'], [{ 'x-amz-tagging': 'a=1&a=2' }, '400 InvalidTag'], [{ 'x-amz-meta-long': 'x'.repeat(2045) }, '400 MetadataTooLarge'],
  [{ 'x-amz-website-redirect-location': 'other' }, '400 InvalidRedirectLocation'], [{ 'x-amz-expected-bucket-owner': '999988887777' }, '403 AccessDenied'],
] as const)('%j is refused and no upload is opened', async (headers, expected) => {
  const before = await openUploads()
  expect(outcome(await send('POST', 'refused?uploads', { headers }))).toBe(expected)
  expect(await openUploads()).toBe(before)
})

test('a key that is too long answers 400 KeyTooLongError; a bucket that is not there 404 NoSuchBucket', async () => {
  expect(outcome(await send('POST', `${'k'.repeat(1025)}?uploads`))).toBe('400 KeyTooLongError')
  expect(outcome(await bucketSender(server, bucketName())('POST', 'k?uploads'))).toBe('404 NoSuchBucket')
})
