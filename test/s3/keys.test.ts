import { CopyObjectCommand, DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { rawSocket, xmlText, xmlTexts } from '../support/raw.ts'
import { bucketSender, keyPath, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const odd: readonly string[] = [
  'a', 'a/', 'a/b', 'a//b', 'a///b', '/', '//', '/a', '/a/', '//a', '.', '..', './a', '../a', 'a/.', 'a/..', 'a/../b', 'a/./b', '.../a',
  '%', '%2F', '%2f', '%41', '%00', 'a%20b', 'a b', 'a+b', 'a%2Bb', ' ', ' a', 'a ', '  ', '+', '?', 'a?b', '?versionId=null', '#', 'a#b',
  '&', 'a&b=c', '=', ';', ':', '@', '!', '$', '\'', '"', '`', '(', ')', '*', ',', '[', ']', '{', '}', '|', '\\', 'a\\b', '^', '~', '<',
  '>', '<Key>', '&amp;', 'ü', 'u\u0308', 'ß', '日本語', '😀', '👩‍👩‍👧', '\u{10ffff}', '\ufffd', '\uffff', '\u00a0', '\u2028', '\u200b',
  '\u202e', '\ufeffbom', 'é/è', '\u0001', '\t', '\n', '\r', 'a\r\nb', '\u007f', '\u0085', '\u009f', 'null', 'undefined', '__proto__',
  'constructor', '001', '1e5', 'true', 'con', 'aux.txt', 'index.html', '.hidden', 'CASE', 'case', 'favicon.ico', 'x'.repeat(1024),
  'ü'.repeat(512), '😀'.repeat(256), 'a/'.repeat(512),
]

test('every odd key is a key of its own: put, read, listed and deleted under exactly its name', async () => {
  await Promise.all(odd.map(async (key) => {
    expect([key, (await send('PUT', keyPath(key), { body: `body of ${key}` })).status]).toEqual([key, 200])
  }))
  await Promise.all(odd.map(async (key) => {
    expect((await send('GET', keyPath(key))).text).toBe(`body of ${key}`)
  }))
  const { text } = await send('GET', '?list-type=2&encoding-type=url')
  const listed = xmlTexts(text, 'Key').map((key) => decodeURIComponent(key.replaceAll('+', ' ')))
  expect(listed).toEqual(odd.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
  await Promise.all(odd.map(async (key) => {
    expect([key, (await send('DELETE', keyPath(key))).status]).toEqual([key, 204])
  }))
  expect(xmlTexts((await send('GET', '?list-type=2')).text, 'KeyCount')).toEqual(['0'])
})

test('the SDK and raw requests mean the same key', async () => {
  for (const key of odd.filter((key) => key.length < 100)) {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key }))
    expect((await send('GET', keyPath(key))).text).toBe(key)
    expect(await (await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))).Body?.transformToString()).toBe(key)
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }))
    expect((await send('HEAD', keyPath(key))).status).toBe(404)
  }
})

test('any text of up to 1,024 bytes is a key', async () => {
  const one = fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }), fc.constantFrom('/', '.', '%', '+', ' ', 'a'))
  const character = one.filter((text) => text !== '\0' && text.isWellFormed())
  const key = fc.array(character, { minLength: 1, maxLength: 60 }).map((characters) => characters.join(''))
  await fc.assert(fc.asyncProperty(key, async (name) => {
    expect((await send('PUT', keyPath(name), { body: name })).status).toBe(200)
    expect((await send('GET', keyPath(name))).text).toBe(name)
    const listed = await send('GET', `?list-type=2&encoding-type=url&prefix=${encodeURIComponent(name)}&max-keys=1`)
    expect(decodeURIComponent((xmlText(listed.text, 'Key') ?? '').replaceAll('+', ' '))).toBe(name)
    expect((await send('DELETE', keyPath(name))).status).toBe(204)
    expect((await send('HEAD', keyPath(name))).status).toBe(404)
  }), { numRuns: 60 })
})

test('copies find their source by any key', async () => {
  const names = odd.filter((key) => key.length < 100 && !key.split('/').includes('..'))
  for (const key of names) {
    await send('PUT', keyPath(key), { body: key })
    await client.send(new CopyObjectCommand({ Bucket: bucket, Key: `copy of ${key}`, CopySource: `${bucket}/${encodeURIComponent(key)}` }))
    expect((await client.send(new HeadObjectCommand({ Bucket: bucket, Key: `copy of ${key}` }))).ContentLength).toBe(Buffer.byteLength(key))
  }
})

describe('on the wire', () => {
  test('escapes in any case and needless escapes mean the same key', async () => {
    await send('PUT', 'caf%C3%A9', { body: 'x' })
    for (const path of ['caf%c3%a9', '%63af%C3%A9', 'ca%66%c3%A9']) expect((await send('GET', path)).text).toBe('x')
  })

  test('a plus sign in a path is a plus sign', async () => {
    await send('PUT', 'one%2Btwo', { body: 'plus' })
    expect((await send('GET', 'one%2Btwo')).text).toBe('plus')
    expect(outcome(await send('GET', 'one%20two'))).toBe('404 NoSuchKey')
  })

  test('dots and slashes are kept: nothing outside the bucket is reached', async () => {
    const other = await newBucket(client)
    await bucketSender(server, other)('PUT', 'secret', { body: 'secret' })
    for (const path of [`../${other}/secret`, `a/../../${other}/secret`, `%2e%2e/${other}/secret`]) {
      expect(outcome(await send('GET', path))).toBe('404 NoSuchKey')
    }
  })

  test('an escaped slash is a slash', async () => {
    await send('PUT', 'folder/file', { body: 'x' })
    for (const path of ['folder%2Ffile', 'folder%2ffile']) expect((await send('GET', path)).text).toBe('x')
  })

  test.each([
    ['1,025 bytes', 'x'.repeat(1025), '400 KeyTooLongError'],
    ['513 characters of two bytes', '%C3%BC'.repeat(513), '400 KeyTooLongError'],
  ])('a key of %s answers %3$s', async (_what, path, expected) => {
    for (const method of ['PUT', 'GET', 'DELETE']) expect(outcome(await send(method, path))).toBe(expected)
  })

  test.each(['%00', 'a%00b', '%ff', '%C3', '%ED%A0%80', '%C0%AF', '%zz', '%', 'a%2'])('the path %s is no UTF-8 that we can keep: 400 InvalidURI', async (path) => {
    const host = new URL(server.url).host
    const { text } = await rawSocket(server, `PUT /${bucket}/${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx`)
    expect(text).toMatch(/^HTTP\/1\.1 400 /)
    expect(text).toContain('<Code>InvalidURI</Code>')
  })
})

test('an error names the key as text that XML can hold', async () => {
  const { text } = await send('GET', keyPath('<no> & "such" \u0001 key'))
  expect(xmlText(text, 'Code')).toBe('NoSuchKey')
  expect(text).toContain('&lt;no&gt; &amp;')
  expect(text).not.toContain('\u0001')
})
