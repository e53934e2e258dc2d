import { beforeAll, expect, test } from 'vitest'
import { xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

/** Settings that nobody can have made yet: what Terraform and the SDKs read of a new bucket. */
const server = sharedServer()
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(s3Client(server))
  send = bucketSender(server, bucket)
})

const unset = [
  ['policy', 'NoSuchBucketPolicy'], ['policyStatus', 'NoSuchBucketPolicy'], ['cors', 'NoSuchCORSConfiguration'], ['lifecycle', 'NoSuchLifecycleConfiguration'],
  ['encryption', 'ServerSideEncryptionConfigurationNotFoundError'], ['website', 'NoSuchWebsiteConfiguration'], ['publicAccessBlock', 'NoSuchPublicAccessBlockConfiguration'],
  ['object-lock', 'ObjectLockConfigurationNotFoundError'], ['replication', 'ReplicationConfigurationNotFoundError'], ['ownershipControls', 'OwnershipControlsNotFoundError'],
  ['tagging', 'NoSuchTagSet'], ['analytics&id=x', 'NoSuchConfiguration'], ['inventory&id=x', 'NoSuchConfiguration'], ['metrics&id=x', 'NoSuchConfiguration'],
  ['intelligent-tiering&id=x', 'NoSuchConfiguration'],
] as const

test.each(unset)('?%s answers 404 %s with the name of the bucket', async (query, code) => {
  const answer = await send('GET', `?${query}`)
  expect(outcome(answer)).toBe(`404 ${code}`)
  expect(xmlText(answer.text, 'BucketName')).toBe(bucket)
})

test.each([
  ['notification', 'NotificationConfiguration', ''],
  ['logging', 'BucketLoggingStatus', ''],
  ['accelerate', 'AccelerateConfiguration', ''],
  ['requestPayment', 'RequestPaymentConfiguration', '<Payer>BucketOwner</Payer>'],
  ['versioning', 'VersioningConfiguration', ''],
  ['analytics', 'ListBucketAnalyticsConfigurationResult', '<IsTruncated>false</IsTruncated>'],
  ['inventory', 'ListInventoryConfigurationsResult', '<IsTruncated>false</IsTruncated>'],
  ['metrics', 'ListMetricsConfigurationsResult', '<IsTruncated>false</IsTruncated>'],
  ['intelligent-tiering', 'ListBucketIntelligentTieringConfigurationsOutput', '<IsTruncated>false</IsTruncated>'],
])('?%s answers its default document', async (query, root, inside) => {
  const answer = await send('GET', `?${query}`)
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('application/xml')
  expect(answer.text).toContain(`<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inside}</${root}>`)
})

test.each(['policy', 'cors', 'lifecycle', 'encryption', 'website', 'publicAccessBlock', 'replication', 'ownershipControls'])('deleting ?%s, which is not there, answers 204', async (query) => {
  const answer = await send('DELETE', `?${query}`)
  expect([answer.status, answer.text]).toEqual([204, ''])
})

test.each([...unset.map(([query]) => query), 'notification', 'logging', 'accelerate', 'requestPayment', 'analytics'])('?%s of a bucket that does not exist answers 404 NoSuchBucket', async (query) => {
  expect(outcome(await bucketSender(server, bucketName())('GET', `?${query}`))).toBe('404 NoSuchBucket')
})

test.each(['policy', 'logging', 'lifecycle'])('?%s needs a signature and the expected owner', async (query) => {
  expect(outcome(await send('GET', `?${query}`, { sign: 'none' }))).toBe('403 AccessDenied')
  expect(outcome(await send('GET', `?${query}`, { headers: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
})
