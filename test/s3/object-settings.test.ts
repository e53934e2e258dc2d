import { GetObjectAclCommand } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { xmlText } from '../support/raw.ts'
import { bucketSender, failure, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'k', { body: 'hello' })
})

test('GetObjectAcl answers the one grant that there is: full control of the owner', async () => {
  const acl = await client.send(new GetObjectAclCommand({ Bucket: bucket, Key: 'k' }))
  expect(acl.Owner?.ID).toMatch(/^[0-9a-f]{64}$/)
  expect(acl.Grants).toMatchObject([{ Permission: 'FULL_CONTROL', Grantee: { Type: 'CanonicalUser', ID: acl.Owner?.ID } }])
  expect(await failure(client.send(new GetObjectAclCommand({ Bucket: bucket, Key: 'missing' })))).toMatchObject({ code: 'NoSuchKey', status: 404 })
})

test.each(['retention', 'legal-hold'])('%s of an object in a bucket without object lock answers 400 InvalidRequest', async (name) => {
  expect(outcome(await send('GET', `k?${name}`))).toBe('400 InvalidRequest')
})

test.each([
  ['PutObjectAcl', 'PUT', 'k?acl'],
  ['PutObjectRetention', 'PUT', 'k?retention'],
  ['PutObjectLegalHold', 'PUT', 'k?legal-hold'],
  ['GetObjectTorrent', 'GET', 'k?torrent'],
  ['RestoreObject', 'POST', 'k?restore'],
  ['SelectObjectContent', 'POST', 'k?select&select-type=2'],
  ['RenameObject', 'PUT', 'k?renameObject'],
])('%s answers 501 NotImplemented by its name and leaves the object as it was', async (name, method, target) => {
  const answer = await send(method, target, { body: method === 'GET' ? undefined : '<x/>' } as Parameters<typeof send>[2])
  expect(outcome(answer)).toBe('501 NotImplemented')
  expect(answer.text).toContain(name)
  expect((await send('GET', 'k')).text).toBe('hello')
})

test.each([
  ['DELETE', 'k?acl'], ['DELETE', 'k?retention'], ['DELETE', 'k?legal-hold'], ['DELETE', 'k?attributes'], ['POST', 'k?tagging'], ['PUT', 'k?attributes'], ['PATCH', 'k'],
])('%s %s is no operation: 405 MethodNotAllowed, and the object stays', async (method, target) => {
  const answer = await send(method, target)
  expect(outcome(answer)).toBe('405 MethodNotAllowed')
  expect(xmlText(answer.text, 'Method')).toBe(method)
  expect((await send('GET', 'k')).text).toBe('hello')
})
