import { PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bucketSender, failure, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
const etag = '"5d41402abc4b2a76b9719d911017c592"'
const past = 'Sat, 01 Jan 2000 00:00:00 GMT'
const future = 'Fri, 01 Jan 2100 00:00:00 GMT'
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

describe('reads', () => {
  beforeAll(async () => {
    await send('PUT', 'k', { body: 'hello', headers: { 'cache-control': 'max-age=9', 'expires': 'soon' } })
  })

  test.each<[Record<string, string>, number]>([
    [{ 'if-match': etag }, 200],
    [{ 'if-match': etag.slice(1, -1) }, 200],
    [{ 'if-match': '*' }, 200],
    [{ 'if-match': `"a", ${etag}` }, 200],
    [{ 'if-match': '"a"' }, 412],
    [{ 'if-match': '"a", "b"' }, 412],
    [{ 'if-none-match': '"a"' }, 200],
    [{ 'if-none-match': etag }, 304],
    [{ 'if-none-match': '*' }, 304],
    [{ 'if-none-match': `"a", ${etag}` }, 304],
    // Weak comparison is for If-None-Match alone (RFC 9110, 13.1.1 and 13.1.2).
    [{ 'if-none-match': `W/${etag}` }, 304],
    [{ 'if-match': `W/${etag}` }, 412],
    [{ 'if-modified-since': past }, 200],
    [{ 'if-modified-since': future }, 304],
    [{ 'if-unmodified-since': future }, 200],
    [{ 'if-unmodified-since': past }, 412],
    // A date that is none is no condition (RFC 9110, 13.1.3).
    [{ 'if-modified-since': 'yesterday' }, 200],
    [{ 'if-unmodified-since': 'yesterday' }, 200],
    // The two pairs of GetObject's API reference.
    [{ 'if-match': etag, 'if-unmodified-since': past }, 200],
    [{ 'if-none-match': etag, 'if-modified-since': past }, 304],
    // RFC 9110's order for the rest.
    [{ 'if-match': '"a"', 'if-unmodified-since': future }, 412],
    [{ 'if-none-match': '"a"', 'if-modified-since': future }, 200],
    [{ 'if-match': etag, 'if-none-match': etag }, 304],
    [{ 'if-match': '"a"', 'if-none-match': etag }, 412],
    [{ 'if-unmodified-since': past, 'if-none-match': etag }, 412],
    [{ 'if-match': etag, 'if-modified-since': future }, 304],
  ])('%j answers %i, GET and HEAD alike', async (headers, status) => {
    for (const method of ['GET', 'HEAD']) {
      const read = await send(method, 'k', { headers })
      expect(read.status).toBe(status)
      expect(read.body.length).toBe(method === 'HEAD' || status === 304 ? 0 : read.body.length)
    }
    if (status === 412) expect(outcome(await send('GET', 'k', { headers }))).toBe('412 PreconditionFailed')
  })

  test('the time of the object itself is not later than itself', async () => {
    const modified = (await send('HEAD', 'k')).headers['last-modified'] ?? ''
    expect((await send('GET', 'k', { headers: { 'if-modified-since': modified } })).status).toBe(304)
    expect((await send('GET', 'k', { headers: { 'if-unmodified-since': modified } })).status).toBe(200)
  })

  test('304 carries ETag, Last-Modified, Cache-Control and Expires, and no body', async () => {
    const read = await send('GET', 'k', { headers: { 'if-none-match': etag } })
    expect(read.headers).toMatchObject({ etag, 'cache-control': 'max-age=9', 'expires': 'soon' })
    expect(read.headers['last-modified']).toMatch(/GMT$/)
    expect(read.body.length).toBe(0)
  })

  test('a missing object answers 404 whatever the condition says', async () => {
    for (const name of ['if-match', 'if-none-match']) {
      expect(outcome(await send('GET', 'missing', { headers: { [name]: '*' } }))).toBe('404 NoSuchKey')
    }
  })

  test('a condition of a version is about that version', async () => {
    const versioned = bucketSender(server, await newBucket(client, 'Enabled'))
    const first = await versioned('PUT', 'k', { body: 'hello' })
    await versioned('PUT', 'k', { body: 'other' })
    expect((await versioned('GET', 'k', { headers: { 'if-match': etag } })).status).toBe(412)
    expect((await versioned('GET', `k?versionId=${first.headers['x-amz-version-id']}`, { headers: { 'if-match': etag } })).status).toBe(200)
    const unchanged = await versioned('GET', `k?versionId=${first.headers['x-amz-version-id']}`, { headers: { 'if-none-match': etag } })
    expect([unchanged.status, unchanged.headers['x-amz-version-id']]).toEqual([304, first.headers['x-amz-version-id']])
  })
})

describe('puts', () => {
  beforeEach(async () => {
    await send('DELETE', 'new')
    await send('PUT', 'old', { body: 'hello' })
  })

  test('If-None-Match: * makes an object and never replaces one', async () => {
    expect((await send('PUT', 'new', { body: '1', headers: { 'if-none-match': '*' } })).status).toBe(200)
    expect(outcome(await send('PUT', 'new', { body: '2', headers: { 'if-none-match': '*' } }))).toBe('412 PreconditionFailed')
    expect((await send('GET', 'new')).text).toBe('1')
  })

  test('If-Match replaces exactly the object that the client knows', async () => {
    expect(outcome(await send('PUT', 'old', { body: 'x', headers: { 'if-match': '"0"' } }))).toBe('412 PreconditionFailed')
    expect((await send('GET', 'old')).text).toBe('hello')
    expect((await send('PUT', 'old', { body: 'x', headers: { 'if-match': etag } })).status).toBe(200)
    expect(outcome(await send('PUT', 'old', { body: 'y', headers: { 'if-match': etag } }))).toBe('412 PreconditionFailed')
    expect((await send('GET', 'old')).text).toBe('x')
  })

  test('an ETag is known without its quotes too', async () => {
    expect((await send('PUT', 'old', { body: 'x', headers: { 'if-match': etag.slice(1, -1) } })).status).toBe(200)
    expect((await send('GET', 'old')).text).toBe('x')
  })

  test('If-Match without an object answers 404 NoSuchKey', async () => {
    expect(outcome(await send('PUT', 'new', { body: 'x', headers: { 'if-match': etag } }))).toBe('404 NoSuchKey')
    expect(outcome(await send('GET', 'new'))).toBe('404 NoSuchKey')
  })

  test.each<Record<string, string>>([
    { 'if-none-match': etag }, { 'if-match': etag, 'if-none-match': '*' }, { 'if-modified-since': past }, { 'if-unmodified-since': future },
  ])('%j, which S3 does not have for writes, answers 501 NotImplemented and changes nothing', async (headers) => {
    expect(outcome(await send('PUT', 'old', { body: 'x', headers }))).toBe('501 NotImplemented')
    expect((await send('GET', 'old')).text).toBe('hello')
  })

  test('of twenty that may only create, one does, for small and large bodies', async () => {
    // Several times: who looks before the lock is seen only when two of them look at once.
    for (const [round, size] of [10, 10, 10, 10, 10, 10, 300_000, 300_000, 300_000].entries()) {
      const create = (i: number) => send('PUT', `create-${round}`, { body: Buffer.alloc(size, 65 + i), headers: { 'if-none-match': '*' } })
      const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => create(i)))
      const made = answers.flatMap((answer, i) => (answer.status === 200 ? [i] : []))
      expect(made).toHaveLength(1)
      expect(answers.filter((answer) => answer.status !== 200).every((answer) => answer.status === 412 || answer.status === 409)).toBe(true)
      expect((await send('GET', `create-${round}`)).body[0]).toBe(65 + (made[0] ?? 0))
    }
  })

  test('a counter that is raised by If-Match loses no step', async () => {
    await send('PUT', 'counter', { body: '0' })
    const raise = async (): Promise<void> => {
      for (;;) {
        const read = await send('GET', 'counter')
        const put = await send('PUT', 'counter', { body: String(Number(read.text) + 1), headers: { 'if-match': read.headers['etag'] ?? '' } })
        if (put.status === 200) return
      }
    }
    await Promise.all(Array.from({ length: 12 }, raise))
    expect((await send('GET', 'counter')).text).toBe('12')
  })

  test('to a condition a delete marker is no object', async () => {
    const versioned = bucketSender(server, await newBucket(client, 'Enabled'))
    await versioned('PUT', 'k', { body: 'hello' })
    await versioned('DELETE', 'k')
    expect(outcome(await versioned('PUT', 'k', { body: 'x', headers: { 'if-match': etag } }))).toBe('404 NoSuchKey')
    expect((await versioned('PUT', 'k', { body: 'x', headers: { 'if-none-match': '*' } })).status).toBe(200)
    expect((await versioned('GET', 'k')).text).toBe('x')
  })

  test('the SDK reports the failed condition', async () => {
    const put = new PutObjectCommand({ Bucket: bucket, Key: 'old', Body: 'x', IfNoneMatch: '*' })
    expect(await failure(client.send(put))).toMatchObject({ code: 'PreconditionFailed', status: 412 })
  })
})

