import { ListObjectVersionsCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { anyDelimiter, anyText, compareKeys, naiveEntries, oddKeys, rowsOf, urlDecoded, type Question } from '../support/listing-model.ts'
import { xmlBlocks, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender, keyPath, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const rowNames = 'Version|DeleteMarker'

interface Made {
  readonly key: string
  readonly id: string
  readonly marker: boolean
}

let bucket: string
let send: ReturnType<typeof bucketSender>
/** By key, newest first, as the list must have them. */
const history = new Map<string, Made[]>()

beforeAll(async () => {
  bucket = await newBucket(client, 'Enabled')
  send = bucketSender(server, bucket)
  const keys = oddKeys.slice(0, 40)
  await Promise.all(keys.map(async (key, index) => {
    const made: Made[] = []
    for (let i = 0; i <= index % 4; i++) {
      const marker = (index + i) % 5 === 4
      const answer = await send(marker ? 'DELETE' : 'PUT', keyPath(key), marker ? {} : { body: 'x' })
      made.unshift({ key, id: answer.headers['x-amz-version-id'] ?? '', marker })
    }
    history.set(key, made)
  }))
})

interface Page {
  readonly rows: readonly string[]
  readonly prefixes: readonly string[]
  readonly nextKey: string | undefined
  readonly nextId: string | undefined
}

async function page(question: Question & { idMarker?: string }, limit: number): Promise<Page> {
  const parameters = {
    versions: '', prefix: question.prefix, 'max-keys': String(limit), 'encoding-type': 'url', ...(question.delimiter === '' ? {} : { delimiter: question.delimiter }),
    ...(question.after === '' ? {} : { 'key-marker': question.after }), ...(question.idMarker === undefined ? {} : { 'version-id-marker': question.idMarker }),
  }
  const { text, status } = await send('GET', `?${Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`)
  expect(status).toBe(200)
  const nextKey = xmlText(text, 'NextKeyMarker')
  expect(nextKey !== undefined).toBe(xmlText(text, 'IsTruncated') === 'true')
  return {
    rows: [...text.matchAll(new RegExp(`<(${rowNames})>([\\s\\S]*?)</\\1>`, 'g'))].map(([, kind, row = '']) => line({
      key: urlDecoded(xmlText(row, 'Key') ?? ''), id: xmlText(row, 'VersionId') ?? '', marker: kind === 'DeleteMarker',
    }, xmlText(row, 'IsLatest') === 'true')),
    prefixes: xmlBlocks(text, 'CommonPrefixes').map((block) => urlDecoded(xmlText(block, 'Prefix') ?? '')),
    nextKey: nextKey === undefined ? undefined : urlDecoded(nextKey), nextId: xmlText(text, 'NextVersionIdMarker'),
  }
}

const line = (made: Made, latest: boolean): string => JSON.stringify([made.key, made.id, made.marker, latest])

function naive(question: Question): { rows: string[]; prefixes: string[] } {
  const entries = naiveEntries(history.keys(), question)
  return {
    rows: entries.filter((entry) => !entry.isPrefix).flatMap(({ name }) => (history.get(name) ?? []).map((made, index) => line(made, index === 0))),
    prefixes: entries.filter((entry) => entry.isPrefix).map((entry) => entry.name),
  }
}

async function allPages(question: Question, limit: number): Promise<{ rows: string[]; prefixes: string[] }> {
  const rows: string[] = []
  const prefixes: string[] = []
  let at: Question & { idMarker?: string } = question
  for (;;) {
    const one = await page(at, limit)
    expect(one.rows.length + one.prefixes.length).toBeLessThanOrEqual(limit)
    rows.push(...one.rows)
    prefixes.push(...one.prefixes)
    if (one.nextKey === undefined) return { rows, prefixes }
    at = { ...question, after: one.nextKey, ...(one.nextId === undefined ? {} : { idMarker: one.nextId }) }
  }
}

describe('against a naive model', () => {
  test('every prefix, delimiter, key marker and page size gives each version exactly once: by key, newest first', async () => {
    const question = fc.record({ prefix: fc.oneof(fc.constant(''), anyText, fc.constantFrom('a', 'a/')), delimiter: anyDelimiter, after: fc.oneof(fc.constant(''), anyText, fc.constantFrom(...oddKeys)) })
    await fc.assert(fc.asyncProperty(question, fc.constantFrom(1, 2, 3, 7, 50, 1000), async (asked, limit) => {
      expect(await allPages(asked, limit)).toEqual(naive(asked))
    }), { numRuns: 100 })
  })

  test('a version id marker goes on inside its key, behind that version', async () => {
    for (const [key, made] of history) {
      for (const [index, one] of made.entries()) {
        const { rows } = await page({ prefix: key, delimiter: '', after: key, idMarker: one.id }, 1000)
        const rest = made.slice(index + 1).map((older) => line(older, false))
        expect(rows.slice(0, rest.length)).toEqual(rest)
        expect(rows.slice(rest.length).every((row) => compareKeys((JSON.parse(row) as string[])[0] ?? '', key) > 0)).toBe(true)
      }
    }
  })
})

test('a page whose read ends between two versions of a key, behind a common prefix that rolled up others, loses none', async () => {
  const own = bucketSender(server, await newBucket(client, 'Enabled'))
  for (const key of ['a/x', 'a/x', 'a/x', 'b', 'b', 'b', 'c']) await own('PUT', key, { body: 'x' })
  for (const limit of [1, 2, 3, 4, 5, 6]) {
    const { text } = await own('GET', `?versions&delimiter=%2F&max-keys=${limit}`)
    expect(rowsOf(text, rowNames).map((row) => xmlText(row, 'Key'))).toEqual(['b', 'b', 'b', 'c'].slice(0, limit - 1))
  }
})

test('a marker survives the deletion of the version it names', async () => {
  const own = bucketSender(server, await newBucket(client, 'Enabled'))
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.unshift((await own('PUT', 'k', { body: String(i) })).headers['x-amz-version-id'] ?? '')
  await own('DELETE', `k?versionId=${ids[1]}`)
  const { text } = await own('GET', `?versions&key-marker=k&version-id-marker=${ids[1]}`)
  const left = rowsOf(text, rowNames).map((row) => xmlText(row, 'VersionId'))
  // Where the named version is gone S3 promises no place: nothing that was listed before may come again.
  expect(left).not.toContain(ids[0])
  expect(left.every((id) => ids.slice(2).includes(id ?? ''))).toBe(true)
})

test('a row of a version has ETag, size, class, owner and checksum; a delete marker has none of the first three', async () => {
  const own = bucketSender(server, await newBucket(client, 'Enabled'))
  await own('PUT', 'k', { body: 'hello' })
  await own('DELETE', 'k')
  const { text } = await own('GET', '?versions')
  expect(text).toContain('<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
  const [marker = '', version = ''] = rowsOf(text, rowNames)
  expect([xmlText(marker, 'IsLatest'), xmlText(version, 'IsLatest')]).toEqual(['true', 'false'])
  expect([xmlText(version, 'ETag'), xmlText(version, 'Size'), xmlText(version, 'StorageClass'), xmlText(version, 'ChecksumAlgorithm')]).toEqual(['"5d41402abc4b2a76b9719d911017c592"', '5', 'STANDARD', 'CRC64NVME'])
  for (const name of ['ETag', 'Size', 'StorageClass']) expect(marker).not.toContain(name)
  for (const row of [marker, version]) expect(xmlText(row, 'ID')).toMatch(/^[0-9a-f]{64}$/)
})

test('objects from before versioning are listed as null', async () => {
  const Bucket = await newBucket(client)
  await bucketSender(server, Bucket)('PUT', 'k', { body: 'x' })
  const listed = await client.send(new ListObjectVersionsCommand({ Bucket }))
  expect(listed.Versions?.map(({ Key, VersionId, IsLatest }) => ({ Key, VersionId, IsLatest }))).toEqual([{ Key: 'k', VersionId: 'null', IsLatest: true }])
})

test('max-keys=0 is an empty page that is not truncated', async () => {
  expect(await page({ prefix: '', delimiter: '', after: '' }, 0)).toEqual({ rows: [], prefixes: [], nextKey: undefined, nextId: undefined })
})

test.each(['max-keys=-1', 'max-keys=x', 'encoding-type=x', 'version-id-marker=null', 'key-marker=k&version-id-marker=', 'key-marker=k&version-id-marker=nonsense', 'key-marker=k&version-id-marker=%2E%2E'])(
  '%s answers 400 InvalidArgument', async (query) => {
    expect(outcome(await send('GET', `?versions&${query}`))).toBe('400 InvalidArgument')
  })

test('a bucket that does not exist answers 404 NoSuchBucket', async () => {
  expect(outcome(await bucketSender(server, bucketName())('GET', '?versions'))).toBe('404 NoSuchBucket')
})
