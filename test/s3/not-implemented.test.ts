import { beforeAll, expect, test } from 'vitest'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  send = bucketSender(server, await newBucket(s3Client(server)))
  await send('PUT', 'k', { body: 'kept' })
})

/** Nothing is accepted and ignored: what is not there says so by its name, whatever its body is. */
test.each([
  ['PutBucketPolicy', 'PUT', '?policy'], ['PutBucketCors', 'PUT', '?cors'], ['PutBucketLifecycleConfiguration', 'PUT', '?lifecycle'], ['PutBucketEncryption', 'PUT', '?encryption'],
  ['PutBucketWebsite', 'PUT', '?website'], ['PutPublicAccessBlock', 'PUT', '?publicAccessBlock'], ['PutObjectLockConfiguration', 'PUT', '?object-lock'],
  ['PutBucketReplication', 'PUT', '?replication'], ['PutBucketOwnershipControls', 'PUT', '?ownershipControls'], ['PutBucketNotificationConfiguration', 'PUT', '?notification'],
  ['PutBucketLogging', 'PUT', '?logging'], ['PutBucketAccelerateConfiguration', 'PUT', '?accelerate'], ['PutBucketRequestPayment', 'PUT', '?requestPayment'], ['PutBucketAcl', 'PUT', '?acl'],
  ['PutBucketAnalyticsConfiguration', 'PUT', '?analytics&id=1'], ['PutBucketInventoryConfiguration', 'PUT', '?inventory&id=1'], ['PutBucketMetricsConfiguration', 'PUT', '?metrics&id=1'],
  ['PutBucketIntelligentTieringConfiguration', 'PUT', '?intelligent-tiering&id=1'], ['CreateSession', 'GET', '?session'], ['PutObjectAcl', 'PUT', 'k?acl'],
  ['PutObjectLegalHold', 'PUT', 'k?legal-hold'], ['PutObjectRetention', 'PUT', 'k?retention'], ['GetObjectTorrent', 'GET', 'k?torrent'], ['RestoreObject', 'POST', 'k?restore'],
  ['SelectObjectContent', 'POST', 'k?select&select-type=2'], ['RenameObject', 'PUT', 'k2?renameObject'],
])('%s answers 501 NotImplemented by its name and leaves the object alone', async (name, method, target) => {
  const answer = await send(method, target, method === 'GET' ? {} : { body: '<Whatever/>' })
  expect(outcome(answer)).toBe('501 NotImplemented')
  expect(answer.text).toContain(name)
  expect((await send('GET', 'k')).text).toBe('kept')
  expect((await send('GET', '?list-type=2')).text).toContain('<KeyCount>1</KeyCount>')
})

test('a sub-resource that does not take the method answers 405, never the plain operation', async () => {
  for (const [method, target] of [['PUT', 'k?attributes'], ['PUT', 'k?uploads'], ['DELETE', 'k?acl'], ['DELETE', 'k?retention'], ['POST', 'k'], ['POST', 'k?tagging'], ['GET', '?delete'], ['PUT', '?uploads'], ['PUT', '?location']] as const) {
    expect(outcome(await send(method, target)), `${method} ${target}`).toBe('405 MethodNotAllowed')
  }
  expect((await send('GET', 'k')).text).toBe('kept')
})

test.each(['PATCH', 'OPTIONS', 'TRACE'])('the method %s has no operation: refused without a 5xx', async (method) => {
  const answer = await send(method, 'k')
  expect(answer.status).toBeGreaterThanOrEqual(400)
  expect(answer.status).toBeLessThan(500)
})
