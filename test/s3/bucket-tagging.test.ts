import { DeleteBucketTaggingCommand, GetBucketTaggingCommand, PutBucketTaggingCommand } from '@aws-sdk/client-s3'
import { beforeEach, expect, test } from 'vitest'
import { bucketName, bucketSender, failure, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeEach(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const tagging = (tags: readonly (readonly [string, string])[]): string =>
  `<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>${tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`).join('')}</TagSet></Tagging>`

test('a bucket without tags answers 404 NoSuchTagSet', async () => {
  expect(await failure(client.send(new GetBucketTaggingCommand({ Bucket: bucket })))).toMatchObject({ code: 'NoSuchTagSet', status: 404 })
})

test('tags come back as they were put, in their order; a put replaces all of them', async () => {
  const TagSet = [{ Key: 'zeta', Value: '1' }, { Key: 'alpha', Value: 'ä ö + - = . _ : / @' }, { Key: '日本', Value: '' }]
  expect((await client.send(new PutBucketTaggingCommand({ Bucket: bucket, Tagging: { TagSet } }))).$metadata.httpStatusCode).toBe(204)
  expect((await client.send(new GetBucketTaggingCommand({ Bucket: bucket }))).TagSet).toEqual(TagSet)
  await client.send(new PutBucketTaggingCommand({ Bucket: bucket, Tagging: { TagSet: [{ Key: 'one', Value: 'left' }] } }))
  expect((await client.send(new GetBucketTaggingCommand({ Bucket: bucket }))).TagSet).toEqual([{ Key: 'one', Value: 'left' }])
})

test('50 tags with keys of 128 and values of 256 characters are stored', async () => {
  const TagSet = Array.from({ length: 50 }, (_, i) => ({ Key: `${i}`.padEnd(128, 'k'), Value: 'v'.repeat(256) }))
  await client.send(new PutBucketTaggingCommand({ Bucket: bucket, Tagging: { TagSet } }))
  expect((await client.send(new GetBucketTaggingCommand({ Bucket: bucket }))).TagSet).toEqual(TagSet)
})

test('deleting answers 204 also when there is nothing to delete', async () => {
  await send('PUT', '?tagging', { body: tagging([['a', 'b']]) })
  for (let i = 0; i < 2; i++) expect((await client.send(new DeleteBucketTaggingCommand({ Bucket: bucket }))).$metadata.httpStatusCode).toBe(204)
  expect(outcome(await send('GET', '?tagging'))).toBe('404 NoSuchTagSet')
})

test.each([
  ['51 tags', Array.from({ length: 51 }, (_, i) => [`k${i}`, 'v'] as const), '400 BadRequest'],
  ['a key twice', [['a', '1'], ['a', '2']] as const, '400 InvalidTag'],
  ['an empty key', [['', '1']] as const, '400 InvalidTag'],
  ['a key of 129 characters', [['k'.repeat(129), '1']] as const, '400 InvalidTag'],
  ['a value of 257 characters', [['k', 'v'.repeat(257)]] as const, '400 InvalidTag'],
  ['a key in the name space of AWS', [['aws:k', '1']] as const, '400 InvalidTag'],
  ['a character outside the set', [['k', '&lt;']] as const, '400 InvalidTag'],
])('%s is refused and the old tags stay', async (_what, tags, expected) => {
  await send('PUT', '?tagging', { body: tagging([['old', '1']]) })
  expect(outcome(await send('PUT', '?tagging', { body: tagging(tags) }))).toBe(expected)
  expect((await send('GET', '?tagging')).text).toContain('<Key>old</Key>')
})

test.each(['', '<Tagging/>', '<Tagging><TagSet/><TagSet/></Tagging>', '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', '<TagSet/>', '<!DOCTYPE x><Tagging><TagSet/></Tagging>'])('a document that is none (%j) answers 400', async (body) => {
  expect(outcome(await send('PUT', '?tagging', { body }))).toMatch(/^400 (MalformedXML|MissingRequestBodyError)$/)
  expect(outcome(await send('GET', '?tagging'))).toBe('404 NoSuchTagSet')
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  const missing = bucketSender(server, bucketName())
  for (const [method, body] of [['GET', undefined], ['PUT', tagging([['a', 'b']])], ['DELETE', undefined]] as const) {
    expect(outcome(await missing(method, '?tagging', body === undefined ? {} : { body }))).toBe('404 NoSuchBucket')
  }
})
