import { ListPartsCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { createUpload, digest, md5, putPart, putParts } from '../support/multipart.ts'
import { rowsOf } from '../support/listing-model.ts'
import { xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>
let uploadId: string
const numbers = [7, 1, 10_000, 300, 2, 9_999, 50]
const inOrder = [...numbers].sort((a, b) => a - b).map(String)

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  uploadId = await createUpload(send, 'k')
  await putParts(send, 'k', uploadId, numbers.map((number) => [number, `part ${number}`]))
})

test('parts come by number, whatever the order of their upload, with ETag, size and time', async () => {
  const { text } = await send('GET', `k?uploadId=${uploadId}`)
  expect(xmlTexts(text, 'PartNumber')).toEqual(inOrder)
  expect(xmlTexts(text, 'ETag')).toEqual(inOrder.map((number) => `"${md5(`part ${number}`)}"`))
  expect(xmlTexts(text, 'Size')).toEqual(inOrder.map((number) => String(`part ${number}`.length)))
  expect([xmlText(text, 'Bucket'), xmlText(text, 'Key'), xmlText(text, 'UploadId'), xmlText(text, 'StorageClass'), xmlText(text, 'IsTruncated'), xmlText(text, 'MaxParts')])
    .toEqual([bucket, 'k', uploadId, 'STANDARD', 'false', '1000'])
  expect(xmlTexts(text, 'ID')).toHaveLength(2)
})

test.each([1, 2, 3, 6, 7, 8, 1000])('pages of %i give each part once', async (limit) => {
  const found: string[] = []
  for (let marker = '0'; ;) {
    const { text } = await send('GET', `k?uploadId=${uploadId}&max-parts=${limit}&part-number-marker=${marker}`)
    expect(xmlText(text, 'PartNumberMarker')).toBe(marker)
    const page = xmlTexts(text, 'PartNumber')
    expect(page.length).toBeLessThanOrEqual(limit)
    found.push(...page)
    if (xmlText(text, 'IsTruncated') !== 'true') break
    marker = xmlText(text, 'NextPartNumberMarker') ?? ''
    expect(marker).toBe(page.at(-1))
  }
  expect(found).toEqual(inOrder)
})

test('a marker need not be a part that is there', async () => {
  expect(xmlTexts((await send('GET', `k?uploadId=${uploadId}&part-number-marker=100`)).text, 'PartNumber')).toEqual(['300', '9999', '10000'])
  expect(xmlTexts((await send('GET', `k?uploadId=${uploadId}&part-number-marker=10000`)).text, 'PartNumber')).toEqual([])
})

test('an upload without parts is an empty list; max-parts=0 too', async () => {
  const empty = await createUpload(send, 'empty')
  for (const query of [`empty?uploadId=${empty}`, `k?uploadId=${uploadId}&max-parts=0`]) {
    const { status, text } = await send('GET', query)
    expect([status, rowsOf(text, 'Part').length, xmlText(text, 'IsTruncated')]).toEqual([200, 0, 'false'])
  }
})

test('checksums are shown as the parts were sent, with the algorithm of the upload', async () => {
  const id = await createUpload(send, 'sum', { 'x-amz-checksum-algorithm': 'CRC32C', 'x-amz-checksum-type': 'FULL_OBJECT' })
  await putPart(send, 'sum', id, 1, 'x', { 'x-amz-checksum-crc32c': digest['CRC32C']?.(Buffer.from('x')) ?? '' })
  const listed = await client.send(new ListPartsCommand({ Bucket: bucket, Key: 'sum', UploadId: id }))
  expect(listed).toMatchObject({ ChecksumAlgorithm: 'CRC32C', ChecksumType: 'FULL_OBJECT', Parts: [{ PartNumber: 1, ChecksumCRC32C: digest['CRC32C']?.(Buffer.from('x')) }] })
})

test.each(['max-parts=-1', 'max-parts=x', 'part-number-marker=-1', 'part-number-marker=x', 'max-parts=2147483648'])('%s answers 400 InvalidArgument', async (query) => {
  expect(outcome(await send('GET', `k?uploadId=${uploadId}&${query}`))).toBe('400 InvalidArgument')
})

test('an upload that is not there, or of another key, answers 404 NoSuchUpload', async () => {
  for (const target of ['k?uploadId=x', 'k?uploadId=', `other?uploadId=${uploadId}`]) expect(outcome(await send('GET', target))).toBe('404 NoSuchUpload')
  expect(outcome(await bucketSender(server, bucketName())('GET', 'k?uploadId=x'))).toBe('404 NoSuchBucket')
})
