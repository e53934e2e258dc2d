import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, putPart, putParts } from '../support/multipart.ts'
import { signedRequest, xmlText, type RawResponse } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'
import { modelledOperations, wireFaults } from '../support/wire.ts'

/**
 * Every operation that answers with something, held against the output that the SDKs' model has of it: names of elements and
 * headers, their types, what must be there. Two buckets, one without versions and one with.
 */
const server = sharedServer()
const client = s3Client(server)
let plain: ReturnType<typeof bucketSender>
let versioned: ReturnType<typeof bucketSender>
let bucket: string
let uploadId: string
let versionId: string
const seen = new Set<string>()

const service = (method: string, path: string, options: { body?: string } = {}): Promise<RawResponse> => signedRequest({ server, method, path, ...options })
const tagging = '<Tagging><TagSet><Tag><Key>a</Key><Value>1 + 2</Value></Tag></TagSet></Tagging>'

beforeAll(async () => {
  bucket = await newBucket(client)
  plain = bucketSender(server, bucket)
  const withVersions = await newBucket(client, 'Enabled')
  versioned = bucketSender(server, withVersions)
  for (const key of ['a/1', 'a/2', 'b', 'c d+e']) await plain('PUT', key, { body: key, headers: { 'x-amz-checksum-sha256': createHash('sha256').update(key).digest('base64') } })
  for (const body of ['one', 'two']) versionId = (await versioned('PUT', 'k', { body })).headers['x-amz-version-id'] ?? ''
  await versioned('DELETE', 'gone')
  uploadId = await createUpload(plain, 'open', { 'x-amz-checksum-algorithm': 'SHA256' })
  await putPart(plain, 'open', uploadId, 1, 'part', { 'x-amz-checksum-sha256': createHash('sha256').update('part').digest('base64') })
})
afterAll(() => client.destroy())

/** Sends, and expects the status, no fault by the model, and these elements or headers, which AWS always sends. */
async function holds(operation: string, answer: RawResponse, status: number, present: readonly string[] = []): Promise<RawResponse> {
  seen.add(operation)
  expect(outcome(answer)).toBe(String(status))
  expect(wireFaults(operation, answer)).toEqual([])
  for (const name of present) expect(answer.headers[name] !== undefined || answer.text.includes(`<${name}>`) || answer.text.includes(`<${name} `), name).toBe(true)
  return answer
}

describe('buckets', () => {
  test('ListBuckets', async () => {
    await holds('ListBuckets', await service('GET', '/'), 200, ['Owner', 'Buckets', 'Bucket', 'Name', 'CreationDate'])
    await holds('ListBuckets', await service('GET', '/?max-buckets=1&prefix=b-'), 200, ['ContinuationToken', 'Prefix', 'BucketRegion'])
  })

  test('CreateBucket and DeleteBucket', async () => {
    const name = bucketName()
    const made = await holds('CreateBucket', await service('PUT', `/${name}`), 200, ['location'])
    expect(made.headers['location']).toBe(`/${name}`)
    await holds('DeleteBucket', await service('DELETE', `/${name}`), 204)
  })

  test('HeadBucket', async () => {
    await holds('HeadBucket', await service('HEAD', `/${bucket}`), 200, ['x-amz-bucket-region'])
  })

  test.each([
    ['GetBucketLocation', 'location'], ['GetBucketAcl', 'acl'], ['GetBucketNotificationConfiguration', 'notification'], ['GetBucketLogging', 'logging'],
    ['GetBucketAccelerateConfiguration', 'accelerate'], ['GetBucketRequestPayment', 'requestPayment'], ['GetBucketAbac', 'abac'],
    ['ListBucketAnalyticsConfigurations', 'analytics'], ['ListBucketIntelligentTieringConfigurations', 'intelligent-tiering'],
    ['ListBucketInventoryConfigurations', 'inventory'], ['ListBucketMetricsConfigurations', 'metrics'],
  ])('%s', async (operation, query) => {
    await holds(operation, await plain('GET', `?${query}`), 200)
  })

  test('PutBucketVersioning and GetBucketVersioning', async () => {
    const send = bucketSender(server, await newBucket(client))
    await holds('GetBucketVersioning', await send('GET', '?versioning'), 200)
    await holds('PutBucketVersioning', await send('PUT', '?versioning', { body: '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>' }), 200)
    await holds('GetBucketVersioning', await send('GET', '?versioning'), 200, ['Status'])
  })

  test('PutBucketTagging, GetBucketTagging and DeleteBucketTagging', async () => {
    await holds('PutBucketTagging', await plain('PUT', '?tagging', { body: tagging }), 204)
    await holds('GetBucketTagging', await plain('GET', '?tagging'), 200, ['TagSet', 'Tag', 'Key', 'Value'])
    await holds('DeleteBucketTagging', await plain('DELETE', '?tagging'), 204)
  })
})

