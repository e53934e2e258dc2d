import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { bucketContents, bucketNames, lastingTemporaryFiles } from '../support/leftovers.ts'
import { complete, createUpload, digest, md5, putParts, type UploadedPart } from '../support/multipart.ts'
import { rawSocket, sendRequest, signedRequest, signRequest, type RawRequest, type RawResponse } from '../support/raw.ts'
import { bucketSender, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { presign, signedChunks, signHeaders, timestamp, type Signing } from '../support/signing.ts'

/**
 * Requests that deserve an error, the error that they get, and the proof that they did nothing else: what the bucket shows is
 * what it showed before, no file is left over, and the next good request works.
 */

const bucket = 'bad-requests'
const user = { accessKeyId: 'LIMITEDUSER', secretAccessKey: 'limited-user-secret' }
const sha256 = (body: string | Uint8Array): string => createHash('sha256').update(body).digest('hex')
const large = Buffer.alloc(400_000, 7)

let folder: string
let server: TestServer
let send: ReturnType<typeof bucketSender>
let parts: UploadedPart[]
let uploadId: string

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-bad-'))
  const file = path.join(folder, 'accounts.json')
  const allowed = { Effect: 'Allow', Action: ['s3:PutObject', 's3:GetObject', 's3:ListBucket'], Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/mine/*`] }
  await writeFile(file, JSON.stringify({ accounts: [{ root: true, displayName: 'Root', users: [{ name: 'limited', accessKeys: [user], policies: [{ Version: '2012-10-17', Statement: allowed }] }] }] }))
  server = await startServer({ env: { HOLDFAST_BOOTSTRAP_FILE: file } })
  send = bucketSender(server, bucket)
  expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}` })).status).toBe(200)
  expect((await signedRequest({ server, method: 'PUT', path: '/other-bucket' })).status).toBe(200)
  expect((await send('PUT', 'k', { body: 'kept' })).status).toBe(200)
  uploadId = await createUpload(send, 'parts')
  parts = await putParts(send, 'parts', uploadId, [[1, 'one'], [2, 'two']])
})
afterAll(async () => {
  await server.remove()
  await rm(folder, { recursive: true, force: true })
})

type Answer = RawResponse | string | Promise<RawResponse | string>
interface BadRequest {
  /** Row of the list of bad requests that this case is from. */
  readonly row: number
  readonly what: string
  readonly expected: string | RegExp
  readonly ask: () => Answer
}
const bad: BadRequest[] = []
const row = (number: number, what: string, expected: string | RegExp, ask: () => Answer): void => void bad.push({ row: number, what, expected, ask })

const target = (key = 'new'): string => `/${bucket}/${key}`
const put = (more: Partial<RawRequest> = {}, key = 'new'): Promise<RawResponse> => signedRequest({ server, method: 'PUT', path: target(key), body: 'x', ...more })
async function byHand(signing: Partial<Signing>, more: { headers?: Record<string, string>; body?: string } = {}): Promise<RawResponse> {
  const body = Buffer.from(more.body ?? 'x')
  const { path: signed, headers } = signHeaders({ server, method: 'PUT', path: target(), ...signing })
  return sendRequest({ server, method: signing.method ?? 'PUT', path: signed, headers: { ...headers, 'content-length': String(body.length), ...more.headers }, body })
}
async function byUrl(signing: Partial<Parameters<typeof presign>[0]>, headers: Record<string, string> = {}): Promise<RawResponse> {
  const signed = presign({ server, method: 'PUT', path: target(), expires: '60', ...signing })
  return sendRequest({ server, method: signing.method ?? 'PUT', path: signed.path, headers: { ...signed.headers, 'content-length': '1', ...headers }, body: Buffer.from('x') })
}
/** Unsigned chunks with a trailer, framed as given. */
function framed(body: string | Buffer, options: { size?: number; trailer?: string; secretAccessKey?: string; path?: string; headers?: Record<string, string> } = {}): Promise<RawResponse> {
  const bytes = Buffer.from(body)
  const headers = { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': String(options.size ?? 5), ...(options.trailer === undefined ? {} : { 'x-amz-trailer': options.trailer }), ...options.headers }
  const { server: _, ...credentials } = { server, accessKeyId: server.accessKeyId, secretAccessKey: options.secretAccessKey ?? server.secretAccessKey }
  return signedRequest({ server, method: 'PUT', path: options.path ?? target(), body: bytes, headers: { ...headers, 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' }, credentials })
}
const crcTrailer = 'x-amz-checksum-crc32'
const goodFrame = `5\r\nhello\r\n0\r\n${crcTrailer}:NhCmhg==\r\n\r\n`

// 1-3: who and when
row(1, 'wrong secret', '403 SignatureDoesNotMatch', () => put({ credentials: { accessKeyId: server.accessKeyId, secretAccessKey: 'wrong' } }))
row(1, 'one digit of the signature changed', '403 SignatureDoesNotMatch', () => {
  const { path: signed, headers } = signHeaders({ server, method: 'PUT', path: target() })
  const authorization = (headers['authorization'] ?? '').replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))
  return sendRequest({ server, method: 'PUT', path: signed, headers: { ...headers, authorization, 'content-length': '1' }, body: Buffer.from('x') })
})
row(2, 'unknown access key', '403 InvalidAccessKeyId', () => put({ credentials: { accessKeyId: 'NOBODY', secretAccessKey: 'x' } }))
row(2, 'an access key of odd characters', '403 InvalidAccessKeyId', () => byHand({ accessKeyId: "x'--/\\é" }))
row(3, 'dated 16 minutes ago', '403 RequestTimeTooSkewed', () => byHand({ time: timestamp(-16 * 60) }))
row(3, 'dated 16 minutes ahead', '403 RequestTimeTooSkewed', () => byHand({ time: timestamp(16 * 60) }))

// 4-6: presigned URLs
for (const [name, value] of [['x-amz-copy-source', `${bucket}/k`], ['x-amz-tagging', 'a=b'], ['x-amz-acl', 'public-read']] as const) row(4, `a presigned PUT with an unsigned ${name}`, '403 AccessDenied', () => byUrl({}, { [name]: value }))
row(5, 'a URL one second after its expiry', '403 AccessDenied', () => byUrl({ time: timestamp(-61) }))
row(5, 'a URL dated 20 minutes ahead', '403 AccessDenied', () => byUrl({ time: timestamp(20 * 60) }))
for (const expires of ['604801', '-1', 'abc', undefined]) row(6, `X-Amz-Expires=${expires}`, '400 AuthorizationQueryParametersError', () => byUrl({ expires }))

// 7-11: forms of authentication
for (const [piece, value] of [['region', 'mars-1'], ['service', 'ec2'], ['date', '20200101'], ['terminator', 'x']] as const) {
  row(7, `a scope of another ${piece} in the header`, '400 AuthorizationHeaderMalformed', () => byHand({ scope: { [piece]: value } }))
  row(7, `a scope of another ${piece} in the query`, '400 AuthorizationQueryParametersError', () => byUrl({ scope: { [piece]: value } }))
}
row(8, 'Authorization without a space', '400 InvalidArgument', () => byHand({}, { headers: { authorization: 'AWS4-HMAC-SHA256' } }))
row(8, 'Authorization of another scheme', '400 InvalidArgument', () => byHand({}, { headers: { authorization: 'AWS2 key:signature' } }))
row(8, 'Authorization without SignedHeaders', '400 AuthorizationHeaderMalformed', () => byHand({}, { headers: { authorization: 'AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, Signature=0' } }))
row(9, 'Authorization and a presigned query at once', '400 InvalidArgument', () => byHand({ query: { 'X-Amz-Signature': '00' } }))
row(10, 'x-amz-content-sha256: hello', '400 InvalidArgument', () => byHand({ payload: 'hello' }))
row(10, 'the hash of another small body', '400 XAmzContentSHA256Mismatch', () => byHand({ payload: sha256('other') }))
row(10, 'the hash of another large body', '400 XAmzContentSHA256Mismatch', () => put({ body: large, headers: { 'x-amz-content-sha256': sha256('other') } }))
row(11, 'unsigned chunks with the wrong secret', '403 SignatureDoesNotMatch', () => framed(goodFrame, { trailer: crcTrailer, secretAccessKey: 'wrong' }))
row(11, 'unsigned chunks of a part with the wrong secret', '403 SignatureDoesNotMatch', () => framed(goodFrame, { trailer: crcTrailer, secretAccessKey: 'wrong', path: `/${bucket}/parts?partNumber=3&uploadId=${uploadId}` }))
row(11, 'unsigned chunks by a URL with the wrong secret', '403 SignatureDoesNotMatch', () => byUrl({ secretAccessKey: 'wrong', headers: { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' }, payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' }))

// 12-14: chunked bodies
type Chunked = ReturnType<typeof signedChunks>
async function chunked(chunks: readonly Buffer[], change: (pieces: Buffer[]) => Buffer[] = (pieces) => pieces, headers: Record<string, string> = {}): Promise<RawResponse> {
  const signed: Chunked = signedChunks({ server, method: 'PUT', path: target() }, chunks)
  const body = Buffer.concat(change(signed.pieces))
  return sendRequest({ server, method: 'PUT', path: signed.path, headers: { ...signed.headers, 'content-length': String(body.length), ...headers }, body })
}
const two = [Buffer.alloc(9000, 1), Buffer.alloc(9000, 2)]
const replaced = (pattern: RegExp, by: string) => ([first, ...rest]: Buffer[]): Buffer[] => [Buffer.from((first ?? Buffer.alloc(0)).toString('latin1').replace(pattern, by), 'latin1'), ...rest]
row(12, 'a bad chunk signature', '403 SignatureDoesNotMatch', () => chunked(two, replaced(/signature=...../, 'signature=00000')))
row(12, 'swapped chunks', '403 SignatureDoesNotMatch', () => chunked(two, ([a, b, end]) => [b, a, end] as Buffer[]))
row(12, 'a chunk left out', /^(403 SignatureDoesNotMatch|400 IncompleteBody)$/, () => chunked(two, ([a, , end]) => [a, end] as Buffer[]))
row(12, 'a middle chunk below 8 KiB', '400 InvalidChunkSizeError', () => chunked([Buffer.alloc(10, 1), Buffer.alloc(9000, 2)]))
row(12, 'a chunk of FFFFFFFFFFFFFFFF bytes', /^400 (IncompleteBody|InvalidChunkSizeError)$/, () => chunked(two, replaced(/^[0-9a-f]+/, 'FFFFFFFFFFFFFFFF')))
for (const size of ['-5', '0x5', '5 ', '', 'G', '5;x=y', '0'.repeat(2000)]) row(12, `a chunk size ${JSON.stringify(size.slice(0, 12))}`, /^400 (IncompleteBody|InvalidChunkSizeError|InvalidRequest)$/, () => framed(`${size}\r\nhello\r\n0\r\n\r\n`))
row(13, 'a decoded length above the body', '400 IncompleteBody', () => framed(goodFrame, { trailer: crcTrailer, size: 6 }))
row(13, 'a decoded length below the body', '400 IncompleteBody', () => framed(goodFrame, { trailer: crcTrailer, size: 4 }))
row(13, 'a body without its final chunk', '400 IncompleteBody', () => framed('5\r\nhello\r\n'))
row(13, 'a decoded length that is no number', '400 InvalidArgument', () => framed(goodFrame, { headers: { 'x-amz-decoded-content-length': 'five' } }))
for (const size of [100, 100_000, 1_500_000]) row(13, `a client that hangs up in the middle of ${size} bytes`, 'closed', () => hangUp(size))
row(14, 'a trailer without a colon', '400 MalformedTrailerError', () => framed(`5\r\nhello\r\n0\r\n${crcTrailer}\r\n\r\n`, { trailer: crcTrailer }))
row(14, 'a trailer that is cut', '400 MalformedTrailerError', () => framed(`5\r\nhello\r\n0\r\n${crcTrailer}:NhC`, { trailer: crcTrailer }))
row(14, 'a trailing checksum of another body', '400 BadDigest', () => framed(goodFrame.replace('hello', 'other'), { trailer: crcTrailer }))
row(14, 'a trailing checksum that is none', /^400 (BadDigest|InvalidRequest|MalformedTrailerError)$/, () => framed(`5\r\nhello\r\n0\r\n${crcTrailer}:zz\r\n\r\n`, { trailer: crcTrailer }))
row(14, 'two checksum headers', '400 InvalidRequest', () => put({ headers: { 'x-amz-checksum-crc32': 'AAAAAA==', 'x-amz-checksum-sha1': 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=' } }))

// 15: digests
row(15, 'a wrong Content-MD5', '400 BadDigest', () => put({ headers: { 'content-md5': Buffer.alloc(16).toString('base64') } }))
row(15, 'a wrong Content-MD5 of a large body', '400 BadDigest', () => put({ body: large, headers: { 'content-md5': Buffer.alloc(16).toString('base64') } }))
row(15, 'a Content-MD5 that is none', '400 InvalidDigest', () => put({ headers: { 'content-md5': 'not base64' } }))

// 16-18: keys, metadata, headers
row(16, 'a copy source that climbs into another bucket', '400 InvalidArgument', () => put({ headers: { 'x-amz-copy-source': `/${bucket}/../other-bucket/k` } }))
row(16, 'an escaped copy source that climbs', '400 InvalidArgument', () => put({ headers: { 'x-amz-copy-source': `${bucket}%2F..%2F..%2Fetc%2Fpasswd` } }))
row(17, 'a key with NUL', '400 InvalidURI', () => byHand({ path: target('a%00b') }))
row(17, 'a key that is not UTF-8', '400 InvalidURI', () => byHand({ path: target('%FF') }))
row(17, 'a key with half a surrogate pair', '400 InvalidURI', () => byHand({ path: target('%ED%A0%80') }))
row(17, 'a key with a broken escape', '400 InvalidURI', () => byHand({ path: target('%zz') }))
row(17, 'a key of 1,025 bytes', '400 KeyTooLongError', () => put({}, 'k'.repeat(1025)))
row(17, 'a key of 513 times é', '400 KeyTooLongError', () => put({}, '%C3%A9'.repeat(513)))
row(18, '2,049 bytes of metadata', '400 MetadataTooLarge', () => put({ headers: { 'x-amz-meta-a': 'x'.repeat(2048) } }))
row(18, '2,049 bytes of metadata, once decoded', '400 MetadataTooLarge', () => put({ headers: Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`x-amz-meta-${i}`, '\u{1f600}'.repeat(64)])) }))
row(18, '9 KB of headers', '400 RequestHeaderSectionTooLarge', () => put({ headers: Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`x-filler-${i}`, 'x'.repeat(1000)])) }))
row(18, '20 KB of headers', '400 RequestHeaderSectionTooLarge', () => put({ headers: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-filler-${i}`, 'x'.repeat(1000)])) }))

// 19-20: documents
const documents: readonly (readonly [string, string])[] = [
  ['an entity bomb', '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'],
  ['an external entity', '<!DOCTYPE x SYSTEM "file:///etc/passwd"><Delete><Object><Key>k</Key></Object></Delete>'], ['an element named __proto__', '<__proto__><Object><Key>k</Key></Object></__proto__>'],
  ['a prototype inside', '<Delete><__proto__><Key>k</Key></__proto__></Delete>'], ['20,000 nested tags', '<Delete>'.repeat(20_000)], ['20,000 nested tags that end', '<a>'.repeat(20_000) + '</a>'.repeat(20_000)],
  ['a document that is cut', '<Delete><Object><Key>k</Key></Object>'], ['two roots', '<Delete><Object><Key>k</Key></Object></Delete><Delete/>'], ['text', 'delete everything'], ['nothing', ''],
  ['an unknown entity', '<Delete><Object><Key>&nbsp;</Key></Object></Delete>'], ['a NUL reference', '<Delete><Object><Key>&#0;</Key></Object></Delete>'], ['bytes that are not UTF-8', '<Delete><Object><Key>\xff</Key></Object></Delete>'],
]
for (const [what, body] of documents) row(19, what, /^400 (MalformedXML|MissingRequestBodyError)$/, () => send('POST', '?delete', { body: what.includes('not UTF-8') ? Buffer.from(body, 'latin1') : body }))
row(19, 'a million references', /^(400 MalformedXML|400 KeyTooLongError|400 MaxMessageLengthExceeded|200)$/, () => send('POST', '?delete', { body: `<Delete><Quiet>${'&#65;'.repeat(700_000)}</Quiet></Delete>` }))
row(19, 'more than four megabytes', '400 MaxMessageLengthExceeded', () => send('POST', '?delete', { body: Buffer.alloc(4 * 1024 * 1024 + 1, 32) }))
row(20, '1,001 keys', '400 MalformedXML', () => send('POST', '?delete', { body: `<Delete>${'<Object><Key>k</Key></Object>'.repeat(1001)}</Delete>` }))

// 21-22: parts and lengths
for (const number of ['0', '10001', '-1', 'x']) row(21, `part ${number}`, '400 InvalidArgument', () => send('PUT', `parts?partNumber=${number}&uploadId=${uploadId}`, { body: 'x' }))
row(21, 'a middle part below 5 MiB', '400 EntityTooSmall', () => complete(send, 'parts', uploadId, parts))
row(21, 'the order 2, 1', '400 InvalidPartOrder', () => complete(send, 'parts', uploadId, parts.toReversed()))
row(21, 'a wrong ETag', '400 InvalidPart', () => complete(send, 'parts', uploadId, [{ number: 1, etag: md5('x') }]))
row(21, 'an empty list', '400 MalformedXML', () => complete(send, 'parts', uploadId, []))
row(21, 'an upload that is not there', '404 NoSuchUpload', () => complete(send, 'parts', '0'.repeat(44), parts))
row(22, 'a declared length above 5 GiB', '400 EntityTooLarge', () => send('PUT', 'new', { headers: { 'content-length': String(5 * 1024 ** 3 + 1), 'expect': '100-continue', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }))
row(22, 'no length', '411 MissingContentLength', () => put({ headers: { 'transfer-encoding': 'chunked', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }))
row(22, 'chunks without a decoded length', '411 MissingContentLength', () => signedRequest({ server, method: 'PUT', path: target(), body: goodFrame, headers: { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-trailer': crcTrailer } }))
row(22, 'a length beyond all numbers', /^400/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n`))

// 23: rights
row(23, 'a copy without the right to read its source', '403 AccessDenied', () => put({ credentials: user, headers: { 'x-amz-copy-source': `/${bucket}/k` } }, 'mine/new'))
row(23, 'a copied part without the right to read its source', '403 AccessDenied', () => signedRequest({ server, credentials: user, method: 'PUT', path: `/${bucket}/mine/new?partNumber=1&uploadId=${uploadId}`, headers: { 'x-amz-copy-source': `/${bucket}/k` } }))
row(23, 'a version with the right to the current one alone', '403 AccessDenied', () => signedRequest({ server, credentials: user, path: `/${bucket}/mine/new?versionId=null` }))

// 24: HTTP itself
const smuggled = `PUT ${target('smuggled')} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx`
row(24, 'Content-Length beside Transfer-Encoding', /^(400 BadRequest|closed)/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`))
row(24, 'two lengths', /^(400 BadRequest|closed)/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nabcd${smuggled}`))
row(24, 'a space before the colon', /^(400 BadRequest|closed)/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd${smuggled}`))
row(24, 'a bare line feed', /^(400 BadRequest|closed)/, () => bySocket(`PUT ${target()} HTTP/1.1\nHost: x\nContent-Length: 0\n\n${smuggled}`))
row(24, 'another transfer coding', /^(400 BadRequest|501 NotImplemented|closed)/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`))
row(24, 'a chunk of a transfer coding that is none', /^(400|403)/, () => bySocket(`PUT ${target()} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n${smuggled}`))
for (const [what, method, key, headers] of [
  ['a removal', 'DELETE', 'k'], ['a new upload', 'POST', 'new?uploads='], ['a copy', 'PUT', 'new', { 'x-amz-copy-source': `/${bucket}/k` }],
  ['an end of an upload', 'DELETE', 'parts?uploadId=UPLOAD'], ['a copied part', 'PUT', 'parts?partNumber=1&uploadId=UPLOAD', { 'x-amz-copy-source': `/${bucket}/k` }],
] as const) {
  const ask = (body: string, end: boolean) => (): Promise<string> => {
    const { path: signed, headers: sent } = signRequest({ server, method, path: target(key.replace('UPLOAD', uploadId)), headers: { ...headers, 'transfer-encoding': 'chunked' } })
    return bySocket(`${method} ${signed} HTTP/1.1\r\n${Object.entries(sent).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`, end)
  }
  row(24, `with a cut body, ${what}`, /^400/, ask('5\r\nhel', true))
  row(24, `with half of a request, ${what}`, /^400/, ask('', true))
  row(24, `with a body that is none, ${what}`, /^400/, ask('zz\r\n', false))
}
row(24, 'a removal with a body that is longer than any document', '400 MaxMessageLengthExceeded', () => signedRequest({ server, method: 'DELETE', path: target('k'), body: Buffer.alloc(4 * 1024 ** 2 + 1) }))
row(24, 'no Host', /^400/, () => bySocket(`GET ${target()} HTTP/1.1\r\n\r\n`))
row(24, 'two Hosts', /^400/, () => bySocket(`GET ${target()} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`))
row(24, 'a folded header', /^(400|403)/, () => bySocket(`GET ${target()} HTTP/1.1\r\nHost: x\r\nX-Amz-Meta-A: a\r\n b\r\n\r\n`))
row(24, 'no HTTP at all', /^(400|closed)/, () => bySocket('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'))
row(24, 'a target that is no path', /^400/, () => bySocket('GET foo HTTP/1.1\r\nHost: x\r\n\r\n'))
row(24, 'a header named __proto__', '403 AccessDenied', () => bySocket(`GET ${target()} HTTP/1.1\r\nHost: x\r\n__proto__: x\r\nconstructor: x\r\n\r\n`))

// 25: answers
row(25, 'a response override with a line break', '400 InvalidRequest', () => send('GET', 'k?response-content-type=text%2Fplain%0D%0Ax-injected%3A%201'))
row(25, 'a response override without a signature', /^(400 InvalidRequest|403 AccessDenied)$/, () => send('GET', 'k?response-content-type=text%2Fplain', { sign: 'none' }))

/** Status and code of the first answer on a socket, `closed` when there was none. */
async function bySocket(bytes: string, end = false): Promise<string> {
  const { text } = await rawSocket(server, Buffer.from(bytes, 'latin1'), { idleMs: 300, end })
  // A second answer would be to a request that was hidden in the first.
  expect(text.match(/HTTP\/1\.1 200/g) ?? []).toEqual([])
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]
  return status === undefined ? 'closed' : `${status} ${/<Code>([^<]*)/.exec(text)?.[1] ?? ''}`
}

