import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketContents, lastingTemporaryFiles } from '../support/leftovers.ts'
import { rawSocket, sendRequest, signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { signedChunks, signHeaders } from '../support/signing.ts'

/**
 * Good requests, changed at random: before they are signed, so that the change goes deep, and behind it, byte by byte. Whatever comes:
 * no answer is a 5xx (but 501, by name), the server lives, and a request that was refused has stored nothing.
 */

let server: TestServer

beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.remove())

const xmlDelete = '<Delete><Object><Key>k</Key></Object><Object><Key>missing</Key><VersionId>null</VersionId></Object></Delete>'
const xmlTags = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'
const xmlVersioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const xmlComplete = '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"9dd4e461268c8034f5c8564e155c67a6"</ETag><ChecksumCRC32>jNxO+w==</ChecksumCRC32></Part></CompleteMultipartUpload>'
const frame = '5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n'
const frameHeaders = { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-decoded-content-length': '5', 'x-amz-trailer': 'x-amz-checksum-crc32', 'content-encoding': 'aws-chunked' }

interface Good {
  readonly method: string
  /** Behind `/bucket`; UPLOAD stands for an upload that is open. */
  readonly target: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

const good: readonly Good[] = [
  { method: 'PUT', target: '/new', body: 'hello' }, { method: 'PUT', target: '/large', body: 'x'.repeat(200_000) }, { method: 'PUT', target: '/framed', body: frame, headers: frameHeaders },
  { method: 'GET', target: '/k' }, { method: 'HEAD', target: '/k' }, { method: 'DELETE', target: '/k' }, { method: 'PUT', target: '/copy', headers: { 'x-amz-copy-source': '/BUCKET/k' } },
  { method: 'GET', target: '', query: { 'list-type': '2', prefix: 'k', delimiter: '/', 'max-keys': '10' } }, { method: 'GET', target: '', query: { versions: '', 'key-marker': 'a' } }, { method: 'GET', target: '', query: { uploads: '' } },
  { method: 'POST', target: '', query: { delete: '' }, body: xmlDelete }, { method: 'PUT', target: '/k', query: { tagging: '' }, body: xmlTags }, { method: 'PUT', target: '', query: { tagging: '' }, body: xmlTags },
  { method: 'PUT', target: '', query: { versioning: '' }, body: xmlVersioning }, { method: 'GET', target: '/k', query: { attributes: '' }, headers: { 'x-amz-object-attributes': 'ETag,Checksum,ObjectParts' } },
  { method: 'POST', target: '/new', query: { uploads: '' } }, { method: 'PUT', target: '/parts', query: { partNumber: '2', uploadId: 'UPLOAD' }, body: 'x' },
  { method: 'PUT', target: '/parts', query: { partNumber: '2', uploadId: 'UPLOAD' }, headers: { 'x-amz-copy-source': '/BUCKET/k', 'x-amz-copy-source-range': 'bytes=0-1' } },
  { method: 'POST', target: '/parts', query: { uploadId: 'UPLOAD' }, body: xmlComplete }, { method: 'GET', target: '/parts', query: { uploadId: 'UPLOAD' } }, { method: 'DELETE', target: '/parts', query: { uploadId: 'UPLOAD' } },
  { method: 'GET', target: '', query: { acl: '' } }, { method: 'DELETE', target: '' }, { method: 'HEAD', target: '' }, { method: 'GET', target: '', query: { location: '' } },
]

const headerNames = [
  'range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'content-md5', 'content-type', 'content-encoding', 'content-disposition', 'cache-control', 'expires', 'expect',
  'x-amz-copy-source', 'x-amz-copy-source-range', 'x-amz-copy-source-if-match', 'x-amz-copy-source-if-modified-since', 'x-amz-metadata-directive', 'x-amz-tagging-directive', 'x-amz-tagging', 'x-amz-acl', 'x-amz-grant-read',
  'x-amz-storage-class', 'x-amz-website-redirect-location', 'x-amz-meta-a', 'x-amz-meta-', 'x-amz-meta-__proto__', 'x-amz-checksum-crc32', 'x-amz-checksum-crc64nvme', 'x-amz-checksum-sha256', 'x-amz-checksum-algorithm',
  'x-amz-checksum-type', 'x-amz-checksum-mode', 'x-amz-sdk-checksum-algorithm', 'x-amz-trailer', 'x-amz-decoded-content-length', 'x-amz-content-sha256', 'x-amz-expected-bucket-owner', 'x-amz-source-expected-bucket-owner',
  'x-amz-object-attributes', 'x-amz-max-parts', 'x-amz-part-number-marker', 'x-amz-mp-object-size', 'x-amz-if-match-size', 'x-amz-if-match-last-modified-time', 'x-amz-server-side-encryption', 'x-amz-object-lock-mode',
  'x-amz-bypass-governance-retention', 'x-amz-write-offset-bytes', 'x-amz-security-token', 'x-amz-mfa', 'x-amz-request-payer', 'x-amz-optional-object-attributes', 'x-amz-request-route', 'x-amz-date', 'date', 'x-forwarded-host', 'content-language',
]
const queryNames = [
  'versionId', 'partNumber', 'uploadId', 'uploads', 'delete', 'tagging', 'acl', 'versions', 'versioning', 'attributes', 'list-type', 'prefix', 'delimiter', 'marker', 'start-after', 'continuation-token', 'max-keys', 'key-marker',
  'version-id-marker', 'upload-id-marker', 'max-uploads', 'max-parts', 'part-number-marker', 'encoding-type', 'fetch-owner', 'response-content-type', 'response-expires', 'policy', 'lifecycle', 'analytics', 'id', 'torrent', 'select', 'restore',
  'retention', 'legal-hold', 'x-id', 'X-Amz-Expires', 'X-Amz-Algorithm', 'AWSAccessKeyId', 'Expires', '__proto__', 'constructor', 'annotation', 'renameObject', 'x-amz-acl', 'session', 'max-buckets', 'bucket-region',
]
const oddValue = fc.oneof(
  fc.constantFrom(
    '', '0', '1', '-1', '1.5', '2147483648', '99999999999999999999', 'null', 'true', '*', '"', '"x"', 'W/"x"', '"a","b",*', 'bytes=0-', 'bytes=-1', 'bytes=3-1', 'bytes=0-0,2-3', 'bytes=99-', 'private', 'public-read', 'STANDARD', 'GLACIER', 'COPY', 'REPLACE',
    'AES256', 'ENABLED', 'CRC32', 'CRC64NVME', 'SHA256', 'COMPOSITE', 'FULL_OBJECT', 'a=b', 'a=b&a=c', 'aws:x=1', '%00', '%zz', '%FF', '=?UTF-8?B?/w==?=', '=?UTF-8?Q?=00?=', '=?x?y?z?=', 'Thu, 01 Jan 1970 00:00:00 GMT', 'Thu, 99 Foo 99999 00:00:00 GMT',
    'AAAAAA==', 'NhCmhg==', 'AAAAAAAAAAA=', 'AAAAAAAAAAAAAAAAAAAAAA==', '/BUCKET/k', 'BUCKET/k?versionId=null', '/BUCKET/../x', 'BUCKET', '/BUCKET/k?versionId=', 'url', 'ETag,Checksum', 'Nothing', '100-continue', 'UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', 'aws-chunked', 'gzip, aws-chunked', 'x-amz-checksum-crc32', '0'.repeat(32), 'f'.repeat(32), '7'.repeat(44), '20200101T000000Z', '000000000000', '\u{1f600}', '\u{10ffff}', '\uffff',
    'é'.repeat(600), 'x'.repeat(3000), '/', 'http://x/', '../..', "'; DROP TABLE objects; --", '\\', '{"a":1}', '[object Object]', 'NaN', 'Infinity', '1e309', '0x10', ' ', '\t', '+',
  ),
  fc.string({ maxLength: 12 }),
)
const pathPiece = fc.oneof({ weight: 3, arbitrary: fc.constant('') }, fc.constantFrom('/', '//', '/.', '/..', '/%2F', '/%00', '/%FF', '/%zz', '/%', '/%F0%9F%98%80', '/%ED%A0%80', '/+', '/a%20b', "/'", '/\\', '/"', '/<', '/{', '/|', '/%01', '/%7F', '/%EF%BF%BF', `/${'x'.repeat(1030)}`, '/~', '/;', '/:@&=$,'))
const bodyPiece = fc.constantFrom('', '<', '>', '&', '&#0;', '&#x10FFFF;', '&#xD800;', '&lt;', ']]>', '<![CDATA[', '<![CDATA[x]]>', '<!--', '-->', '<!DOCTYPE x>', '<?xml version="1.0"?>', '\0', '\x01', '\r\n', '\n', '<a>', '</a>', '<a/>', '<Key>', '</Key>', '<Part>', 'é', '\ufeff', '\uffff',
  '0', '-1', 'FFFFFFFFFFFFFFFF', ';chunk-signature=', ':', 'x-amz-checksum-crc32:', '5\r\n', '0\r\n\r\n', ' ', '"', 'x'.repeat(9000))
const edit = fc.record({ at: fc.nat(1000), cut: fc.oneof(fc.constant(0), fc.nat(4), fc.nat(200)), insert: bodyPiece })
type Edit = typeof edit extends fc.Arbitrary<infer Value> ? Value : never

const mutation = fc.record({
  base: fc.nat(good.length - 1), path: pathPiece,
  headers: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fc.tuple(fc.constantFrom(...headerNames), oddValue), { maxLength: 3 })),
  query: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fc.tuple(fc.constantFrom(...queryNames), oddValue), { maxLength: 3 })),
  edits: fc.oneof({ weight: 1, arbitrary: fc.constant([]) }, fc.array(edit, { maxLength: 3 })),
  method: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH')),
})
type Mutation = typeof mutation extends fc.Arbitrary<infer Value> ? Value : never