describe('lists', () => {
  const listed = ['Name', 'Prefix', 'MaxKeys', 'IsTruncated']
  const entry = ['Key', 'LastModified', 'ETag', 'Size', 'StorageClass', 'ChecksumAlgorithm', 'ChecksumType']

  test('ListObjects', async () => {
    await holds('ListObjects', await plain('GET', ''), 200, [...listed, ...entry, 'Marker', 'Owner'])
    await holds('ListObjects', await plain('GET', '?delimiter=/&max-keys=1&encoding-type=url'), 200, [...listed, 'CommonPrefixes', 'Delimiter', 'NextMarker', 'EncodingType'])
  })

  test('ListObjectsV2', async () => {
    await holds('ListObjectsV2', await plain('GET', '?list-type=2&fetch-owner=true'), 200, [...listed, ...entry, 'KeyCount', 'Owner'])
    const page = await holds('ListObjectsV2', await plain('GET', '?list-type=2&delimiter=/&max-keys=1&encoding-type=url&start-after=A'), 200, [...listed, 'KeyCount', 'NextContinuationToken', 'StartAfter', 'CommonPrefixes'])
    const token = encodeURIComponent(xmlText(page.text, 'NextContinuationToken') ?? '')
    await holds('ListObjectsV2', await plain('GET', `?list-type=2&continuation-token=${token}`), 200, [...listed, 'ContinuationToken'])
  })

  test('ListObjectVersions', async () => {
    const markers = ['KeyMarker', 'VersionIdMarker']
    await holds('ListObjectVersions', await versioned('GET', '?versions'), 200, [...listed, ...entry, ...markers, 'Version', 'DeleteMarker', 'VersionId', 'IsLatest', 'Owner'])
    await holds('ListObjectVersions', await versioned('GET', '?versions&max-keys=2'), 200, [...listed, ...markers, 'NextKeyMarker', 'NextVersionIdMarker'])
    await holds('ListObjectVersions', await plain('GET', '?versions&delimiter=/&encoding-type=url'), 200, [...listed, ...markers, 'CommonPrefixes', 'Delimiter', 'EncodingType'])
  })

  test('ListMultipartUploads', async () => {
    const head = ['Bucket', 'KeyMarker', 'UploadIdMarker', 'MaxUploads', 'IsTruncated']
    await holds('ListMultipartUploads', await plain('GET', '?uploads'), 200, [...head, 'Upload', 'Key', 'UploadId', 'Initiator', 'Owner', 'StorageClass', 'Initiated', 'ChecksumAlgorithm', 'ChecksumType'])
    await createUpload(plain, 'open/2')
    await holds('ListMultipartUploads', await plain('GET', '?uploads&max-uploads=1&prefix=o&delimiter=/&encoding-type=url'), 200, [...head, 'NextKeyMarker', 'NextUploadIdMarker', 'Prefix', 'Delimiter', 'EncodingType'])
    await holds('ListMultipartUploads', await plain('GET', '?uploads&delimiter=/'), 200, [...head, 'CommonPrefixes'])
  })

  test('ListParts', async () => {
    await holds('ListParts', await plain('GET', `open?uploadId=${uploadId}`), 200,
      ['Bucket', 'Key', 'UploadId', 'PartNumberMarker', 'NextPartNumberMarker', 'MaxParts', 'IsTruncated', 'Part', 'PartNumber', 'LastModified', 'ETag', 'Size', 'Initiator', 'Owner', 'StorageClass', 'ChecksumSHA256', 'ChecksumAlgorithm', 'ChecksumType'])
  })

  test('DeleteObjects', async () => {
    await versioned('PUT', 'many', { body: 'x' })
    const body = '<Delete><Object><Key>many</Key></Object><Object><Key>many</Key><VersionId>never</VersionId></Object></Delete>'
    await holds('DeleteObjects', await versioned('POST', '?delete', { body }), 200, ['Deleted', 'Key', 'DeleteMarker', 'DeleteMarkerVersionId', 'Error', 'Code', 'Message', 'VersionId'])
  })
})

