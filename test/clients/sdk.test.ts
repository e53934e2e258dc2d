import {
  CompleteMultipartUploadCommand, CopyObjectCommand, CreateBucketCommand, CreateMultipartUploadCommand, DeleteObjectsCommand, GetObjectCommand,
  HeadObjectCommand, PutObjectCommand, S3Client, UploadPartCommand, paginateListObjectsV2,
} from '@aws-sdk/client-s3'
import type { CompletedPart, GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat, writeFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { bucketName, hashFile, noiseBuffer, sha256, writeNoise } from '../support/tools.ts'
import type { Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'

let scene: Scene
let server: TestServer
let place: Workplace
let s3: S3Client
let bucket: string

beforeAll(async () => {
  scene = await openScene('sdk')
  place = scene.place
  server = scene.server
  // Nothing but where the server is and who asks: checksums, retries and streams are as everybody has them.
  s3 = new S3Client({
    endpoint: server.endpoint, region: 'us-east-1', forcePathStyle: true,
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
  })
  bucket = bucketName('sdk')
  await s3.send(new CreateBucketCommand({ Bucket: bucket }))
})

afterAll(async () => {
  s3?.destroy()
  await scene?.close()
})

/** SHA-256 of a body; reading it to its end is also what makes the SDK compare its checksum. */
async function hashBody(output: GetObjectCommandOutput): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of output.Body as Readable) hash.update(piece as Buffer)
  return hash.digest('hex')
}

function crc32Base64(bytes: Uint8Array): string {
  const value = Buffer.alloc(4)
  value.writeUInt32BE(crc32(bytes))
  return value.toString('base64')
}

test.each([0, 1, 65_536, 131_072, 131_073, 5_000_000])('a buffer of %i bytes goes there and back with a CRC32', async (length) => {
  const bytes = noiseBuffer(length, 'sdk buffer')
  const key = `buffers/${length}`
  const put = await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes }))
  expect(put).toMatchObject({ ChecksumCRC32: crc32Base64(bytes), ChecksumType: 'FULL_OBJECT', ETag: `"${createHash('md5').update(bytes).digest('hex')}"` })
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
  expect(got.ChecksumCRC32).toBe(put.ChecksumCRC32)
  expect(got.ContentLength).toBe(length)
  expect(await hashBody(got)).toBe(sha256(bytes))
})

test.each([1000, 300_000, 64 * 1024 * 1024])('a stream of %i bytes goes up with a trailing checksum', async (length) => {
  const file = place.at(`stream-${length}`)
  const hash = await writeNoise(file, length)
  const put = await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'streams/one', Body: createReadStream(file), ContentLength: length, ContentEncoding: 'identity' }))
  expect(put.ChecksumCRC32).toBeDefined()
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'streams/one' }))
  expect(got.ContentEncoding).toBe('identity')
  expect(await hashBody(got)).toBe(hash)
})

test.each(['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const)('a stream with %s is verified and given back', async (algorithm) => {
  const length = 700_000
  const hash = await writeNoise(place.at('algorithm'), length)
  const input = { Bucket: bucket, Key: `algorithms/${algorithm}` }
  const put = await s3.send(new PutObjectCommand({ ...input, Body: createReadStream(place.at('algorithm')), ContentLength: length, ChecksumAlgorithm: algorithm }))
  const value = put[`Checksum${algorithm}`]
  expect(value).toBeDefined()
  const got = await s3.send(new GetObjectCommand({ ...input, ChecksumMode: 'ENABLED' }))
  expect(got[`Checksum${algorithm}`]).toBe(value)
  expect(await hashBody(got)).toBe(hash)
  const head = await s3.send(new HeadObjectCommand({ ...input, ChecksumMode: 'ENABLED' }))
  expect(head[`Checksum${algorithm}`]).toBe(value)
})

