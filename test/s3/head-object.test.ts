import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { rawSocket, signRequest } from '../support/raw.ts'
import { bucketSender, failure, newBucket, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'digits', { body: '0123456789', headers: { 'content-type': 'text/plain', 'x-amz-meta-color': 'red' } })
})

/** What differs between two answers of one state: ids, the date, and how the connection goes on. */
function comparable(headers: Readonly<Record<string, string>>): Record<string, string> {
  const { date: _date, 'x-amz-request-id': _id, 'x-amz-id-2': _id2, connection: _connection, 'keep-alive': _keep, ...rest } = headers
  return rest
}

test.each([
  ['a plain read', '', {}],
  ['a range', '', { range: 'bytes=2-5' }],
  ['a suffix', '', { range: 'bytes=-3' }],
  ['a checksum', '', { 'x-amz-checksum-mode': 'ENABLED' }],
  ['a part', '?partNumber=1', {}],
  ['a version', '?versionId=null', {}],
])('has the status and headers of GET for %s, without its body', async (_what, query, headers) => {
  const get = await send('GET', `digits${query}`, { headers })
  const head = await send('HEAD', `digits${query}`, { headers })
  expect(head.status).toBe(get.status)
  expect(comparable(head.headers)).toEqual(comparable(get.headers))
  expect(head.body.length).toBe(0)
  expect(head.headers['x-amz-meta-color']).toBe('red')
})

test.each([
  ['a missing key', 'missing', {}, 404],
  ['a failed If-Match', 'digits', { 'if-match': '"x"' }, 412],
  ['a met If-None-Match', 'digits', { 'if-none-match': '*' }, 304],
  ['a range behind the end', 'digits', { range: 'bytes=10-' }, 416],
  ['a malformed version id', 'digits?versionId=x', {}, 400],
  ['a foreign owner', 'digits', { 'x-amz-expected-bucket-owner': '999988887777' }, 403],
])('an error has its status and no body: %s', async (_what, target, headers, status) => {
  const head = await send('HEAD', target, { headers })
  expect(head.status).toBe(status)
  expect(head.body.length).toBe(0)
  expect(head.headers['x-amz-request-id']).toBeDefined()
})

test('no byte of a body follows on the wire, for an object and for an error', async () => {
  for (const key of ['digits', 'missing']) {
    const { path, headers } = signRequest({ server, method: 'HEAD', path: `/${bucket}/${key}` })
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
    const { text } = await rawSocket(server, `HEAD ${path} HTTP/1.1\r\n${lines}connection: close\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 (200|404) /)
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('')
  }
})

test('the SDK names a missing key NotFound', async () => {
  expect(await failure(client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'missing' })))).toMatchObject({ code: 'NotFound', status: 404 })
})

test('the SDK reads size, type, ETag and metadata', async () => {
  const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'digits' }))
  expect(head).toMatchObject({ ContentLength: 10, ContentType: 'text/plain', ETag: '"781e5e245d69b566979b86e28d23f2c7"', Metadata: { color: 'red' } })
  expect(head.LastModified).toBeInstanceOf(Date)
})
