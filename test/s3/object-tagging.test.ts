import { DeleteObjectTaggingCommand, GetObjectTaggingCommand, PutObjectTaggingCommand } from '@aws-sdk/client-s3'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { xmlTexts } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})
beforeEach(async () => {
  await send('PUT', 'k', { body: 'hello', headers: { 'x-amz-meta-a': '1' } })
})

const tagging = (tags: readonly (readonly [string, string])[]): string =>
  `<Tagging><TagSet>${tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`).join('')}</TagSet></Tagging>`

test('tags are put, read and deleted; bytes, metadata, ETag and time of the object stay', async () => {
  const before = await send('HEAD', 'k')
  const TagSet = [{ Key: 'project', Value: 'X 1' }, { Key: 'größe', Value: '+-=._:/@' }, { Key: 'empty', Value: '' }]
  await client.send(new PutObjectTaggingCommand({ Bucket: bucket, Key: 'k', Tagging: { TagSet } }))
  expect((await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: 'k' }))).TagSet).toEqual(TagSet)
  const after = await send('GET', 'k')
  expect(after.text).toBe('hello')
  expect(after.headers['x-amz-tagging-count']).toBe('3')
  for (const name of ['etag', 'last-modified', 'x-amz-meta-a']) expect(after.headers[name]).toBe(before.headers[name])
  await client.send(new DeleteObjectTaggingCommand({ Bucket: bucket, Key: 'k' }))
  expect((await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: 'k' }))).TagSet).toEqual([])
  expect((await send('HEAD', 'k')).headers).not.toHaveProperty('x-amz-tagging-count')
})

test('a put replaces the whole set, an empty one empties it', async () => {
  await send('PUT', 'k?tagging', { body: tagging([['a', '1'], ['b', '2']]) })
  await send('PUT', 'k?tagging', { body: tagging([['c', '3']]) })
  expect(xmlTexts((await send('GET', 'k?tagging')).text, 'Key')).toEqual(['c'])
  expect((await send('PUT', 'k?tagging', { body: tagging([]) })).status).toBe(200)
  expect(xmlTexts((await send('GET', 'k?tagging')).text, 'Key')).toEqual([])
})

test('the statuses are 200, 200 and 204, and an object without tags has an empty set', async () => {
  const get = await send('GET', 'k?tagging')
  expect(get.status).toBe(200)
  expect(get.text).toContain('xmlns="http://s3.amazonaws.com/doc/2006-03-01/"')
  expect(get.text).toMatch(/<TagSet(\/>|><\/TagSet>)/)
  expect((await send('PUT', 'k?tagging', { body: tagging([['a', '1']]) })).status).toBe(200)
  const deleted = await send('DELETE', 'k?tagging')
  expect(deleted.status).toBe(204)
  expect(deleted.body.length).toBe(0)
  expect((await send('DELETE', 'k?tagging')).status).toBe(204)
})

test.each([
  ['eleven tags', tagging(Array.from({ length: 11 }, (_, i) => [`k${i}`, 'v'] as const)), '400 BadRequest'],
  ['a key twice', tagging([['a', '1'], ['a', '2']]), '400 InvalidTag'],
  ['an empty key', tagging([['', '1']]), '400 InvalidTag'],
  ['a key of 129 characters', tagging([['k'.repeat(129), '1']]), '400 InvalidTag'],
  ['a value of 257 characters', tagging([['k', 'v'.repeat(257)]]), '400 InvalidTag'],
  ['a key that begins with aws:', tagging([['aws:k', '1']]), '400 InvalidTag'],
  ['a character outside the set', tagging([['k', '{}']]), '400 InvalidTag'],
  ['no TagSet', '<Tagging></Tagging>', '400 MalformedXML'],
  ['a tag without a value', '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', '400 MalformedXML'],
  ['another root', '<Tags><TagSet></TagSet></Tags>', '400 MalformedXML'],
  ['no XML', 'a=1', '400 MalformedXML'],
])('%s is refused and the old tags stay', async (_what, body, expected) => {
  await send('PUT', 'k?tagging', { body: tagging([['old', '1']]) })
  expect(outcome(await send('PUT', 'k?tagging', { body }))).toBe(expected)
  expect(xmlTexts((await send('GET', 'k?tagging')).text, 'Key')).toEqual(['old'])
})

test('the limits themselves are allowed: ten tags, 128 and 256 characters', async () => {
  const tags = Array.from({ length: 10 }, (_, i) => [`${i}${'k'.repeat(127)}`, 'ü'.repeat(256)] as const)
  expect((await send('PUT', 'k?tagging', { body: tagging(tags) })).status).toBe(200)
  expect(xmlTexts((await send('GET', 'k?tagging')).text, 'Key')).toHaveLength(10)
})

test('a missing key answers 404 NoSuchKey to all three', async () => {
  expect(outcome(await send('GET', 'missing?tagging'))).toBe('404 NoSuchKey')
  expect(outcome(await send('PUT', 'missing?tagging', { body: tagging([]) }))).toBe('404 NoSuchKey')
  expect(outcome(await send('DELETE', 'missing?tagging'))).toBe('404 NoSuchKey')
})

test('versions have tags of their own; delete markers have none', async () => {
  const versioned = await newBucket(client, 'Enabled')
  const sendVersioned = bucketSender(server, versioned)
  const versionOf = async (body: string): Promise<string> => (await sendVersioned('PUT', 'k', { body })).headers['x-amz-version-id'] ?? ''
  const old = await versionOf('old')
  const current = await versionOf('new')
  const put = await sendVersioned('PUT', `k?tagging&versionId=${old}`, { body: tagging([['which', 'old']]) })
  expect(put.headers['x-amz-version-id']).toBe(old)
  expect((await sendVersioned('PUT', 'k?tagging', { body: tagging([['which', 'new']]) })).headers['x-amz-version-id']).toBe(current)
  expect(xmlTexts((await sendVersioned('GET', `k?tagging&versionId=${old}`)).text, 'Value')).toEqual(['old'])
  expect(xmlTexts((await sendVersioned('GET', 'k?tagging')).text, 'Value')).toEqual(['new'])
  expect((await sendVersioned('DELETE', `k?tagging&versionId=${old}`)).headers['x-amz-version-id']).toBe(old)
  expect(xmlTexts((await sendVersioned('GET', `k?tagging&versionId=${old}`)).text, 'Value')).toEqual([])
  expect(xmlTexts((await sendVersioned('GET', 'k?tagging')).text, 'Value')).toEqual(['new'])

  const marker = (await sendVersioned('DELETE', 'k')).headers['x-amz-version-id'] ?? ''
  expect((await sendVersioned('PUT', 'k?tagging', { body: tagging([['a', '1']]) })).status).toBeOneOf([404, 405])
  expect((await sendVersioned('GET', 'k?tagging')).status).toBeOneOf([404, 405])
  expect(outcome(await sendVersioned('PUT', `k?tagging&versionId=${marker}`, { body: tagging([['a', '1']]) }))).toBe('405 MethodNotAllowed')
  expect(outcome(await sendVersioned('GET', `k?tagging&versionId=${marker}`))).toBe('405 MethodNotAllowed')
  expect(outcome(await sendVersioned('GET', 'k?tagging&versionId=x'))).toBe('400 InvalidArgument')
})