/** A signed PUT whose client goes away behind half of its body. */
async function hangUp(size: number): Promise<string> {
  const { path: signed, headers } = signHeaders({ server, method: 'PUT', path: target() })
  const lines = Object.entries({ ...headers, 'content-length': String(size) }).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  await new Promise<void>((resolve) => {
    const socket = net.connect(server.port, '127.0.0.1')
    socket.once('error', () => resolve())
    socket.write(`PUT ${signed} HTTP/1.1\r\n${lines}\r\n`)
    socket.write(Buffer.alloc(Math.floor(size / 2), 1), () => setTimeout(() => {
      socket.destroy()
      resolve()
    }, 30))
  })
  return 'closed'
}

test.each(bad)('row $row: $what -> $expected', async ({ expected, ask }) => {
  const before = [await bucketContents(server, bucket), await bucketContents(server, 'other-bucket'), await bucketNames(server)]
  const answer = await ask()
  const got = typeof answer === 'string' ? answer : outcome(answer)
  if (typeof expected === 'string') expect(got).toBe(expected)
  else expect(got).toMatch(expected)
  expect([await bucketContents(server, bucket), await bucketContents(server, 'other-bucket'), await bucketNames(server)]).toEqual(before)
  expect(await lastingTemporaryFiles(server.dataDir)).toEqual([])
  expect((await send('GET', 'k')).text).toBe('kept')
})

