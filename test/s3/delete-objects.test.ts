import { createHash } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'
import { DeleteObjectsCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { signedRequest, xmlBlocks, xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let versioned: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  versioned = await newBucket(client, 'Enabled')
  send = bucketSender(server, bucket)
})

const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const document = (objects: string, extra = ''): string => `<Delete ${namespace}>${extra}${objects}</Delete>`
const keys = (...names: string[]): string => names.map((name) => `<Object><Key>${escape(name)}</Key></Object>`).join('')

function post(body: string, options: { bucket?: string; headers?: Record<string, string> } = {}): Promise<RawResponse> {
  const digest = { 'content-md5': createHash('md5').update(body).digest('base64') }
  return signedRequest({ server, method: 'POST', path: `/${options.bucket ?? bucket}?delete`, body, headers: options.headers ?? digest })
}

test('deletes what the document names, reports each key, and leaves the others', async () => {
  for (const key of ['one', 'two', 'three']) await send('PUT', key, { body: key })
  const answer = await post(document(keys('one', 'two')))
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('application/xml')
  expect(answer.text).toContain(namespace)
  expect(xmlBlocks(answer.text, 'Deleted').map((block) => xmlText(block, 'Key')).toSorted()).toEqual(['one', 'two'])
  expect(xmlTexts(answer.text, 'Error')).toEqual([])
  expect(outcome(await send('GET', 'one'))).toBe('404 NoSuchKey')
  expect((await send('GET', 'three')).text).toBe('three')
})

test('keys that look like numbers, booleans, spaces, markup and emoji are themselves', async () => {
  const odd = ['001', '1', '1e5', '100000', 'true', ' a ', 'a', 'a&b', 'a&amp;b', '<x>', '😀', 'ü', '__proto__', 'a//b', '.', '..', 'quote"\'']
  for (const key of odd) await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key }))
  const doomed = ['001', '1e5', 'true', ' a ', 'a&b', '<x>', '😀', '__proto__', 'a//b', '..']
  const answer = await post(document(keys(...doomed)))
  expect(xmlBlocks(answer.text, 'Deleted').map((block) => xmlText(block, 'Key')).toSorted()).toEqual(doomed.toSorted())
  const left = xmlTexts((await send('GET', '?encoding-type=url')).text, 'Key').map((key) => decodeURIComponent(key.replaceAll('+', ' ')))
  expect(odd.filter((key) => left.includes(key)).toSorted()).toEqual(odd.filter((key) => !doomed.includes(key)).toSorted())
})

test('a key that does not exist is reported as deleted', async () => {
  expect(xmlTexts((await post(document(keys('never')))).text, 'Key')).toEqual(['never'])
})

test('Quiet leaves out what went well and shows what did not', async () => {
  await send('PUT', 'quiet', { body: 'x' })
  const quiet = await post(document(keys('quiet', 'k'.repeat(1025)), '<Quiet>true</Quiet>'))
  expect(xmlBlocks(quiet.text, 'Deleted')).toEqual([])
  expect(xmlTexts(quiet.text, 'Code')).toEqual(['KeyTooLongError'])
  expect(outcome(await send('GET', 'quiet'))).toBe('404 NoSuchKey')
  const loud = await post(document(keys('quiet'), '<Quiet>false</Quiet>'))
  expect(xmlBlocks(loud.text, 'Deleted')).toHaveLength(1)
})

test.each([
  ['without a namespace', (inside: string) => `<Delete>${inside}</Delete>`],
  ['with a declaration and a BOM', (inside: string) => `\uFEFF<?xml version="1.0" encoding="UTF-8"?>\n<Delete>${inside}</Delete>`],
  ['with white space between elements', (inside: string) => `<Delete>\n  ${inside.replaceAll('><', '>\n  <')}\n</Delete>\n`],
  ['with a prefix for the namespace', (inside: string) =>
    `<s3:Delete xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">${inside.replaceAll('<', '<s3:').replaceAll('<s3:/', '</s3:')}</s3:Delete>`],
])('takes a document %s', async (_what, wrap) => {
  await send('PUT', 'form', { body: 'x' })
  expect((await post(wrap('<Object><Key>form</Key></Object>'))).status).toBe(200)
  expect(outcome(await send('GET', 'form'))).toBe('404 NoSuchKey')
})

test('takes CDATA and numeric references in a key', async () => {
  await send('PUT', 'a&b', { body: 'x' })
  await send('PUT', 'c%3Cd', { body: 'x' })
  const answer = await post(document('<Object><Key><![CDATA[a&b]]></Key></Object><Object><Key>c&#60;&#x64;</Key></Object>'))
  expect(xmlBlocks(answer.text, 'Deleted').map((block) => xmlText(block, 'Key')).toSorted()).toEqual(['a&b', 'c<d'])
  expect(outcome(await send('GET', 'a&b'))).toBe('404 NoSuchKey')
  expect(outcome(await send('GET', 'c%3Cd'))).toBe('404 NoSuchKey')
})

