import { beforeAll, expect, test } from 'vitest'
import { signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(s3Client(server), 'Enabled')
  send = bucketSender(server, bucket)
})

/** Source: Amazon S3 API reference, "Error responses". */
test('an error is an XML document with Code, Message, Resource, RequestId and HostId, without a namespace', async () => {
  const answer = await send('GET', 'missing%20key')
  expect(answer.status).toBe(404)
  expect(answer.headers['content-type']).toBe('application/xml')
  expect(answer.text).toMatch(/^<\?xml version="1.0" encoding="UTF-8"\?>\n<Error><Code>NoSuchKey<\/Code><Message>[^<]+<\/Message>/)
  expect(xmlText(answer.text, 'Key')).toBe('missing key')
  expect(xmlText(answer.text, 'Resource')).toBe(`/${bucket}/missing%20key`)
  expect(xmlText(answer.text, 'RequestId')).toBe(answer.headers['x-amz-request-id'])
  expect(xmlText(answer.text, 'HostId')).toBe(answer.headers['x-amz-id-2'])
  expect(Date.parse(answer.headers['date'] ?? '')).not.toBeNaN()
  expect(answer.headers['content-length']).toBe(String(answer.body.length))
})

test('each request has an id of its own, errors and good ones alike', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => send('GET', i % 2 === 0 ? 'missing' : '?list-type=2')))
  expect(new Set(answers.map((answer) => answer.headers['x-amz-request-id'])).size).toBe(20)
})

test.each([
  ['NoSuchBucket', 'BucketName', () => signedRequest({ server, path: `/${bucketName()}/k` })],
  ['NoSuchVersion', 'VersionId', () => send('GET', `k?versionId=${'0'.repeat(32)}`)],
  ['NoSuchUpload', 'UploadId', () => send('GET', 'k?uploadId=none')],
  ['InvalidArgument', 'ArgumentName', () => send('GET', '?list-type=2&max-keys=x')],
  ['MethodNotAllowed', 'Method', () => send('POST', 'k')],
  ['KeyTooLongError', 'MaxSizeAllowed', () => send('GET', 'k'.repeat(1025))],
  ['InvalidAccessKeyId', 'AWSAccessKeyId', () => send('GET', 'k', { credentials: { accessKeyId: 'NOBODY', secretAccessKey: 'x' } })],
])('%s names what it is about in %s', async (code, field, request) => {
  const answer = await request()
  expect(xmlText(answer.text, 'Code')).toBe(code)
  expect(xmlText(answer.text, field)).toBeTruthy()
})

test('markup and control characters in what a client sent are escaped', async () => {
  const answer = await send('GET', '%3Cscript%3E%26%22%01%EF%BF%BF')
  expect(answer.text).toContain('<Key>&lt;script&gt;&amp;&quot;&#1;&#65535;</Key>')
  expect(answer.text).not.toContain('<script>')
})

test('an error to HEAD has its status and headers and no body', async () => {
  const answer = await send('HEAD', 'missing')
  expect([answer.status, answer.body.length]).toEqual([404, 0])
  expect(answer.headers['x-amz-request-id']).toBeTruthy()
})

test('a read of a delete marker says so', async () => {
  await send('PUT', 'marked', { body: 'x' })
  const { headers } = await send('DELETE', 'marked')
  const current = await send('GET', 'marked')
  expect([current.status, current.headers['x-amz-delete-marker']]).toEqual([404, 'true'])
  const named = await send('GET', `marked?versionId=${headers['x-amz-version-id']}`)
  expect([named.status, xmlText(named.text, 'Code'), named.headers['x-amz-delete-marker']]).toEqual([405, 'MethodNotAllowed', 'true'])
})