describe('objects', () => {
  const metadata = {
    'content-type': 'text/plain', 'cache-control': 'no-cache', 'content-disposition': 'inline', 'content-encoding': 'identity', 'content-language': 'en', expires: 'Thu, 01 Jan 2032 00:00:00 GMT',
    'x-amz-website-redirect-location': '/elsewhere', 'x-amz-meta-colour': 'blue', 'x-amz-tagging': 'a=1',
  }
  const readHeaders = [...Object.keys(metadata).filter((name) => name !== 'x-amz-tagging'), 'etag', 'last-modified', 'content-length', 'accept-ranges', 'x-amz-tagging-count', 'x-amz-checksum-crc64nvme', 'x-amz-checksum-type']

  test('PutObject', async () => {
    await holds('PutObject', await plain('PUT', 'p', { body: 'x' }), 200, ['etag', 'x-amz-checksum-crc64nvme', 'x-amz-checksum-type'])
    await holds('PutObject', await versioned('PUT', 'p', { body: 'x' }), 200, ['etag', 'x-amz-version-id'])
  })

  test('GetObject and HeadObject', async () => {
    await versioned('PUT', 'g', { body: 'x', headers: metadata })
    const headers = { 'x-amz-checksum-mode': 'ENABLED' }
    await holds('GetObject', await versioned('GET', 'g', { headers }), 200, [...readHeaders, 'x-amz-version-id'])
    await holds('HeadObject', await versioned('HEAD', 'g', { headers }), 200, [...readHeaders, 'x-amz-version-id'])
    await holds('GetObject', await versioned('GET', 'g', { headers: { range: 'bytes=0-0' } }), 206, ['content-range'])
    await holds('HeadObject', await versioned('HEAD', 'g', { headers: { range: 'bytes=0-0' } }), 206, ['content-range'])
  })

  test('DeleteObject', async () => {
    await plain('PUT', 'd', { body: 'x' })
    await holds('DeleteObject', await plain('DELETE', 'd'), 204)
    const marker = await holds('DeleteObject', await versioned('DELETE', 'd'), 204, ['x-amz-delete-marker', 'x-amz-version-id'])
    await holds('DeleteObject', await versioned('DELETE', `d?versionId=${marker.headers['x-amz-version-id']}`), 204, ['x-amz-delete-marker', 'x-amz-version-id'])
  })

  test('CopyObject', async () => {
    const source = `/${bucket}/b`
    await holds('CopyObject', await versioned('PUT', 'copy', { headers: { 'x-amz-copy-source': source } }), 200, ['LastModified', 'ETag', 'ChecksumSHA256', 'ChecksumType', 'x-amz-version-id'])
    await holds('CopyObject', await plain('PUT', 'copy', { headers: { 'x-amz-copy-source': source, 'x-amz-checksum-algorithm': 'CRC32C' } }), 200, ['ETag', 'ChecksumCRC32C'])
  })

  test('GetObjectAttributes', async () => {
    const headers = { 'x-amz-object-attributes': 'ETag,Checksum,ObjectParts,StorageClass,ObjectSize' }
    await holds('GetObjectAttributes', await versioned('GET', `k?attributes&versionId=${versionId}`, { headers }), 200, ['last-modified', 'x-amz-version-id', 'ETag', 'Checksum', 'StorageClass', 'ObjectSize'])
  })

  test('PutObjectTagging, GetObjectTagging and DeleteObjectTagging', async () => {
    await holds('PutObjectTagging', await versioned('PUT', 'k?tagging', { body: tagging }), 200, ['x-amz-version-id'])
    await holds('GetObjectTagging', await versioned('GET', 'k?tagging'), 200, ['x-amz-version-id', 'TagSet', 'Tag', 'Key', 'Value'])
    await holds('DeleteObjectTagging', await versioned('DELETE', 'k?tagging'), 204, ['x-amz-version-id'])
    await holds('GetObjectTagging', await plain('GET', 'b?tagging'), 200, ['TagSet'])
  })

  test('GetObjectAcl', async () => {
    await holds('GetObjectAcl', await plain('GET', 'b?acl'), 200, ['Owner', 'AccessControlList', 'Grant', 'Grantee', 'Permission'])
  })
})