test('1000 keys are deleted at once, 1001 are refused as MalformedXML and none is touched', async () => {
  await send('PUT', 'k0', { body: 'x' })
  const many = (count: number): string => document(keys(...Array.from({ length: count }, (_, i) => `k${i}`)))
  expect(outcome(await post(many(1001)))).toBe('400 MalformedXML')
  expect((await send('GET', 'k0')).text).toBe('x')
  const answer = await post(many(1000))
  expect(xmlBlocks(answer.text, 'Deleted')).toHaveLength(1000)
  expect(outcome(await send('GET', 'k0'))).toBe('404 NoSuchKey')
})

test.each([
  ['no object', document('')],
  ['an object without a key', document('<Object><VersionId>null</VersionId></Object>')],
  ['an empty key', document('<Object><Key></Key></Object>')],
  ['another root', `<Remove>${keys('safe')}</Remove>`],
  ['a document that ends early', `<Delete>${keys('safe')}`],
  ['no XML', 'key=safe'],
  ['no body', ''],
  ['a DOCTYPE', `<!DOCTYPE Delete [<!ENTITY x "safe">]><Delete><Object><Key>&x;</Key></Object></Delete>`],
])('%s answers 400 MalformedXML and deletes nothing', async (_what, body) => {
  await send('PUT', 'safe', { body: 'x' })
  const answer = await post(body)
  expect(['400 MalformedXML', '400 MissingRequestBodyError']).toContain(outcome(answer))
  expect((await send('GET', 'safe')).text).toBe('x')
})

test('a wrong Content-MD5 answers 400 BadDigest and deletes nothing', async () => {
  await send('PUT', 'digest', { body: 'x' })
  const wrong = createHash('md5').update('other').digest('base64')
  expect(outcome(await post(document(keys('digest')), { headers: { 'content-md5': wrong } }))).toBe('400 BadDigest')
  expect((await send('GET', 'digest')).text).toBe('x')
})

test('a body that neither a digest nor the signature covers answers 400 InvalidRequest and deletes nothing', async () => {
  await send('PUT', 'undigested', { body: 'x' })
  const unsigned = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }
  expect(outcome(await post(document(keys('undigested')), { headers: unsigned }))).toBe('400 InvalidRequest')
  expect((await send('GET', 'undigested')).text).toBe('x')
})

test('a checksum header takes the place of Content-MD5, and is verified', async () => {
  await send('PUT', 'summed', { body: 'x' })
  const body = document(keys('summed'))
  const sha256 = (text: string): Record<string, string> => ({ 'x-amz-checksum-sha256': createHash('sha256').update(text).digest('base64') })
  expect(outcome(await post(body, { headers: sha256('other') }))).toBe('400 BadDigest')
  expect((await send('GET', 'summed')).text).toBe('x')
  expect((await post(body, { headers: sha256(body) })).status).toBe(200)
  expect(outcome(await send('GET', 'summed'))).toBe('404 NoSuchKey')
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await post(document(keys('k')), { bucket: bucketName() }))).toBe('404 NoSuchBucket')
})

test('with versioning a delete makes a marker, and a version id removes that version for good', async () => {
  const put = await signedRequest({ server, method: 'PUT', path: `/${versioned}/v`, body: 'x' })
  const versionId = put.headers['x-amz-version-id'] ?? ''
  const first = await client.send(new DeleteObjectsCommand({ Bucket: versioned, Delete: { Objects: [{ Key: 'v' }] } }))
  expect(first.Deleted).toEqual([{ Key: 'v', DeleteMarker: true, DeleteMarkerVersionId: expect.any(String) }])
  const marker = first.Deleted?.[0]?.DeleteMarkerVersionId ?? ''
  const Objects = [{ Key: 'v', VersionId: marker }, { Key: 'v', VersionId: versionId }]
  const second = await client.send(new DeleteObjectsCommand({ Bucket: versioned, Delete: { Objects } }))
  expect(second.Deleted).toHaveLength(2)
  expect(second.Deleted).toContainEqual({ Key: 'v', VersionId: marker, DeleteMarker: true, DeleteMarkerVersionId: marker })
  expect(second.Deleted).toContainEqual({ Key: 'v', VersionId: versionId })
  expect((await signedRequest({ server, path: `/${versioned}?versions&prefix=v` })).text).not.toContain('<VersionId>')
})

