import { ListObjectsCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { anyDelimiter, anyText, entriesOf, naiveEntries, oddKeys, rowsOf, urlDecoded, type Entry, type Question } from '../support/listing-model.ts'
import { xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, keyPath, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await Promise.all(oddKeys.map((key) => send('PUT', keyPath(key), { body: 'x' })))
})

/** Pages as a client of the first version walks: by NextMarker, and by the last key where there is none. */
async function allPages(question: Question, limit: number): Promise<Entry[]> {
  const entries: Entry[] = []
  for (let marker = question.after; ;) {
    const parameters = { prefix: question.prefix, marker, 'max-keys': String(limit), 'encoding-type': 'url', ...(question.delimiter === '' ? {} : { delimiter: question.delimiter }) }
    const { text, status } = await send('GET', `?${Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`)
    expect(status).toBe(200)
    expect(urlDecoded(xmlText(text, 'Marker') ?? '')).toBe(marker)
    const page = entriesOf(text, 'Contents', urlDecoded)
    expect(page.length).toBeLessThanOrEqual(limit)
    entries.push(...page)
    const next = xmlText(text, 'NextMarker')
    if (xmlText(text, 'IsTruncated') !== 'true') {
      expect(next).toBeUndefined()
      return entries
    }
    // S3 sends NextMarker only with a delimiter; else the last key is the marker.
    expect(next !== undefined).toBe(question.delimiter !== '')
    marker = next === undefined ? page.at(-1)?.name ?? '' : urlDecoded(next)
    expect(marker).toBe(page.at(-1)?.name)
  }
}

test('every prefix, delimiter, marker and page size gives each key and common prefix exactly once, in UTF-8 byte order', async () => {
  const question = fc.record({ prefix: fc.oneof(fc.constant(''), anyText, fc.constantFrom('a', 'a/', 'dir')), delimiter: anyDelimiter, after: fc.oneof(fc.constant(''), anyText, fc.constantFrom(...oddKeys)) })
  await fc.assert(fc.asyncProperty(question, fc.constantFrom(1, 2, 5, 50, 1000), async (asked, limit) => {
    expect(await allPages(asked, limit)).toEqual(naiveEntries(oddKeys, asked))
  }), { numRuns: 100 })
})

test('each row has its owner; the document has what was asked', async () => {
  const { text, headers } = await send('GET', '?prefix=dir&max-keys=2')
  expect(headers['content-type']).toBe('application/xml')
  expect([xmlText(text, 'Name'), xmlText(text, 'Prefix'), xmlText(text, 'Marker'), xmlText(text, 'MaxKeys'), xmlText(text, 'IsTruncated')]).toEqual([bucket, 'dir', '', '2', 'true'])
  for (const row of rowsOf(text, 'Contents')) expect(xmlText(row, 'ID')).toMatch(/^[0-9a-f]{64}$/)
  expect(text).not.toContain('KeyCount')
})

test('the SDK reads keys and common prefixes', async () => {
  const listed = await client.send(new ListObjectsCommand({ Bucket: bucket, Prefix: 'a/', Delimiter: '/', EncodingType: 'url' }))
  expect(listed.Contents?.map((object) => object.Key)).toEqual(['a/', 'a/b'])
  expect(listed.CommonPrefixes?.map((entry) => entry.Prefix)).toEqual(['a/../', 'a//', 'a/b/'].sort())
})

test('without encoding-type a character that XML has no place for comes as a reference', async () => {
  const { text } = await send('GET', '?prefix=%01')
  expect(text).toContain('<Key>&#1;</Key>')
  expect(xmlTexts((await send('GET', '?prefix=%3C')).text, 'Key')).toEqual(['<a>'])
})

test('max-keys=0 is an empty page that is not truncated', async () => {
  const { text } = await send('GET', '?max-keys=0')
  expect([xmlTexts(text, 'Key'), xmlText(text, 'IsTruncated'), xmlText(text, 'MaxKeys')]).toEqual([[], 'false', '0'])
})

test.each(['max-keys=-1', 'max-keys=x', 'max-keys=2147483648', 'encoding-type=base64'])('%s answers 400 InvalidArgument', async (query) => {
  expect(outcome(await send('GET', `?${query}`))).toBe('400 InvalidArgument')
})

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await bucketSender(server, bucketName())('GET', ''))).toBe('404 NoSuchBucket')
})