describe('multipart uploads', () => {
  test('CreateMultipartUpload, UploadPart, UploadPartCopy and CompleteMultipartUpload', async () => {
    const created = await holds('CreateMultipartUpload', await versioned('POST', 'm?uploads', { headers: { 'x-amz-checksum-algorithm': 'CRC32' } }), 200,
      ['Bucket', 'Key', 'UploadId', 'x-amz-checksum-algorithm', 'x-amz-checksum-type'])
    const id = xmlText(created.text, 'UploadId') ?? ''
    await holds('UploadPart', await putPart(versioned, 'm', id, 2, 'part'), 200, ['etag', 'x-amz-checksum-crc32'])
    const copied = await holds('UploadPartCopy', await versioned('PUT', `m?partNumber=1&uploadId=${id}`, { headers: { 'x-amz-copy-source': `/${bucket}/b` } }), 200, ['LastModified', 'ETag', 'ChecksumCRC32'])
    const more = `<ChecksumCRC32>${xmlText(copied.text, 'ChecksumCRC32')}</ChecksumCRC32>`
    const done = await complete(versioned, 'm', id, [{ number: 1, etag: xmlText(copied.text, 'ETag') ?? '', more }])
    await holds('CompleteMultipartUpload', done, 200, ['Location', 'Bucket', 'Key', 'ETag', 'ChecksumCRC32', 'ChecksumType', 'x-amz-version-id'])
    const headers = { 'x-amz-object-attributes': 'ObjectParts,Checksum' }
    await holds('GetObjectAttributes', await versioned('GET', 'm?attributes', { headers }), 200, ['ObjectParts', 'PartsCount', 'Part', 'PartNumber', 'IsTruncated', 'MaxParts', 'NextPartNumberMarker', 'PartNumberMarker'])
    await holds('GetObject', await versioned('GET', 'm?partNumber=1'), 206, ['x-amz-mp-parts-count', 'content-range'])
  })

  test('a plain upload too', async () => {
    const id = await createUpload(plain, 'm2')
    await holds('CompleteMultipartUpload', await complete(plain, 'm2', id, await putParts(plain, 'm2', id, [[1, 'x']])), 200, ['ChecksumCRC64NVME', 'ChecksumType'])
  })

  test('AbortMultipartUpload', async () => {
    await holds('AbortMultipartUpload', await plain('DELETE', `z?uploadId=${await createUpload(plain, 'z')}`), 204)
  })
})

test('the check sees an unknown element, a missing one, a wrong type and a wrong root', async () => {
  const answer = await plain('GET', '')
  const changed = (from: string | RegExp, to: string): string[] => wireFaults('ListObjects', { ...answer, text: answer.text.replace(from, to) })
  expect(changed('<MaxKeys>', '<Extra>1</Extra><MaxKeys>')).toEqual(['unknown element ListBucketResult/Extra'])
  expect(changed('<MaxKeys>1000', '<MaxKeys>many')).toEqual(['ListBucketResult/MaxKeys is no integer: many'])
  expect(changed(/\.000Z/, 'Z')[0]).toMatch(/LastModified is no timestamp/)
  expect(changed('<StorageClass>STANDARD', '<StorageClass>OTHER')).toEqual(["ListBucketResult/Contents/StorageClass is none of the model's: OTHER"])
  expect(wireFaults('ListObjectVersions', answer)).toEqual(['root ListBucketResult, not ListVersionsResult'])
  expect(wireFaults('PutObject', answer)[0]).toMatch(/^a body of/)
})

test('no operation of the fixture was left out', () => {
  expect(modelledOperations.filter((name) => !seen.has(name))).toEqual([])
})