test('VersionId null in a bucket without versioning deletes the object', async () => {
  await send('PUT', 'null', { body: 'x' })
  const answer = await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: [{ Key: 'null', VersionId: 'null' }] } }))
  expect(answer.Deleted).toEqual([{ Key: 'null', VersionId: 'null' }])
  expect(outcome(await send('GET', 'null'))).toBe('404 NoSuchKey')
})

test('a version id that no version can have is an error of its key alone', async () => {
  await signedRequest({ server, method: 'PUT', path: `/${versioned}/kept`, body: 'x' })
  const Objects = [{ Key: 'kept', VersionId: 'nonsense' }, { Key: 'other' }]
  const answer = await client.send(new DeleteObjectsCommand({ Bucket: versioned, Delete: { Objects } }))
  expect(answer.Errors).toMatchObject([{ Key: 'kept', VersionId: 'nonsense', Code: 'NoSuchVersion' }])
  expect(answer.Deleted).toHaveLength(1)
  expect((await signedRequest({ server, path: `/${versioned}/kept` })).text).toBe('x')
})

test('conditions are of each key: ETag, size and time decide for it alone', async () => {
  const names = ['match', 'wrong-etag', 'wrong-size', 'wrong-time', 'right-size', 'right-time', 'any']
  for (const key of names) await send('PUT', key, { body: 'hello' })
  const head = await send('HEAD', 'right-time')
  const etag = head.headers['etag'] ?? ''
  const modified = new Date(head.headers['last-modified'] ?? '').toISOString()
  const object = (key: string, condition: string): string => `<Object><Key>${key}</Key>${condition}</Object>`
  const answer = await post(document([
    object('match', `<ETag>${etag}</ETag>`), object('wrong-etag', '<ETag>"0123"</ETag>'), object('any', '<ETag>*</ETag>'),
    object('right-size', '<Size>5</Size>'), object('wrong-size', '<Size>6</Size>'),
    object('right-time', `<LastModifiedTime>${modified}</LastModifiedTime>`), object('wrong-time', '<LastModifiedTime>2001-02-03T04:05:06Z</LastModifiedTime>'),
    object('absent', '<ETag>*</ETag>'),
  ].join('')))
  const errors = Object.fromEntries(xmlBlocks(answer.text, 'Error').map((block) => [xmlText(block, 'Key'), xmlText(block, 'Code')]))
  expect(errors).toEqual({ 'wrong-etag': 'PreconditionFailed', 'wrong-size': 'PreconditionFailed', 'wrong-time': 'PreconditionFailed', 'absent': 'NoSuchKey' })
  expect(xmlBlocks(answer.text, 'Deleted').map((block) => xmlText(block, 'Key')).toSorted()).toEqual(['any', 'match', 'right-size', 'right-time'])
  for (const key of ['wrong-etag', 'wrong-size', 'wrong-time']) expect((await send('GET', key)).status).toBe(200)
  for (const key of ['match', 'any', 'right-size']) expect((await send('GET', key)).status).toBe(404)
})

test('an announced trailing checksum has to come and to be right, or nothing is deleted', async () => {
  await send('PUT', 'kept', { body: 'kept' })
  const body = document(keys('kept'))
  const crc32 = Buffer.alloc(4)
  crc32.writeUInt32BE(zlibCrc32(body))
  const chunked = (trailer: string, announced: Record<string, string>): Promise<RawResponse> => post(`${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n${trailer}\r\n`, {
    headers: {
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': String(Buffer.byteLength(body)),
      'content-md5': createHash('md5').update(body).digest('base64'), ...announced,
    },
  })
  const announced = { 'x-amz-trailer': 'x-amz-checksum-crc32' }
  expect(outcome(await chunked('', announced))).toBe('400 MalformedTrailerError')
  expect(outcome(await chunked('x-amz-checksum-crc32:AAAAAA==\r\n', announced))).toBe('400 BadDigest')
  expect((await send('GET', 'kept')).status).toBe(200)
  expect((await chunked(`x-amz-checksum-crc32:${crc32.toString('base64')}\r\n`, announced)).status).toBe(200)
  expect((await send('GET', 'kept')).status).toBe(404)
})

test('more keys at once than the server works on at a time wait for their turn: none is refused', async () => {
  const answers = await Promise.all(Array.from({ length: 12 }, (_, index) => post(document(keys(...Array.from({ length: 1000 }, (_, at) => `many/${index}/${at}`)), '<Quiet>true</Quiet>'))))
  expect(answers.map(({ status, text }) => `${status} ${xmlText(text, 'Code') ?? ''}`)).toEqual(answers.map(() => '200 '))
})
