import { createHash } from 'node:crypto'
import {
  GetBucketTaggingCommand, GetBucketVersioningCommand, GetObjectAttributesCommand, GetObjectCommand, GetObjectTaggingCommand, ListBucketsCommand, ListMultipartUploadsCommand, ListObjectsV2Command,
  ListObjectVersionsCommand, ListPartsCommand, type S3Client,
} from '@aws-sdk/client-s3'

/** Bytes that follow from a seed, of a short period with a count in between, so that they are easily compressed and no two stretches are equal. */
export function bodyOf(seed: string, bytes: number): Buffer {
  const period = createHash('sha512').update(seed).digest()
  const body = Buffer.alloc(bytes, period)
  for (let at = 0; at + 8 <= bytes; at += 64 * 1024) body.writeUInt32BE(at, at)
  return body
}

/** All that a client can be told about what a server keeps: names, versions, every header, the hash of every byte. */
export async function allAnswers(client: S3Client): Promise<object> {
  const { Buckets = [] } = await client.send(new ListBucketsCommand({}))
  return Promise.all(Buckets.map(async ({ Name: Bucket = '', CreationDate }) => {
    const { TagSet } = await client.send(new GetBucketTaggingCommand({ Bucket })).catch(() => ({ TagSet: null }))
    const { Status = null } = await client.send(new GetBucketVersioningCommand({ Bucket }))
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, FetchOwner: true }))
    const { CommonPrefixes = [] } = await client.send(new ListObjectsV2Command({ Bucket, Delimiter: '/' }))
    const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket }))
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }))
    const versions = []
    for (const version of Versions) versions.push({ ...version, ...await versionAnswers(client, Bucket, version.Key ?? '', version.VersionId ?? '') })
    const uploads = await Promise.all(Uploads.map(async (upload) => {
      const { Parts, $metadata: _, ...rest } = await client.send(new ListPartsCommand({ Bucket, Key: upload.Key, UploadId: upload.UploadId }))
      return { upload, parts: Parts, rest }
    }))
    return plain({ bucket: Bucket, created: CreationDate, tags: TagSet, versioning: Status, objects: Contents, prefixes: CommonPrefixes, versions, markers: DeleteMarkers, uploads })
  }))
}

async function versionAnswers(client: S3Client, Bucket: string, Key: string, VersionId: string): Promise<object> {
  const { Body, $metadata: _, ...headers } = await client.send(new GetObjectCommand({ Bucket, Key, VersionId, ChecksumMode: 'ENABLED' }))
  const sha256 = createHash('sha256').update(await Body?.transformToByteArray() ?? '').digest('hex')
  const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket, Key, VersionId }))
  const { $metadata: __, ...attributes } = await client.send(new GetObjectAttributesCommand({ Bucket, Key, VersionId, ObjectAttributes: ['ETag', 'Checksum', 'ObjectParts', 'ObjectSize', 'StorageClass'] }))
  return { headers, sha256, tags: TagSet, attributes }
}

/** As JSON keeps it: dates as text, nothing undefined. */
const plain = (value: object): object => JSON.parse(JSON.stringify(value)) as object
