import { randomBytes } from 'node:crypto'
import { ListObjectsV2Command, paginateListObjectsV2 } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { anyDelimiter, anyKey, anyText, compareKeys, entriesOf, naiveEntries, oddKeys, rowsOf, urlDecoded, type Entry, type Question } from '../support/listing-model.ts'
import { xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, keyPath, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)

type Send = ReturnType<typeof bucketSender>

async function bucketOf(keys: readonly string[]): Promise<{ bucket: string; send: Send }> {
  const bucket = await newBucket(client)
  const send = bucketSender(server, bucket)
  const queue = [...keys]
  await Promise.all(Array.from({ length: 32 }, async () => {
    for (let key = queue.pop(); key !== undefined; key = queue.pop()) expect((await send('PUT', keyPath(key), { body: key.slice(0, 9) })).status).toBe(200)
  }))
  return { bucket, send }
}

const queryOf = (parameters: Readonly<Record<string, string>>): string => Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')

/** All pages of one question, with what every page must hold. */
async function allPages(send: Send, question: Question, limit: number, encoded: boolean): Promise<Entry[]> {
  const entries: Entry[] = []
  const decode = encoded ? urlDecoded : (text: string): string => text
  for (let token: string | undefined, pages = 0; ; pages++) {
    const { text, status } = await send('GET', `?${queryOf({
      'list-type': '2', prefix: question.prefix, 'max-keys': String(limit), ...(question.delimiter === '' ? {} : { delimiter: question.delimiter }),
      ...(question.after === '' ? {} : { 'start-after': question.after }), ...(encoded ? { 'encoding-type': 'url' } : {}), ...(token === undefined ? {} : { 'continuation-token': token }),
    })}`)
    expect(status).toBe(200)
    const page = entriesOf(text, 'Contents', decode)
    expect(page.length).toBeLessThanOrEqual(Math.min(limit, 1000))
    expect(xmlText(text, 'KeyCount')).toBe(String(page.length))
    entries.push(...page)
    const truncated = xmlText(text, 'IsTruncated') === 'true'
    token = xmlText(text, 'NextContinuationToken')
    expect(token !== undefined).toBe(truncated)
    if (!truncated) return entries
    expect(page.length).toBeGreaterThan(0)
    expect(pages).toBeLessThan(2000)
  }
}

describe('against a naive model', () => {
  let odd: Send
  beforeAll(async () => {
    odd = (await bucketOf(oddKeys)).send
  })

  test('odd keys: every prefix, delimiter, start and page size gives each key and common prefix exactly once, in UTF-8 byte order', async () => {
    const question = fc.record({ prefix: fc.oneof(fc.constant(''), anyText, fc.constantFrom('a', 'a/', 'dir', '\u{10ffff}')), delimiter: anyDelimiter, after: fc.oneof(fc.constant(''), anyText, fc.constantFrom(...oddKeys)) })
    await fc.assert(fc.asyncProperty(question, fc.constantFrom(1, 2, 3, 7, 50, 999, 1000), fc.boolean(), async (asked, limit, encoded) => {
      expect(await allPages(odd, asked, limit, encoded)).toEqual(naiveEntries(oddKeys, asked))
    }), { numRuns: 150 })
  })

  test('random buckets', async () => {
    const question = fc.record({ prefix: anyText, delimiter: anyDelimiter, after: fc.oneof(fc.constant(''), anyText, anyKey) })
    await fc.assert(fc.asyncProperty(fc.uniqueArray(anyKey, { maxLength: 40 }), fc.array(fc.tuple(question, fc.integer({ min: 1, max: 12 })), { minLength: 10, maxLength: 10 }), async (keys, asked) => {
      const { send } = await bucketOf(keys)
      for (const [one, limit] of asked) expect(await allPages(send, one, limit, true)).toEqual(naiveEntries(keys, one))
    }), { numRuns: 15 })
  })
})

