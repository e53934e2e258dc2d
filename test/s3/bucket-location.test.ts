import { GetBucketLocationCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer, startServer, type TestServer } from '../support/server.ts'

const shared = sharedServer()

test('us-east-1 is written as an empty constraint', async () => {
  const client = s3Client(shared)
  const bucket = await newBucket(client)
  const answer = await signedRequest({ server: shared, path: `/${bucket}?location` })
  expect(answer.status).toBe(200)
  expect(xmlText(answer.text, 'LocationConstraint')).toBe('')
  expect((await client.send(new GetBucketLocationCommand({ Bucket: bucket }))).LocationConstraint).toBeFalsy()
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await signedRequest({ server: shared, path: `/${bucketName()}?location` }))).toBe('404 NoSuchBucket')
})

describe('a server of another region', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ env: { HOLDFAST_REGION: 'eu-central-1' } })
  })
  afterAll(() => server.remove())

  test('takes its own region as the constraint, names it, and refuses another', async () => {
    const name = bucketName()
    const located = (region: string): string => `<CreateBucketConfiguration><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`
    expect(outcome(await signedRequest({ server, method: 'PUT', path: `/${name}`, body: located('us-west-2') }))).toBe('400 IllegalLocationConstraintException')
    expect(outcome(await signedRequest({ server, method: 'PUT', path: `/${name}`, body: located('eu-central-1') }))).toBe('200')
    expect(xmlText((await signedRequest({ server, path: `/${name}?location` })).text, 'LocationConstraint')).toBe('eu-central-1')
    expect((await signedRequest({ server, method: 'HEAD', path: `/${name}` })).headers['x-amz-bucket-region']).toBe('eu-central-1')
    expect(xmlText((await signedRequest({ server, path: `/?prefix=${name}` })).text, 'BucketRegion')).toBe('eu-central-1')
  })

  test('refuses a signature for another region and says which one it expects', async () => {
    const { url, accessKeyId, secretAccessKey } = server
    const answer = await signedRequest({ server: { url, accessKeyId, secretAccessKey, region: 'us-east-1' }, path: '/' })
    expect(outcome(answer)).toBe('400 AuthorizationHeaderMalformed')
    expect(xmlText(answer.text, 'Region')).toBe('eu-central-1')
  })
})
