import { beforeEach, expect, test } from 'vitest'
import { xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let send: ReturnType<typeof bucketSender>

beforeEach(async () => {
  send = bucketSender(server, await newBucket(client))
})

const status = async (): Promise<string | undefined> => xmlText((await send('GET', '?versioning')).text, 'Status')
const set = async (inside: string): Promise<string> => outcome(await send('PUT', '?versioning', { body: `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inside}</VersioningConfiguration>` }))

test('a bucket where it was never set has an empty document, without a Status', async () => {
  const answer = await send('GET', '?versioning')
  expect(answer.status).toBe(200)
  expect(answer.text).toMatch(/<VersioningConfiguration xmlns="http:\/\/s3.amazonaws.com\/doc\/2006-03-01\/"(\/>|><\/VersioningConfiguration>)$/)
})

test('Enabled and Suspended are read back, and the next put obeys at once', async () => {
  expect(await set('<Status>Enabled</Status>')).toBe('200')
  expect(await status()).toBe('Enabled')
  expect((await send('PUT', 'k', { body: 'x' })).headers['x-amz-version-id']).toMatch(/^(?!null$)\S+$/)
  expect(await set('<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>')).toBe('200')
  expect(await status()).toBe('Suspended')
  expect((await send('PUT', 'k', { body: 'x' })).headers['x-amz-version-id']).toBe('null')
  expect(await set('<Status>Enabled</Status>')).toBe('200')
  expect(await status()).toBe('Enabled')
})

test.each([
  ['another status', '<Status>On</Status>', '400 MalformedXML'],
  ['a status in another case', '<Status>enabled</Status>', '400 MalformedXML'],
  ['no status', '', '400 IllegalVersioningConfigurationException'],
  ['MFA delete', '<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>', '501 NotImplemented'],
])('%s is refused and changes nothing', async (_what, inside, expected) => {
  expect(await set(inside)).toBe(expected)
  expect(await status()).toBeUndefined()
})

test.each(['', 'x', '<VersioningConfiguration>', '<Versioning><Status>Enabled</Status></Versioning>'])('a body that is no such document (%j) answers 400 and changes nothing', async (body) => {
  expect(outcome(await send('PUT', '?versioning', { body }))).toMatch(/^400 (MalformedXML|MissingRequestBodyError)$/)
  expect(await status()).toBeUndefined()
})

test('a wrong Content-MD5 or checksum answers 400 BadDigest and changes nothing', async () => {
  const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
  expect(outcome(await send('PUT', '?versioning', { body, headers: { 'content-md5': Buffer.alloc(16).toString('base64') } }))).toBe('400 BadDigest')
  expect(outcome(await send('PUT', '?versioning', { body, headers: { 'x-amz-checksum-crc32': 'AAAAAA==' } }))).toBe('400 BadDigest')
  expect(await status()).toBeUndefined()
})

test('x-amz-mfa and an expected owner that is another account are refused and change nothing', async () => {
  const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
  expect(outcome(await send('PUT', '?versioning', { body, headers: { 'x-amz-mfa': 'serial 123456' } }))).toBe('501 NotImplemented')
  expect(outcome(await send('PUT', '?versioning', { body, headers: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
  expect(await status()).toBeUndefined()
})

test('a bucket that does not exist answers 404 NoSuchBucket for both', async () => {
  const missing = bucketSender(server, bucketName())
  expect(outcome(await missing('GET', '?versioning'))).toBe('404 NoSuchBucket')
  expect(outcome(await missing('PUT', '?versioning', { body: '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>' }))).toBe('404 NoSuchBucket')
})