const edited = (text: string, edits: readonly Edit[]): string => edits.reduce((now, { at, cut, insert }) => {
  const start = Math.floor(at / 1000 * now.length)
  return now.slice(0, start) + insert + now.slice(start + cut)
}, text)

interface Scene {
  readonly bucket: string
  readonly uploadId: string
}

async function scene(): Promise<Scene> {
  const bucket = bucketName()
  const send = bucketSender(server, bucket)
  expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}` })).status).toBe(200)
  await send('PUT', 'k', { body: 'hello' })
  const uploadId = xmlText((await send('POST', 'parts?uploads')).text, 'UploadId') ?? ''
  await send('PUT', `parts?partNumber=1&uploadId=${uploadId}`, { body: 'x' })
  return { bucket, uploadId }
}

/** The changed request, signed as it is. Header values keep to what a client can send. */
function build({ base, path, headers, query, edits, method }: Mutation, { bucket, uploadId }: Scene): { method: string; path: string; headers: Record<string, string>; body: Buffer | undefined } {
  const from = good[base] as Good
  const named = (text: string): string => text.replaceAll('BUCKET', bucket).replaceAll('UPLOAD', uploadId)
  const fields = Object.fromEntries([...Object.entries(from.headers ?? {}), ...headers]
    .map(([name, value]) => [name, Buffer.from(named(value).replace(/[^\t\x20-\x7e\x80-\u{10ffff}]/gu, '').replace(/\s+/g, ' ').trim()).toString('latin1')]))
  const parameters = Object.fromEntries([...Object.entries(from.query ?? {}), ...query].map(([name, value]) => [name, named(value).toWellFormed()]))
  const body = from.body === undefined && edits.length === 0 ? undefined : Buffer.from(edited(named(from.body ?? ''), edits))
  const verb = method ?? from.method
  const { 'x-amz-content-sha256': payload = 'UNSIGNED-PAYLOAD', ...others } = fields
  const signed = signHeaders({ server, method: verb, path: `/${bucket}${from.target}${path}`, query: parameters, headers: Object.fromEntries(Object.entries(others).map(([name, value]) => [name, value])), payload })
  return { method: verb, path: signed.path, headers: { ...signed.headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) }, body }
}

test('requests that are changed before they are signed', async () => {
  const seen = new Map<string, number>()
  await fc.assert(fc.asyncProperty(fc.array(mutation, { minLength: 12, maxLength: 12 }), async (mutations) => {
    const at = await scene()
    let before = await bucketContents(server, at.bucket)
    for (const one of mutations) {
      const request = build(one, at)
      const answer = await sendRequest({ server, ...request }).catch((error: NodeJS.ErrnoException) => {
        // The server may close on a body that it does not want before all of it is sent.
        if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return null
        throw error
      })
      const code = answer === null ? 'closed' : `${answer.status} ${xmlText(answer.text, 'Code') ?? ''}`
      seen.set(code, (seen.get(code) ?? 0) + 1)
      if (answer !== null && answer.status >= 500) expect(code, JSON.stringify(request.headers)).toBe('501 NotImplemented')
      if (request.method === 'GET' || request.method === 'HEAD') continue
      const after = await bucketContents(server, at.bucket)
      if (answer === null || answer.status >= 300) expect(after, `${code} ${request.method} ${request.path}`).toEqual(before)
      before = after
    }
  }), { numRuns: 180, endOnFailure: true })
  // The changes go deep: many kinds of errors were met, and good requests among them.
  expect(seen.size).toBeGreaterThan(15)
  expect(seen.get('200 ') ?? 0).toBeGreaterThan(100)
})

test('chunks and their signatures, changed', async () => {
  const { bucket } = await scene()
  const send = bucketSender(server, bucket)
  const chunks = [Buffer.alloc(9000, 'a'), Buffer.alloc(8192, 'b'), Buffer.from('end')]
  await fc.assert(fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean(), async (edits, trailer) => {
    const signed = signedChunks({ server, method: 'PUT', path: `/${bucket}/chunked` }, chunks, trailer ? ['x-amz-checksum-crc32', 'AAAAAA=='] : undefined)
    const whole = Buffer.concat(signed.pieces).toString('latin1')
    const body = Buffer.from(edited(whole, edits), 'latin1')
    const answer = await sendRequest({ server, method: 'PUT', path: signed.path, headers: { ...signed.headers, 'content-length': String(body.length) }, body })
    expect(answer.status).toBeLessThan(500)
    const stored = await send('GET', 'chunked')
    if (answer.status === 200) expect(stored.text).toBe(Buffer.concat(chunks).toString())
    else expect(stored.status).toBe(404)
    if (answer.status === 200) await send('DELETE', 'chunked')
  }), { numRuns: 300, endOnFailure: true })
})

test('bytes of a signed request, changed on the wire', async () => {
  const wirePiece = fc.constantFrom('', '\r\n', '\n', '\r', '\0', ':', ' ', '\t', '%', '%00', '?', '&', '=', '#', '\x80', '\xff', 'HTTP/1.0', 'HTTP/9.9', 'Content-Length: 3\r\n', 'Transfer-Encoding: chunked\r\n', 'Expect: 100-continue\r\n', 'Connection: upgrade\r\nUpgrade: websocket\r\n', '/', '//', 'x'.repeat(20_000))
  const wireEdit = fc.record({ at: fc.nat(1000), cut: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(60)), insert: wirePiece })
  let compared = 0
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ base: fc.nat(good.length - 1), edits: fc.array(wireEdit, { minLength: 1, maxLength: 2 }) }), { minLength: 8, maxLength: 8 }), async (mutations) => {
    const at = await scene()
    const before = await bucketContents(server, at.bucket)
    const answers = await Promise.all(mutations.map(async ({ base, edits }) => {
      const { method, path, headers, body } = build({ base, path: '', headers: [], query: [], edits: [], method: undefined }, at)
      const head = `${method} ${path} HTTP/1.1\r\n${Object.entries({ ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
      const { text } = await rawSocket(server, Buffer.from(edited(head, edits) + (body?.toString('latin1') ?? ''), 'latin1'), { idleMs: 250 })
      return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]))
    }))
    for (const status of answers.flat()) expect(status < 500 || status === 501).toBe(true)
    // An answer can be lost when the server closes on bytes that nobody will read: such a request may have been a good one.
    if (!answers.every((statuses) => statuses.length > 0 && statuses.every((status) => status >= 300))) return
    compared++
    expect(await bucketContents(server, at.bucket)).toEqual(before)
  }), { numRuns: 75, endOnFailure: true })
  expect(compared).toBeGreaterThan(0)
})

test('after all of them the server works, holds no half files, and met nothing unforeseen', async () => {
  const { bucket } = await scene()
  expect((await bucketSender(server, bucket)('GET', 'k')).text).toBe('hello')
  expect(await lastingTemporaryFiles(server.dataDir)).toEqual([])
  expect(server.output()).not.toMatch(/in a way that nobody foresaw|"level":"error"/)
  expect(() => process.kill(server.pid, 0)).not.toThrow()
})
