import { GetBucketAclCommand, ListBucketsCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)

test('the owner has full control, and nobody else is in the list', async () => {
  const bucket = await newBucket(client)
  const acl = await client.send(new GetBucketAclCommand({ Bucket: bucket }))
  const owner = (await client.send(new ListBucketsCommand({ Prefix: bucket }))).Owner
  expect(acl.Owner).toEqual(owner)
  expect(acl.Grants).toEqual([{ Grantee: { ...owner, Type: 'CanonicalUser' }, Permission: 'FULL_CONTROL' }])
})

test('writing an ACL is not implemented, by name', async () => {
  const send = bucketSender(server, await newBucket(client))
  const answer = await send('PUT', '?acl', { headers: { 'x-amz-acl': 'public-read' } })
  expect(outcome(answer)).toBe('501 NotImplemented')
  expect(answer.text).toContain('PutBucketAcl')
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await bucketSender(server, bucketName())('GET', '?acl'))).toBe('404 NoSuchBucket')
})