describe('more than one page of a thousand', () => {
  const keys = Array.from({ length: 1205 }, (_, i) => `k${String(i).padStart(4, '0')}`)
  let bucket: string
  let send: Send
  beforeAll(async () => {
    ({ bucket, send } = await bucketOf(keys))
  })

  test.each([['0', 0], ['1', 1], ['999', 999], ['1000', 1000], ['1001', 1000], ['2147483647', 1000], ['', 1000]])('max-keys=%s gives %i keys', async (asked, count) => {
    const { text } = await send('GET', `?list-type=2&max-keys=${asked}`)
    expect(xmlTexts(text, 'Key')).toEqual(keys.slice(0, count))
    expect(xmlText(text, 'KeyCount')).toBe(String(count))
    expect(xmlText(text, 'MaxKeys')).toBe(String(count))
    expect(xmlText(text, 'IsTruncated')).toBe(String(count > 0))
  })

  test('the SDK pages through all of them', async () => {
    const found: (string | undefined)[] = []
    for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket })) found.push(...(page.Contents ?? []).map((object) => object.Key))
    expect(found).toEqual(keys)
  })

  test('pages of many clients that ask at once are all there, as are those of versions and prefixes beside them', async () => {
    const asked = Array.from({ length: 30 }, (_, index) => ['?list-type=2', '?versions', '?list-type=2&delimiter=1'][index % 3] ?? '')
    const answers = await Promise.all(asked.map((query) => send('GET', query)))
    for (const [index, { text }] of answers.entries()) {
      const found = index % 3 === 2 ? keys.filter((key) => !key.includes('1')).slice(0, 1000) : keys.slice(0, 1000)
      expect(xmlTexts(text, 'Key')).toEqual(found)
    }
  })

  test('a page that ends with the last key is not truncated', async () => {
    const { text } = await send('GET', '?list-type=2&start-after=k0204')
    expect(xmlTexts(text, 'Key')).toEqual(keys.slice(205))
    expect(xmlText(text, 'IsTruncated')).toBe('false')
    expect(xmlText(text, 'NextContinuationToken')).toBeUndefined()
  })
})