test('row 16: paths with dots and double slashes are exactly the keys that they spell, in no other bucket', async () => {
  for (const [spelled, key] of [['..%2f..%2fother-bucket/k', '../../other-bucket/k'], ['%2e%2e', '..'], ['/a/./b', '/a/./b'], ['../other-bucket/k', '../other-bucket/k'], ['a/../../other-bucket/k', 'a/../../other-bucket/k']] as const) {
    const stored = await put({ body: spelled }, spelled)
    expect([200, 400]).toContain(stored.status)
    if (stored.status !== 200) continue
    expect((await send('GET', '?list-type=2&encoding-type=url')).text).toContain(`<Key>${encodeURIComponent(key).replaceAll('%2F', '/')}</Key>`)
    expect((await send('DELETE', spelled)).status).toBe(204)
  }
  expect(await bucketContents(server, 'other-bucket')).toEqual(['', ''])
})

test('row 20: DeleteObjects takes exactly the keys that it names', async () => {
  const keys = ['001', '1e5', 'true', ' a ', 'a&b', '\u{1f600}', 'a', '1', '100000', 'b']
  for (const key of keys) await put({ body: 'x' }, encodeURIComponent(key))
  const body = '<Delete><Object><Key>001</Key></Object><Object><Key>1e5</Key></Object><Object><Key>true</Key></Object><Object><Key> a </Key></Object><Object><Key>a&amp;b</Key></Object><Object><Key>&#x1F600;</Key></Object></Delete>'
  expect((await send('POST', '?delete', { body })).status).toBe(200)
  const left = (await send('GET', '?list-type=2')).text
  for (const key of ['a', '1', '100000', 'b', 'k']) expect(left).toContain(`<Key>${key}</Key>`)
  for (const key of ['001', '1e5', 'true', ' a ', 'a&amp;b', '\u{1f600}']) expect(left).not.toContain(`<Key>${key}</Key>`)
  for (const key of ['a', '1', '100000', 'b']) await send('DELETE', key)
})

