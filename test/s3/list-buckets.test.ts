import { ListBucketsCommand, paginateListBuckets } from '@aws-sdk/client-s3'
import { beforeAll, expect, test } from 'vitest'
import { signedRequest, xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketName, failure, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const prefix = bucketName()
/** In the order of the list: by bytes, so that a hyphen comes before a dot before a digit before a letter. */
const names = ['-a', '-b', '.c', '0', '1', 'x', 'xy', 'z'].map((end) => `${prefix}${end}`)

const list = (query: string): Promise<RawResponse> => signedRequest({ server, path: `/?${query}` })

beforeAll(async () => {
  await Promise.all(names.map((name) => signedRequest({ server, method: 'PUT', path: `/${name}` })))
})

test('buckets come by name with a creation date and their region; the list names its owner', async () => {
  const { text, status, headers } = await list(`prefix=${prefix}`)
  expect(status).toBe(200)
  expect(headers['content-type']).toBe('application/xml')
  expect(text).toContain('<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
  expect(xmlTexts(text, 'Name')).toEqual(names)
  expect(xmlTexts(text, 'BucketRegion')).toEqual(names.map(() => 'us-east-1'))
  for (const date of xmlTexts(text, 'CreationDate')) expect(date).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  expect(xmlText(text, 'ID')).toMatch(/^[0-9a-f]{64}$/)
  expect(xmlText(text, 'Prefix')).toBe(prefix)
  expect(xmlText(text, 'ContinuationToken')).toBeUndefined()
})

test('without a query all buckets are there, as the SDK reads them', async () => {
  const all = await client.send(new ListBucketsCommand({}))
  const found = (all.Buckets ?? []).map((bucket) => bucket.Name)
  expect(found).toEqual(expect.arrayContaining(names))
  expect(all.Prefix).toBeUndefined()
  expect((await list('prefix=')).status).toBe(200)
})

test.each([1, 2, 3, 7, 8, 9, 10_000])('pages of %i give each bucket once', async (size) => {
  const found: (string | undefined)[] = []
  let pages = 0
  for await (const page of paginateListBuckets({ client, pageSize: size }, { Prefix: prefix })) {
    expect(page.Buckets?.length ?? 0).toBeLessThanOrEqual(size)
    found.push(...(page.Buckets ?? []).map((bucket) => bucket.Name))
    pages++
  }
  expect(found).toEqual(names)
  expect(pages).toBe(Math.ceil(names.length / size))
})

test('a token survives the deletion of the bucket it stands on', async () => {
  const own = bucketName()
  const three = ['a', 'b', 'c'].map((end) => `${own}${end}`)
  for (const name of three) await signedRequest({ server, method: 'PUT', path: `/${name}` })
  const first = await list(`prefix=${own}&max-buckets=1`)
  const token = encodeURIComponent(xmlText(first.text, 'ContinuationToken') ?? '')
  await signedRequest({ server, method: 'DELETE', path: `/${three[0]}` })
  expect(xmlTexts((await list(`prefix=${own}&continuation-token=${token}`)).text, 'Name')).toEqual(three.slice(1))
})

test('a bucket that is gone leaves the list', async () => {
  const name = bucketName()
  await signedRequest({ server, method: 'PUT', path: `/${name}` })
  await signedRequest({ server, method: 'DELETE', path: `/${name}` })
  expect(xmlTexts((await list(`prefix=${name}`)).text, 'Name')).toEqual([])
})

test('bucket-region selects; another region has none', async () => {
  expect(xmlTexts((await list(`prefix=${prefix}&bucket-region=us-east-1`)).text, 'Name')).toEqual(names)
  expect(xmlTexts((await list(`prefix=${prefix}&bucket-region=eu-west-1`)).text, 'Name')).toEqual([])
})

test.each(['%25', '_', '%5C', '%F0%9F%98%80', '%F4%8F%BF%BF', 'UPPER', '~'])('a prefix that no name can have (%s) finds nothing', async (odd) => {
  const answer = await list(`prefix=${odd}`)
  expect(answer.status).toBe(200)
  expect(xmlTexts(answer.text, 'Name')).toEqual([])
})

test.each(['max-buckets=0', 'max-buckets=-1', 'max-buckets=10001', 'max-buckets=x', 'max-buckets=1.5', 'continuation-token=', 'continuation-token=x', 'continuation-token=MTo', 'continuation-token=MToA'])('%s answers 400 InvalidArgument', async (query) => {
  expect(outcome(await list(query))).toBe('400 InvalidArgument')
})

test('another method on the service answers 405 MethodNotAllowed', async () => {
  for (const method of ['PUT', 'POST', 'DELETE']) expect(outcome(await signedRequest({ server, method, path: '/' }))).toBe('405 MethodNotAllowed')
})

test('without a signature the list is refused', async () => {
  expect(outcome(await signedRequest({ server, path: '/', sign: 'none' }))).toBe('403 AccessDenied')
  const stranger = s3Client({ ...server, accessKeyId: 'NOBODY' })
  expect(await failure(stranger.send(new ListBucketsCommand({})))).toMatchObject({ code: 'InvalidAccessKeyId', status: 403 })
})
