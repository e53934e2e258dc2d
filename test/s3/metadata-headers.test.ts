import { CreateMultipartUploadCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { rawSocket, signRequest, xmlText } from '../support/raw.ts'
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

describe('system metadata', () => {
  const system: Readonly<Record<string, string>> = {
    'cache-control': 'public, max-age=31536000, immutable', 'content-disposition': 'attachment; filename="a b.txt"', 'content-encoding': 'gzip', 'content-language': 'de-AT, en',
    'content-type': 'text/plain; charset=utf-8', 'expires': 'Thu, 01 Dec 1994 16:00:00 GMT', 'x-amz-website-redirect-location': '/other',
  }

  test('comes back by GET, HEAD and a range as it was given', async () => {
    await send('PUT', 'system', { body: 'hello', headers: system })
    for (const method of ['GET', 'HEAD']) expect((await send(method, 'system')).headers).toMatchObject(system)
    expect((await send('GET', 'system', { headers: { range: 'bytes=1-2' } })).headers).toMatchObject(system)
  })

  test('that was not given does not come back; the type is binary/octet-stream', async () => {
    await send('PUT', 'none', { body: 'hello' })
    const { headers } = await send('GET', 'none')
    expect(headers['content-type']).toBe('binary/octet-stream')
    for (const name of Object.keys(system)) if (name !== 'content-type') expect(headers).not.toHaveProperty(name)
  })

  test.each(['0', '-1', 'never', 'Thu, 01 Dec 1994 16:00:00 GMT', '2030-01-01T00:00:00Z'])('Expires: %s is kept as it was given', async (expires) => {
    await send('PUT', 'expires', { body: 'x', headers: { expires } })
    expect((await send('HEAD', 'expires')).headers['expires']).toBe(expires)
  })

  test.each([
    ['aws-chunked', undefined], ['aws-chunked,gzip', 'gzip'], ['gzip,aws-chunked', 'gzip'], ['gzip, aws-chunked, br', 'gzip,br'], ['gzip', 'gzip'], ['br, gzip', 'br, gzip'],
  ])('Content-Encoding: %s is kept as %s, because aws-chunked is about the transfer', async (sent, kept) => {
    await send('PUT', 'encoding', { body: 'x', headers: { 'content-encoding': sent } })
    expect((await send('HEAD', 'encoding')).headers['content-encoding']?.replace(', br', ',br')).toBe(kept?.replace(', br', ',br'))
  })

  test('beyond ASCII comes back as the bytes that were sent', async () => {
    const disposition = 'attachment; filename="größe 日本.txt"'
    await send('PUT', 'utf8', { body: 'x', headers: { 'content-disposition': disposition } })
    expect(Buffer.from((await send('HEAD', 'utf8')).headers['content-disposition'] ?? '', 'latin1').toString('utf8')).toBe(disposition)
  })

  test('beyond ASCII is no trouble for 304', async () => {
    await send('PUT', 'cached', { body: 'x', headers: { 'cache-control': '日本' } })
    const unchanged = await send('GET', 'cached', { headers: { 'if-none-match': '*' } })
    expect(unchanged.status).toBe(304)
    expect(Buffer.from(unchanged.headers['cache-control'] ?? '', 'latin1').toString('utf8')).toBe('日本')
  })

  test.each(['ftp://x', 'other', 'javascript:alert(1)'])('a website redirect to %s is refused', async (location) => {
    expect((await send('PUT', 'redirect', { body: 'x', headers: { 'x-amz-website-redirect-location': location } })).status).toBe(400)
    expect(outcome(await send('GET', 'redirect'))).toBe('404 NoSuchKey')
  })

  test('a website redirect does not redirect on the API', async () => {
    await send('PUT', 'redirect', { body: 'x', headers: { 'x-amz-website-redirect-location': 'https://example.test/' } })
    expect((await send('GET', 'redirect')).status).toBe(200)
  })
})

describe('user metadata', () => {
  test('comes back by GET and HEAD, names in lower case, values as they were', async () => {
    const plain = { 'x-amz-meta-empty': '', 'x-amz-meta-spaces': 'a  b', 'x-amz-meta-punctuation': '!#$%&\'*+-.^_`|~;,="' }
    await send('PUT', 'user', { body: 'x', headers: { 'X-Amz-Meta-Mixed-CASE': 'Value', ...plain } })
    for (const method of ['GET', 'HEAD']) {
      expect((await send(method, 'user')).headers).toMatchObject({ 'x-amz-meta-mixed-case': 'Value', ...plain })
    }
  })

  test('named like a property of every object is metadata like other', async () => {
    await send('PUT', 'proto', { body: 'x', headers: { 'x-amz-meta-__proto__': 'a', 'x-amz-meta-constructor': 'b', 'x-amz-meta-tostring': 'c' } })
    expect((await send('HEAD', 'proto')).headers).toMatchObject({ 'x-amz-meta-__proto__': 'a', 'x-amz-meta-constructor': 'b', 'x-amz-meta-tostring': 'c' })
  })

  const word = (text: string): string => `=?UTF-8?B?${Buffer.from(text).toString('base64')}?=`

  test.each([
    ['as an encoded word', word('größe 日本 😀'), 'größe 日本 😀'],
    ['as a quoted encoded word', '=?UTF-8?Q?gr=C3=B6=C3=9Fe?=', 'größe'],
    ['as plain UTF-8', 'größe', 'größe'],
    ['as two words', `${word('grö')} ${word('ße')}`, 'größe'],
  ])('beyond ASCII, sent %s, is text that comes back as an encoded word', async (_what, sent, text) => {
    await send('PUT', 'words', { body: 'x', headers: { 'x-amz-meta-text': sent } })
    expect((await send('HEAD', 'words')).headers['x-amz-meta-text']).toBe(word(text))
  })

  test('in several headers of one name is one value, joined by commas', async () => {
    const { path, headers } = signRequest({ server, method: 'PUT', path: `/${bucket}/twice`, body: 'x', headers: { 'x-amz-meta-list': 'a,b' } })
    const lines = Object.entries({ ...headers, connection: 'close' })
      .map(([name, value]) => (name === 'x-amz-meta-list' ? `${name}: a\r\n${name}: b\r\n` : `${name}: ${value}\r\n`))
    expect((await rawSocket(server, `PUT ${path} HTTP/1.1\r\n${lines.join('')}\r\nx`)).text).toMatch(/^HTTP\/1\.1 200 /)
    expect((await send('HEAD', 'twice')).headers['x-amz-meta-list']).toBe('a,b')
  })

  test('that the SDK sends comes back to the SDK', async () => {
    const Metadata = { color: 'red', shape: 'round thing' }
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'sdk', Body: 'x', Metadata }))
    expect((await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'sdk' }))).Metadata).toEqual(Metadata)
    expect((await client.send(new GetObjectCommand({ Bucket: bucket, Key: 'sdk' }))).Metadata).toEqual(Metadata)
  })

  test('of 2,048 bytes of names and values is kept, one byte more answers 400 MetadataTooLarge', async () => {
    expect((await send('PUT', 'limit', { body: 'x', headers: { 'x-amz-meta-a': 'v'.repeat(1000), 'x-amz-meta-b': 'v'.repeat(1046) } })).status).toBe(200)
    const large = await send('PUT', 'above', { body: 'x', headers: { 'x-amz-meta-a': 'v'.repeat(1000), 'x-amz-meta-b': 'v'.repeat(1047) } })
    expect(outcome(large)).toBe('400 MetadataTooLarge')
    expect(xmlText(large.text, 'MaxSizeAllowed')).toBe('2048')
    expect(outcome(await send('GET', 'above'))).toBe('404 NoSuchKey')
  })

  test('is counted in bytes of UTF-8', async () => {
    expect((await send('PUT', 'bytes', { body: 'x', headers: { 'x-amz-meta-a': 'ü'.repeat(1023) } })).status).toBe(200)
    expect(outcome(await send('PUT', 'bytes', { body: 'x', headers: { 'x-amz-meta-a': 'ü'.repeat(1024) } }))).toBe('400 MetadataTooLarge')
  })

  test('with a NUL behind an encoded word answers 400', async () => {
    expect((await send('PUT', 'nul', { body: 'x', headers: { 'x-amz-meta-a': '=?UTF-8?Q?a=00b?=' } })).status).toBe(400)
  })

  test('that is too large is refused by CreateMultipartUpload too', async () => {
    const Metadata = { a: 'v'.repeat(2048) }
    await expect(client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: 'upload', Metadata }))).rejects.toMatchObject({ name: 'MetadataTooLarge' })
  })
})
