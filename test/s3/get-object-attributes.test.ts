import {
  CompleteMultipartUploadCommand, CreateMultipartUploadCommand, GetObjectAttributesCommand, UploadPartCommand, type ChecksumAlgorithm, type ObjectAttributes,
} from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const partBytes = 5 * 1024 ** 2
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'whole', { body: 'hello', headers: { 'x-amz-checksum-crc32': 'NhCmhg==' } })
  await upload('with-checksums', 'SHA256')
  await upload('without', undefined)
})

/** Three parts, the last one short. */
async function upload(Key: string, ChecksumAlgorithm: ChecksumAlgorithm | undefined): Promise<void> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key, ChecksumAlgorithm }))
  const Parts = await Promise.all([partBytes, partBytes, 10].map(async (size, index) => {
    const Body = Buffer.alloc(size, index)
    const part = await client.send(new UploadPartCommand({ Bucket: bucket, Key, UploadId, PartNumber: index + 1, Body, ChecksumAlgorithm }))
    return { PartNumber: index + 1, ETag: part.ETag, ChecksumSHA256: part.ChecksumSHA256 }
  }))
  await client.send(new CompleteMultipartUploadCommand({ Bucket: bucket, Key, UploadId, MultipartUpload: { Parts } }))
}

function attributes(key: string, names: string, headers: Record<string, string> = {}): Promise<RawResponse> {
  return send('GET', `${key}?attributes`, { headers: { 'x-amz-object-attributes': names, ...headers } })
}

test('answers what was asked for and nothing else', async () => {
  const all = await attributes('whole', 'ETag,Checksum,ObjectParts,StorageClass,ObjectSize')
  expect(all.status).toBe(200)
  expect(all.headers['last-modified']).toMatch(/GMT$/)
  expect(all.headers['content-type']).toBe('application/xml')
  // The one document that writes an ETag without quotes.
  expect(xmlText(all.text, 'ETag')).toBe('5d41402abc4b2a76b9719d911017c592')
  expect(xmlText(all.text, 'ChecksumCRC32')).toBe('NhCmhg==')
  expect(xmlText(all.text, 'ChecksumType')).toBe('FULL_OBJECT')
  expect(xmlText(all.text, 'StorageClass')).toBe('STANDARD')
  expect(xmlText(all.text, 'ObjectSize')).toBe('5')
  expect(all.text).not.toContain('<ObjectParts>')

  const size = await attributes('whole', 'ObjectSize')
  expect(xmlText(size.text, 'ObjectSize')).toBe('5')
  for (const name of ['ETag', 'Checksum', 'StorageClass']) expect(size.text).not.toContain(`<${name}>`)
})

test('spaces around names do not matter, and several headers are one list', async () => {
  const answer = await attributes('whole', ' ETag , ObjectSize ')
  expect([xmlText(answer.text, 'ETag'), xmlText(answer.text, 'ObjectSize')]).toEqual(['5d41402abc4b2a76b9719d911017c592', '5'])
})

test.each(['', 'Size', 'ETag,Colour', 'etag'])('the names %j answer 400 InvalidArgument', async (names) => {
  expect(outcome(await attributes('whole', names))).toBe('400 InvalidArgument')
})

test('without the header it answers 400 InvalidArgument', async () => {
  expect(outcome(await send('GET', 'whole?attributes'))).toBe('400 InvalidArgument')
})

test('parts with checksums are listed with number, size and checksum', async () => {
  const ObjectAttributes: ObjectAttributes[] = ['ObjectParts', 'Checksum', 'ETag', 'ObjectSize']
  const answer = await client.send(new GetObjectAttributesCommand({ Bucket: bucket, Key: 'with-checksums', ObjectAttributes }))
  expect(answer.ETag).toMatch(/^[0-9a-f]{32}-3$/)
  expect(answer.ObjectSize).toBe(2 * partBytes + 10)
  expect(answer.Checksum?.ChecksumSHA256).toMatch(/=-3$/)
  expect(answer.Checksum?.ChecksumType).toBe('COMPOSITE')
  expect(answer.ObjectParts).toMatchObject({ TotalPartsCount: 3, IsTruncated: false, MaxParts: 1000, PartNumberMarker: '0', NextPartNumberMarker: '3' })
  expect(answer.ObjectParts?.Parts?.map((part) => [part.PartNumber, part.Size])).toEqual([[1, partBytes], [2, partBytes], [3, 10]])
  for (const part of answer.ObjectParts?.Parts ?? []) expect(part.ChecksumSHA256).toMatch(/^[A-Za-z0-9+/]{43}=$/)
})