test('row 24: a body that nobody reads is waited for, and its connection goes on', async () => {
  const id = await createUpload(send, 'slow')
  const { path: signed, headers } = signRequest({ server, method: 'DELETE', path: target(`slow?uploadId=${id}`), headers: { 'content-length': '5' } })
  const head = `DELETE ${signed} HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
  const uploads = async (): Promise<string> => (await send('GET', '?uploads')).text
  const socket = net.connect(server.port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1') })
  socket.write(`${head}he`)
  await sleep(200)
  expect((await uploads()).includes(id)).toBe(true)
  expect(text).toBe('')
  socket.write('llo')
  await vi.waitFor(() => expect(text).toMatch(/^HTTP\/1\.1 204 /))
  expect((await uploads()).includes(id)).toBe(false)
  socket.write(`${head}hello`)
  await vi.waitFor(() => expect(text).toMatch(/HTTP\/1\.1 404 [\s\S]*NoSuchUpload/))
  socket.destroy()
})

test('row 21: a finished upload answers the same again, or 404 to another list', async () => {
  const id = await createUpload(send, 'finished')
  const list = await putParts(send, 'finished', id, [[1, 'x']])
  const first = await complete(send, 'finished', id, list)
  expect([first.status, (await complete(send, 'finished', id, list)).status]).toEqual([200, 200])
  expect(outcome(await complete(send, 'finished', id, [{ number: 2, etag: md5('x') }]))).toBe('404 NoSuchUpload')
  await send('DELETE', 'finished')
})

test('after all of them the process is the one that was started, and it wrote no error', () => {
  expect(server.output()).not.toMatch(/in a way that nobody foresaw|"level":"error"/)
  expect(() => process.kill(server.pid, 0)).not.toThrow()
  expect(digest['CRC32']?.(Buffer.from('hello'))).toBe('NhCmhg==')
})
