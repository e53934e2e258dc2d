import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { signedRequest } from '../support/raw.ts'
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

test('answers 204 without a body, and the object is gone from reads and listings', async () => {
  await send('PUT', 'gone', { body: 'x' })
  const deleted = await send('DELETE', 'gone')
  expect(deleted.status).toBe(204)
  expect(deleted.body.length).toBe(0)
  expect(deleted.headers).not.toHaveProperty('x-amz-delete-marker')
  expect(deleted.headers).not.toHaveProperty('x-amz-version-id')
  expect(outcome(await send('GET', 'gone'))).toBe('404 NoSuchKey')
  expect((await send('GET', '?prefix=gone')).text).not.toContain('<Key>gone</Key>')
})

test('what is not there is deleted with 204 as often as one likes', async () => {
  expect((await send('DELETE', 'never')).status).toBe(204)
  expect((await send('DELETE', 'never')).status).toBe(204)
})

test('only that key goes: neither its prefix nor what lies below it', async () => {
  for (const key of ['a', 'a/', 'a/b', 'a/b/c', 'ab']) await send('PUT', key, { body: key })
  await send('DELETE', 'a/')
  expect(outcome(await send('GET', 'a/'))).toBe('404 NoSuchKey')
  for (const key of ['a', 'a/b', 'a/b/c', 'ab']) expect((await send('GET', key)).text).toBe(key)
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await signedRequest({ server, method: 'DELETE', path: `/${bucketName()}/k` }))).toBe('404 NoSuchBucket')
})

test('versionId in a bucket without versioning: null deletes the object, a made-up id deletes nothing', async () => {
  await send('PUT', 'null', { body: 'x' })
  expect((await send('DELETE', `null?versionId=${'0'.repeat(32)}`)).status).toBeLessThan(500)
  expect((await send('GET', 'null')).text).toBe('x')
  expect(outcome(await send('DELETE', 'null?versionId=what'))).toBe('400 InvalidArgument')
  expect((await send('DELETE', 'null?versionId=null')).status).toBe(204)
  expect(outcome(await send('GET', 'null'))).toBe('404 NoSuchKey')
})

test('x-amz-mfa, which we cannot check, is refused and the object stays', async () => {
  await send('PUT', 'mfa', { body: 'x' })
  expect(outcome(await send('DELETE', 'mfa', { headers: { 'x-amz-mfa': '20899872 301749' } }))).toBe('501 NotImplemented')
  expect((await send('GET', 'mfa')).text).toBe('x')
})

test('x-amz-expected-bucket-owner of another account answers 403 and the object stays', async () => {
  await send('PUT', 'owner', { body: 'x' })
  expect(outcome(await send('DELETE', 'owner', { headers: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
  expect((await send('GET', 'owner')).text).toBe('x')
})

test('puts and deletes of one key at once end in one of both, and the next write holds', async () => {
  await Promise.all(Array.from({ length: 30 }, (_, i) => (i % 2 === 0
    ? client.send(new PutObjectCommand({ Bucket: bucket, Key: 'race', Body: `${i}` }))
    : client.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'race' })))))
  expect(['200', '404 NoSuchKey']).toContain(outcome(await send('GET', 'race')))
  await send('PUT', 'race', { body: 'last' })
  expect((await send('GET', 'race')).text).toBe('last')
})
