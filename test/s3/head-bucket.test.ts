import { HeadBucketCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { signedRequest } from '../support/raw.ts'
import { bucketName, failure, newBucket, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const otherAccount = '999988887777'

test('an own bucket answers 200 with its region and no body', async () => {
  const bucket = await newBucket(client)
  const found = await signedRequest({ server, method: 'HEAD', path: `/${bucket}` })
  expect(found.status).toBe(200)
  expect(found.headers['x-amz-bucket-region']).toBe('us-east-1')
  expect(found.headers['x-amz-access-point-alias']).toBe('false')
  expect(found.body.length).toBe(0)
  expect((await client.send(new HeadBucketCommand({ Bucket: bucket }))).BucketRegion).toBe('us-east-1')
})

test('a bucket that does not exist answers 404 without a body', async () => {
  const missing = await signedRequest({ server, method: 'HEAD', path: `/${bucketName()}` })
  expect(missing.status).toBe(404)
  expect(missing.body.length).toBe(0)
  expect(await failure(client.send(new HeadBucketCommand({ Bucket: bucketName() })))).toMatchObject({ code: 'NotFound', status: 404 })
})

test('a name that no bucket can have answers 400 without a body', async () => {
  const answer = await signedRequest({ server, method: 'HEAD', path: '/Not_A_Name' })
  expect(answer.status).toBe(400)
  expect(answer.body.length).toBe(0)
})

test('an expected owner that is another account answers 403', async () => {
  const bucket = await newBucket(client)
  expect((await signedRequest({ server, method: 'HEAD', path: `/${bucket}`, headers: { 'x-amz-expected-bucket-owner': otherAccount } })).status).toBe(403)
})

test('a request without a signature, or with a wrong one, answers 403 without a body', async () => {
  const bucket = await newBucket(client)
  expect((await signedRequest({ server, method: 'HEAD', path: `/${bucket}`, sign: 'none' })).status).toBe(403)
  const wrong = await signedRequest({ server, method: 'HEAD', path: `/${bucket}`, credentials: { accessKeyId: server.accessKeyId, secretAccessKey: 'wrong-secret' } })
  expect(wrong.status).toBe(403)
  expect(wrong.body.length).toBe(0)
})

test('who asked in the wrong region or without a signature finds the right region in a header, as there is no body', async () => {
  const path = `/${await newBucket(client)}`
  for (const sign of ['header', 'presigned'] as const) {
    const wrong = await signedRequest({ server: { ...server, region: 'eu-west-1' }, method: 'HEAD', path, sign })
    expect([wrong.status, wrong.headers['x-amz-bucket-region'], wrong.body.length]).toEqual([400, 'us-east-1', 0])
  }
  expect((await signedRequest({ server, method: 'HEAD', path, sign: 'none' })).headers['x-amz-bucket-region']).toBe('us-east-1')
})