test('parts without an additional checksum are only counted', async () => {
  const { ObjectParts } = await client.send(new GetObjectAttributesCommand({ Bucket: bucket, Key: 'without', ObjectAttributes: ['ObjectParts'] }))
  expect(ObjectParts?.TotalPartsCount).toBe(3)
})

test('parts are paged by x-amz-max-parts and x-amz-part-number-marker', async () => {
  const first = await attributes('with-checksums', 'ObjectParts', { 'x-amz-max-parts': '2' })
  expect(xmlTexts(first.text, 'PartNumber')).toEqual(['1', '2'])
  const shown = ['IsTruncated', 'NextPartNumberMarker', 'MaxParts', 'PartsCount'].map((name) => xmlText(first.text, name))
  expect(shown).toEqual(['true', '2', '2', '3'])
  const second = await attributes('with-checksums', 'ObjectParts', { 'x-amz-max-parts': '2', 'x-amz-part-number-marker': '2' })
  expect(xmlTexts(second.text, 'PartNumber')).toEqual(['3'])
  expect([xmlText(second.text, 'IsTruncated'), xmlText(second.text, 'PartNumberMarker')]).toEqual(['false', '2'])
  expect(outcome(await attributes('with-checksums', 'ObjectParts', { 'x-amz-max-parts': 'two' }))).toBe('400 InvalidArgument')
  expect(outcome(await attributes('with-checksums', 'ObjectParts', { 'x-amz-part-number-marker': '-1' }))).toBe('400 InvalidArgument')
})

test('a missing key answers 404 NoSuchKey', async () => {
  expect(outcome(await attributes('missing', 'ETag'))).toBe('404 NoSuchKey')
})

test('delete markers answer 404 when current and 405 by their id, each with x-amz-delete-marker; versions answer by their id', async () => {
  const versioned = await newBucket(client, 'Enabled')
  const sendVersioned = bucketSender(server, versioned)
  const version = (await sendVersioned('PUT', 'k', { body: 'hello' })).headers['x-amz-version-id'] ?? ''
  const marker = (await sendVersioned('DELETE', 'k')).headers['x-amz-version-id'] ?? ''
  const headers = { 'x-amz-object-attributes': 'ObjectSize' }
  const current = await sendVersioned('GET', 'k?attributes', { headers })
  expect(outcome(current)).toBe('404 NoSuchKey')
  expect(current.headers['x-amz-delete-marker']).toBe('true')
  const named = await sendVersioned('GET', `k?attributes&versionId=${marker}`, { headers })
  expect(outcome(named)).toBe('405 MethodNotAllowed')
  expect(named.headers['x-amz-delete-marker']).toBe('true')
  const old = await sendVersioned('GET', `k?attributes&versionId=${version}`, { headers })
  expect(xmlText(old.text, 'ObjectSize')).toBe('5')
  expect(old.headers['x-amz-version-id']).toBe(version)
})

test('a copy with another algorithm lists no part under the checksum of the old one', async () => {
  await send('PUT', 'recomputed', { headers: { 'x-amz-copy-source': `/${bucket}/with-checksums`, 'x-amz-checksum-algorithm': 'CRC32' } })
  const answer = await attributes('recomputed', 'Checksum,ObjectParts')
  expect(xmlText(answer.text, 'ChecksumType')).toBe('FULL_OBJECT')
  expect(xmlTexts(answer.text, 'ChecksumCRC32')).toHaveLength(1)
  expect(xmlText(answer.text, 'PartsCount')).toBe('3')
  expect(xmlTexts(answer.text, 'PartNumber')).toEqual([])
})