test('a row has key, time, ETag, size, class and checksum; the head has what was asked', async () => {
  const { bucket, send } = await bucketOf([])
  await send('PUT', 'dir/a', { body: 'hello' })
  const { text, headers } = await send('GET', '?list-type=2&prefix=dir%2F&delimiter=%2F&start-after=dir%2F&encoding-type=url')
  expect(headers['content-type']).toBe('application/xml')
  expect(headers['x-amz-bucket-region']).toBe('us-east-1')
  expect(text).toContain('<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
  expect([xmlText(text, 'Name'), xmlText(text, 'Prefix'), xmlText(text, 'Delimiter'), xmlText(text, 'StartAfter'), xmlText(text, 'EncodingType')]).toEqual([bucket, 'dir/', '/', 'dir/', 'url'])
  const [row = ''] = rowsOf(text, 'Contents')
  expect(xmlText(row, 'ETag')).toBe('"5d41402abc4b2a76b9719d911017c592"')
  expect(xmlText(row, 'Size')).toBe('5')
  expect(xmlText(row, 'StorageClass')).toBe('STANDARD')
  expect(xmlText(row, 'ChecksumAlgorithm')).toBe('CRC64NVME')
  expect(xmlText(row, 'ChecksumType')).toBe('FULL_OBJECT')
  expect(xmlText(row, 'LastModified')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})

test('the owner is in the rows only when fetch-owner asks', async () => {
  const { bucket } = await bucketOf(['k'])
  const plain = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  expect(plain.Contents?.[0]?.Owner).toBeUndefined()
  const owned = await client.send(new ListObjectsV2Command({ Bucket: bucket, FetchOwner: true }))
  expect(owned.Contents?.[0]?.Owner?.ID).toMatch(/^[0-9a-f]{64}$/)
})

test('a key that equals the prefix is a key, not a common prefix', async () => {
  const { send } = await bucketOf(['a/', 'a/b', 'a/c/d'])
  const { text } = await send('GET', '?list-type=2&prefix=a%2F&delimiter=%2F')
  expect(entriesOf(text, 'Contents', (name) => name)).toEqual([{ name: 'a/', isPrefix: false }, { name: 'a/b', isPrefix: false }, { name: 'a/c/', isPrefix: true }])
})

test('tokens survive deletes: of the keys listed, of the key they stand on, and of those to come', async () => {
  const keys = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, '0')}`)
  const { send } = await bucketOf(keys)
  const first = await send('GET', '?list-type=2&max-keys=5')
  const token = encodeURIComponent(xmlText(first.text, 'NextContinuationToken') ?? '')
  for (const key of ['k01', 'k04', 'k05', 'k07']) await send('DELETE', key)
  await send('PUT', 'k04a', { body: 'x' })
  const rest = await send('GET', `?list-type=2&continuation-token=${token}`)
  expect(xmlTexts(rest.text, 'Key')).toEqual(['k04a', 'k06', ...keys.slice(8)])
  expect(urlDecoded(encodeURIComponent(xmlText(rest.text, 'ContinuationToken') ?? ''))).toBe(decodeURIComponent(token))
})

test('a token says where to go on, whatever start-after says beside it', async () => {
  const { send } = await bucketOf(['a', 'b', 'c', 'd'])
  const token = encodeURIComponent(xmlText((await send('GET', '?list-type=2&max-keys=2')).text, 'NextContinuationToken') ?? '')
  expect(xmlTexts((await send('GET', `?list-type=2&start-after=a&continuation-token=${token}`)).text, 'Key')).toEqual(['c', 'd'])
})

test('a put is in the next list, a delete is not, overwritten keys are there once', async () => {
  const { send } = await bucketOf([])
  for (let round = 0; round < 20; round++) {
    const key = randomBytes(4).toString('hex')
    await send('PUT', key, { body: 'x' })
    await send('PUT', key, { body: 'y' })
    expect(xmlTexts((await send('GET', `?list-type=2&prefix=${key}`)).text, 'Key')).toEqual([key])
    await send('DELETE', key)
    expect(xmlTexts((await send('GET', `?list-type=2&prefix=${key}`)).text, 'Key')).toEqual([])
  }
})

test('keys below a delete marker are not listed', async () => {
  const bucket = await newBucket(client, 'Enabled')
  const send = bucketSender(server, bucket)
  for (const key of ['a', 'b/x', 'b/y', 'c']) await send('PUT', keyPath(key), { body: 'x' })
  for (const key of ['a', 'b/x', 'b/y']) await send('DELETE', keyPath(key))
  const { text } = await send('GET', '?list-type=2&delimiter=%2F&max-keys=1')
  expect(entriesOf(text, 'Contents', (name) => name)).toEqual([{ name: 'c', isPrefix: false }])
  expect(xmlText(text, 'IsTruncated')).toBe('false')
})

test('while keys come and go, a walk gives each key that stays exactly once', async () => {
  const stays = Array.from({ length: 60 }, (_, i) => `k${String(i).padStart(2, '0')}`)
  const { send } = await bucketOf(stays)
  let walking = true
  const churn = (async () => {
    for (let i = 0; walking; i++) {
      await send('PUT', `${stays[i % 60]}-${i}`, { body: 'x' })
      await send('DELETE', `${stays[i % 60]}-${i}`)
    }
  })()
  for (let walk = 0; walk < 3; walk++) {
    const found = (await allPages(send, { prefix: '', delimiter: '', after: '' }, 4, false)).map((entry) => entry.name)
    expect([...found].sort(compareKeys)).toEqual(found)
    expect(found.filter((name) => !name.includes('-'))).toEqual(stays)
  }
  walking = false
  await churn
})

const token = (text: string): string => `continuation-token=${Buffer.from(text).toString('base64url')}`

test.each([
  'max-keys=-1', 'max-keys=x', 'max-keys=1.5', 'max-keys=2147483648', 'max-keys=99999999999999999999', 'encoding-type=xml', 'encoding-type=URL',
  'continuation-token=', 'continuation-token=x', 'continuation-token=%F0%9F%98%80', token('2:a'), token('1:\0'), token('1:a\0b'), 'continuation-token=MTr_',
])('%s answers 400 InvalidArgument', async (query) => {
  const { send } = await bucketOf([])
  expect(outcome(await send('GET', `?list-type=2&${query}`))).toBe('400 InvalidArgument')
})

test('NUL in a parameter is no text of a key: 400', async () => {
  const { send } = await bucketOf([])
  for (const name of ['prefix', 'delimiter', 'start-after']) expect((await send('GET', `?list-type=2&${name}=a%00`)).status).toBe(400)
})

test('very long parameters find nothing and harm nothing', async () => {
  const { send } = await bucketOf(['k'])
  const long = '%F4%8F%BF%BF'.repeat(400)
  for (const name of ['prefix', 'start-after']) {
    const { status, text } = await send('GET', `?list-type=2&${name}=${long}`)
    expect([status, xmlText(text, 'KeyCount')]).toEqual([200, '0'])
  }
  expect(xmlText((await send('GET', `?list-type=2&delimiter=${long}`)).text, 'KeyCount')).toBe('1')
})

test('a bucket that does not exist, or is expected to be of another account, is refused', async () => {
  expect(outcome(await bucketSender(server, bucketName())('GET', '?list-type=2'))).toBe('404 NoSuchBucket')
  const { send } = await bucketOf([])
  expect(outcome(await send('GET', '?list-type=2', { headers: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
})