test('a large upload by parts, four at a time, with parts sent out of order', async () => {
  const partBytes = 8 * 1024 * 1024
  const hash = await writeNoise(place.at('parts'), 5 * partBytes + 1)
  const { size } = await stat(place.at('parts'))
  const target = { Bucket: bucket, Key: 'parts/joined ünïcode + &.bin' }
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target))
  const sendPart = async (PartNumber: number): Promise<CompletedPart> => {
    const start = (PartNumber - 1) * partBytes
    const length = Math.min(partBytes, size - start)
    const Body = createReadStream(place.at('parts'), { start, end: start + length - 1 })
    const { ETag, ChecksumCRC32 } = await s3.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body, ContentLength: length }))
    return { ETag, ChecksumCRC32, PartNumber }
  }
  const late = await Promise.all([6, 5, 4, 3].map(sendPart))
  const early = await Promise.all([2, 1].map(sendPart))
  const Parts = [...late, ...early].toSorted((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
  const completed = await s3.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }))
  expect(completed.ETag).toMatch(/^"[0-9a-f]{32}-6"$/)
  const got = await s3.send(new GetObjectCommand(target))
  expect(got.ContentLength).toBe(size)
  expect(await hashBody(got)).toBe(hash)
  const part = await s3.send(new GetObjectCommand({ ...target, PartNumber: 6 }))
  expect(part).toMatchObject({ ContentLength: 1, PartsCount: 6, ContentRange: `bytes ${size - 1}-${size - 1}/${size}` })
  expect((await part.Body?.transformToByteArray())?.length).toBe(1)
  await s3.send(new CopyObjectCommand({ Bucket: bucket, Key: 'parts/copy', CopySource: `${bucket}/${encodeURIComponent(target.Key)}` }))
  expect(await hashBody(await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'parts/copy' })))).toBe(hash)
})

test('a range is read without the checksum of the whole', async () => {
  const bytes = noiseBuffer(3_000_000, 'sdk range')
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'range', Body: bytes }))
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'range', Range: 'bytes=1048570-2097160' }))
  expect(got.ContentRange).toBe('bytes 1048570-2097160/3000000')
  expect(await hashBody(got)).toBe(sha256(bytes.subarray(1_048_570, 2_097_161)))
})

test('presigned PUT and GET work by fetch', async () => {
  const bytes = noiseBuffer(2_500_000, 'sdk presigned')
  const target = { Bucket: bucket, Key: 'presigned/a b+c&d=é 🎉' }
  const putUrl = await getSignedUrl(s3, new PutObjectCommand({ ...target, ContentType: 'application/x-presigned' }), { expiresIn: 300 })
  const put = await fetch(putUrl, { method: 'PUT', body: bytes, headers: { 'content-type': 'application/x-presigned' } })
  expect({ status: put.status, text: await put.text() }).toEqual({ status: 200, text: '' })
  const getUrl = await getSignedUrl(s3, new GetObjectCommand({ ...target, ResponseContentDisposition: 'attachment; filename="x.bin"' }), { expiresIn: 300 })
  const got = await fetch(getUrl)
  expect(got.status).toBe(200)
  expect(got.headers.get('content-type')).toBe('application/x-presigned')
  expect(got.headers.get('content-disposition')).toBe('attachment; filename="x.bin"')
  expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(bytes))
  const forged = await fetch(getUrl.replace(/X-Amz-Signature=./, 'X-Amz-Signature=_'))
  expect(forged.status).toBe(403)
  expect(await forged.text()).toContain('<Code>SignatureDoesNotMatch</Code>')
})

test('lists in pages and deletes many at once', async () => {
  const keys = Array.from({ length: 60 }, (_, index) => `list/${index % 3}/<${index}> & "é"`)
  await Promise.all(keys.map((Key) => s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }))))
  const found: string[] = []
  for await (const page of paginateListObjectsV2({ client: s3, pageSize: 7 }, { Bucket: bucket, Prefix: 'list/' })) {
    found.push(...(page.Contents ?? []).map((entry) => entry.Key ?? ''))
  }
  expect(found).toEqual(keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
  const deleted = await s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }))
  expect(deleted.Errors).toBeUndefined()
  expect(deleted.Deleted?.map((entry) => entry.Key).toSorted()).toEqual(keys.toSorted())
})

test('a download to disk of what was uploaded from disk is the same file', async () => {
  const hash = await writeNoise(place.at('whole'), 150_000_000)
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'whole', Body: createReadStream(place.at('whole')), ContentLength: 150_000_000 }))
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'whole' }))
  await writeFile(place.at('whole.back'), got.Body as Readable)
  expect(await hashFile(place.at('whole.back'))).toBe(hash)
})