describe('deletes', () => {
  let modified: string
  beforeEach(async () => {
    await send('PUT', 'k', { body: 'hello' })
    modified = (await send('HEAD', 'k')).headers['last-modified'] ?? ''
  })

  test.each<[string, () => Record<string, string>, string]>([
    ['the ETag', () => ({ 'if-match': etag }), '204'],
    ['*', () => ({ 'if-match': '*' }), '204'],
    ['another ETag', () => ({ 'if-match': '"0"' }), '412 PreconditionFailed'],
    ['the size', () => ({ 'x-amz-if-match-size': '5' }), '204'],
    ['another size', () => ({ 'x-amz-if-match-size': '6' }), '412 PreconditionFailed'],
    ['the time', () => ({ 'x-amz-if-match-last-modified-time': modified }), '204'],
    ['another time', () => ({ 'x-amz-if-match-last-modified-time': past }), '412 PreconditionFailed'],
    ['all that holds', () => ({ 'if-match': etag, 'x-amz-if-match-size': '5', 'x-amz-if-match-last-modified-time': modified }), '204'],
    ['one of three that fails', () => ({ 'if-match': etag, 'x-amz-if-match-size': '4', 'x-amz-if-match-last-modified-time': modified }), '412 PreconditionFailed'],
    ['a size that is no number', () => ({ 'x-amz-if-match-size': 'five' }), '400 InvalidArgument'],
    ['a time that is none', () => ({ 'x-amz-if-match-last-modified-time': 'noon' }), '400 InvalidArgument'],
  ])('with %s', async (_what, headers, expected) => {
    expect(outcome(await send('DELETE', 'k', { headers: headers() }))).toBe(expected)
    expect((await send('GET', 'k')).status).toBe(expected === '204' ? 404 : 200)
  })

  test('without an object If-Match answers 404 NoSuchKey; size and time hold', async () => {
    expect(outcome(await send('DELETE', 'none', { headers: { 'if-match': etag } }))).toBe('404 NoSuchKey')
    expect((await send('DELETE', 'none', { headers: { 'x-amz-if-match-size': '5' } })).status).toBe(204)
    expect((await send('DELETE', 'none', { headers: { 'x-amz-if-match-last-modified-time': past } })).status).toBe(204)
  })

  test('of twenty with the ETag one deletes', async () => {
    const versioned = bucketSender(server, await newBucket(client, 'Enabled'))
    await versioned('PUT', 'k', { body: 'hello' })
    const answers = await Promise.all(Array.from({ length: 20 }, () => versioned('DELETE', 'k', { headers: { 'if-match': etag } })))
    expect(answers.filter((answer) => answer.status === 204)).toHaveLength(1)
    expect(answers.filter((answer) => ![204, 404, 409, 412].includes(answer.status))).toEqual([])
  })

  test('of a version are about that version', async () => {
    const versioned = bucketSender(server, await newBucket(client, 'Enabled'))
    const first = (await versioned('PUT', 'k', { body: 'hello' })).headers['x-amz-version-id'] ?? ''
    await versioned('PUT', 'k', { body: 'other' })
    expect(outcome(await versioned('DELETE', `k?versionId=${first}`, { headers: { 'if-match': '"0"' } }))).toBe('412 PreconditionFailed')
    expect((await versioned('DELETE', `k?versionId=${first}`, { headers: { 'if-match': etag } })).status).toBe(204)
    expect(outcome(await versioned('GET', `k?versionId=${first}`))).toBe('404 NoSuchVersion')
    expect((await versioned('GET', 'k')).text).toBe('other')
  })
})
