import { CreateBucketCommand, HeadBucketCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { signedRequest, xmlText, type RawResponse } from '../support/raw.ts'
import { bucketName, failure, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)

const create = (name: string, options: { body?: string; headers?: Record<string, string> } = {}): Promise<RawResponse> =>
  signedRequest({ server, method: 'PUT', path: `/${name}`, ...options })
const head = async (name: string): Promise<number> => (await signedRequest({ server, method: 'HEAD', path: `/${name}` })).status
const located = (constraint: string): string => `<CreateBucketConfiguration><LocationConstraint>${constraint}</LocationConstraint></CreateBucketConfiguration>`

test('a new bucket answers 200 with its path as Location and is there at once', async () => {
  const name = bucketName()
  const made = await create(name)
  expect(made.status).toBe(200)
  expect(made.headers['location']).toBe(`/${name}`)
  expect(made.text).toBe('')
  expect(await head(name)).toBe(200)
  await client.send(new HeadBucketCommand({ Bucket: name }))
})

test('the path of a bucket may end in a slash', async () => {
  const name = bucketName()
  expect((await create(`${name}/`)).status).toBe(200)
  expect(await head(name)).toBe(200)
})

test('a bucket that is ours already answers 409 BucketAlreadyOwnedByYou and keeps its objects', async () => {
  const name = bucketName()
  await create(name)
  await signedRequest({ server, method: 'PUT', path: `/${name}/k`, body: 'kept' })
  const again = await create(name)
  expect(outcome(again)).toBe('409 BucketAlreadyOwnedByYou')
  expect(xmlText(again.text, 'BucketName')).toBe(name)
  expect((await signedRequest({ server, path: `/${name}/k` })).text).toBe('kept')
  expect(await failure(client.send(new CreateBucketCommand({ Bucket: name })))).toMatchObject({ code: 'BucketAlreadyOwnedByYou', status: 409 })
})

test('many creates of one name at once make it once', async () => {
  const name = bucketName()
  const answers = await Promise.all(Array.from({ length: 12 }, () => create(name)))
  expect(answers.map(outcome).sort()).toEqual(['200', ...Array.from({ length: 11 }, () => '409 BucketAlreadyOwnedByYou')])
})

/** Source: Amazon S3 user guide, "General purpose bucket naming rules". */
describe('names', () => {
  test.each([
    'ab', 'a'.repeat(64), 'Upper-case', 'under_score', '-starts-with-hyphen', 'ends-with-hyphen-', '.starts-with-dot', 'ends-with-dot.', 'two..dots', '192.168.5.4',
    'xn--prefix', 'sthree-prefix', 'amzn-s3-demo-prefix', 'name-s3alias', 'name--ol-s3', 'name.mrap', 'name--x-s3', 'name--table-s3', 'sp%20ace', 'b%C3%BCcket', 'new%0Aline',
  ])('%s is refused with 400 InvalidBucketName', async (name) => {
    expect(outcome(await create(name))).toBe('400 InvalidBucketName')
  })

  test.each(['dots.in.name', '0digits9', 'a--b', 'a.-b', '1.2.3.4.5', '256.a.1.1'])('%s behind a name of its own is allowed', async (part) => {
    const name = `${bucketName()}.${part}`
    expect(outcome(await create(name))).toBe('200')
    expect(await head(name)).toBe(200)
  })

  test('3 and 63 characters are allowed', async () => {
    // A short name is no secret among test runs on one server: it may be there already.
    expect(['200', '409 BucketAlreadyOwnedByYou']).toContain(outcome(await create(bucketName().slice(-3).replace('-', 'a'))))
    expect(outcome(await create(bucketName().padEnd(63, 'x')))).toBe('200')
  })
})

describe('LocationConstraint', () => {
  test.each([
    ['the region of the server', located('us-east-1')],
    ['an empty constraint', located('')],
    ['an empty configuration', '<CreateBucketConfiguration/>'],
    ['the namespace', '<?xml version="1.0" encoding="UTF-8"?><CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>'],
    ['a BOM and CDATA', '\ufeff<CreateBucketConfiguration><LocationConstraint><![CDATA[us-east-1]]></LocationConstraint></CreateBucketConfiguration>'],
  ])('%s is accepted', async (_what, body) => {
    expect(outcome(await create(bucketName(), { body }))).toBe('200')
  })

  test('of another region answers 400 IllegalLocationConstraintException and makes nothing', async () => {
    const name = bucketName()
    expect(outcome(await create(name, { body: located('eu-west-1') }))).toBe('400 IllegalLocationConstraintException')
    expect(outcome(await create(name, { body: located('EU') }))).toBe('400 IllegalLocationConstraintException')
    expect(await head(name)).toBe(404)
  })

  test('that is no region answers 400 InvalidLocationConstraint and makes nothing', async () => {
    const name = bucketName()
    expect(outcome(await create(name, { body: located('nowhere') }))).toBe('400 InvalidLocationConstraint')
    expect(await head(name)).toBe(404)
  })

  test.each(['<CreateBucketConfiguration>', 'text', '<Other/>', '<CreateBucketConfiguration><LocationConstraint>us-east-1</CreateBucketConfiguration>'])('in a malformed document (%s) answers 400 MalformedXML', async (body) => {
    const name = bucketName()
    expect(outcome(await create(name, { body }))).toBe('400 MalformedXML')
    expect(await head(name)).toBe(404)
  })
})

describe('what a bucket cannot have yet is refused by name', () => {
  test.each([
    ['x-amz-bucket-object-lock-enabled', 'true'], ['x-amz-object-ownership', 'ObjectWriter'], ['x-amz-object-ownership', 'BucketOwnerPreferred'], ['x-amz-acl', 'public-read'],
    ['x-amz-acl', 'authenticated-read'], ['x-amz-grant-full-control', 'id=1'], ['x-amz-grant-write-acp', 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'],
  ])('%s: %s', async (header, value) => {
    const name = bucketName()
    const made = await create(name, { headers: { [header]: value } })
    expect(outcome(made)).toBe('501 NotImplemented')
    expect(made.text).toContain(header)
    expect(await head(name)).toBe(404)
  })

  test('directory buckets', async () => {
    const name = bucketName()
    const body = '<CreateBucketConfiguration><Location><Type>AvailabilityZone</Type><Name>use1-az4</Name></Location><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>'
    expect(outcome(await create(name, { body }))).toBe('501 NotImplemented')
    expect(await head(name)).toBe(404)
  })

  test('while headers that ask for what is so anyway are accepted', async () => {
    const headers = { 'x-amz-acl': 'private', 'x-amz-object-ownership': 'BucketOwnerEnforced', 'x-amz-bucket-object-lock-enabled': 'false' }
    expect(outcome(await create(bucketName(), { headers }))).toBe('200')
  })
})

test('tags in the configuration are the tags of the bucket', async () => {
  const name = bucketName()
  expect(outcome(await create(name, { body: '<CreateBucketConfiguration><Tags><Tag><Key>team</Key><Value>red</Value></Tag></Tags></CreateBucketConfiguration>' }))).toBe('200')
  expect((await signedRequest({ server, path: `/${name}?tagging` })).text).toContain('<Tag><Key>team</Key><Value>red</Value></Tag>')
})
