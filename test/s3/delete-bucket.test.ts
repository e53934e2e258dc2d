import { expect, test } from 'vitest'
import { signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client, setVersioning } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const remove = async (bucket: string): Promise<string> => outcome(await signedRequest({ server, method: 'DELETE', path: `/${bucket}` }))
const head = async (bucket: string): Promise<number> => (await signedRequest({ server, method: 'HEAD', path: `/${bucket}` })).status

test('an empty bucket goes with 204, and its name is free at once', async () => {
  const bucket = await newBucket(client)
  const gone = await signedRequest({ server, method: 'DELETE', path: `/${bucket}` })
  expect([gone.status, gone.text]).toEqual([204, ''])
  expect(await head(bucket)).toBe(404)
  expect(await remove(bucket)).toBe('404 NoSuchBucket')
  expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}` })).status).toBe(200)
})

test('a bucket that never was answers 404 NoSuchBucket with its name', async () => {
  const name = bucketName()
  const answer = await signedRequest({ server, method: 'DELETE', path: `/${name}` })
  expect(outcome(answer)).toBe('404 NoSuchBucket')
  expect(xmlText(answer.text, 'BucketName')).toBe(name)
})

test('an object keeps its bucket: 409 BucketNotEmpty until it is deleted', async () => {
  const bucket = await newBucket(client)
  const send = bucketSender(server, bucket)
  await send('PUT', 'k', { body: 'x' })
  expect(await remove(bucket)).toBe('409 BucketNotEmpty')
  expect((await send('GET', 'k')).text).toBe('x')
  await send('DELETE', 'k')
  expect(await remove(bucket)).toBe('204')
})

test('old versions and delete markers keep their bucket', async () => {
  const bucket = await newBucket(client, 'Enabled')
  const send = bucketSender(server, bucket)
  const put = await send('PUT', 'k', { body: 'x' })
  const marker = await send('DELETE', 'k')
  expect((await send('GET', '?list-type=2')).text).toContain('<KeyCount>0</KeyCount>')
  expect(await remove(bucket)).toBe('409 BucketNotEmpty')
  await send('DELETE', `k?versionId=${put.headers['x-amz-version-id']}`)
  expect(await remove(bucket)).toBe('409 BucketNotEmpty')
  await setVersioning(client, bucket, 'Suspended')
  expect(await remove(bucket)).toBe('409 BucketNotEmpty')
  await send('DELETE', `k?versionId=${marker.headers['x-amz-version-id']}`)
  expect(await remove(bucket)).toBe('204')
})

test('an open multipart upload keeps its bucket until it is aborted', async () => {
  const bucket = await newBucket(client)
  const send = bucketSender(server, bucket)
  const uploadId = xmlText((await send('POST', 'k?uploads')).text, 'UploadId') ?? ''
  expect(await remove(bucket)).toBe('409 BucketNotEmpty')
  await send('DELETE', `k?uploadId=${uploadId}`)
  expect(await remove(bucket)).toBe('204')
})

test('settings and tags go with their bucket', async () => {
  const bucket = await newBucket(client, 'Enabled')
  const send = bucketSender(server, bucket)
  await send('PUT', '?tagging', { body: '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>' })
  expect(await remove(bucket)).toBe('204')
  await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
  expect(outcome(await send('GET', '?tagging'))).toBe('404 NoSuchTagSet')
  expect((await send('GET', '?versioning')).text).not.toContain('Status')
})

test('an expected owner that is another account answers 403 and deletes nothing', async () => {
  const bucket = await newBucket(client)
  const answer = await signedRequest({ server, method: 'DELETE', path: `/${bucket}`, headers: { 'x-amz-expected-bucket-owner': '999988887777' } })
  expect(outcome(answer)).toBe('403 AccessDenied')
  expect(await head(bucket)).toBe(200)
})

test('a DELETE that names a sub-resource never deletes the bucket', async () => {
  const bucket = await newBucket(client)
  for (const name of ['acl', 'location', 'versioning', 'versions', 'uploads', 'notification', 'logging', 'requestPayment', 'accelerate', 'object-lock', 'delete', 'policyStatus']) {
    expect(outcome(await signedRequest({ server, method: 'DELETE', path: `/${bucket}?${name}` })), name).toMatch(/^(405 MethodNotAllowed|501 NotImplemented)$/)
  }
  for (const name of ['cors', 'policy', 'lifecycle', 'website', 'tagging', 'encryption', 'replication', 'publicAccessBlock', 'ownershipControls']) {
    expect(outcome(await signedRequest({ server, method: 'DELETE', path: `/${bucket}?${name}` })), name).toBe('204')
  }
  expect(await head(bucket)).toBe(200)
})

test('puts and the deletion of their bucket at once: either the bucket is gone with nothing in it, or it is kept with what was answered', async () => {
  for (let round = 0; round < 10; round++) {
    const bucket = await newBucket(client)
    const send = bucketSender(server, bucket)
    const [gone, ...puts] = await Promise.all([remove(bucket), ...Array.from({ length: 4 }, (_, i) => send('PUT', `k${i}`, { body: 'x' }))])
    const stored = puts.filter((put) => put.status === 200).length
    if (gone === '204') {
      expect(puts.map((put) => outcome(put))).toEqual(puts.map(() => '404 NoSuchBucket'))
      expect(await head(bucket)).toBe(404)
    } else {
      expect(gone).toBe('409 BucketNotEmpty')
      expect((await send('GET', '?list-type=2')).text).toContain(`<KeyCount>${stored}</KeyCount>`)
    }
  }
})
