import fc from 'fast-check'
import type { Endpoint } from './raw.ts'
import { signHeaders } from './signing.ts'

/** Good requests of every kind, and what a fuzzer changes in them before they are signed, so that the change goes deep. */

const xmlDelete = '<Delete><Object><Key>VICTIM</Key></Object><Object><Key>missing</Key><VersionId>null</VersionId></Object></Delete>'
const xmlTags = '<Tagging><TagSet><Tag><Key>a</Key><Value>NEW</Value></Tag></TagSet></Tagging>'
const xmlVersioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const xmlComplete = '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"9dd4e461268c8034f5c8564e155c67a6"</ETag><ChecksumCRC32>jNxO+w==</ChecksumCRC32></Part></CompleteMultipartUpload>'
const frame = '5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n'
const frameHeaders = { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-decoded-content-length': '5', 'x-amz-trailer': 'x-amz-checksum-crc32', 'content-encoding': 'aws-chunked' }

export interface Good {
  readonly method: string
  /** Behind `/bucket`. NEW stands for a key that is not there, VICTIM for one that is, UPLOAD for an upload that is open, PAGE for a token of a listing. */
  readonly target: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export const good: readonly Good[] = [
  { method: 'PUT', target: '/NEW', body: 'hello' }, { method: 'PUT', target: '/NEW', body: 'x'.repeat(200_000) }, { method: 'PUT', target: '/NEW', body: frame, headers: frameHeaders },
  { method: 'GET', target: '/k' }, { method: 'HEAD', target: '/k' }, { method: 'DELETE', target: '/VICTIM' }, { method: 'PUT', target: '/NEW', headers: { 'x-amz-copy-source': '/BUCKET/k' } },
  { method: 'GET', target: '', query: { 'list-type': '2', prefix: 'k', delimiter: '/', 'max-keys': '10' } }, { method: 'GET', target: '', query: { versions: '', 'key-marker': 'a' } }, { method: 'GET', target: '', query: { uploads: '' } },
  { method: 'POST', target: '', query: { delete: '' }, body: xmlDelete }, { method: 'PUT', target: '/k', query: { tagging: '' }, body: xmlTags }, { method: 'PUT', target: '', query: { tagging: '' }, body: xmlTags },
  { method: 'PUT', target: '', query: { versioning: '' }, body: xmlVersioning }, { method: 'GET', target: '/k', query: { attributes: '' }, headers: { 'x-amz-object-attributes': 'ETag,Checksum,ObjectParts' } },
  { method: 'POST', target: '/NEW', query: { uploads: '' } }, { method: 'PUT', target: '/parts', query: { partNumber: '2', uploadId: 'UPLOAD' }, body: 'x' },
  { method: 'PUT', target: '/parts', query: { partNumber: '2', uploadId: 'UPLOAD' }, headers: { 'x-amz-copy-source': '/BUCKET/k', 'x-amz-copy-source-range': 'bytes=0-1' } },
  { method: 'POST', target: '/parts', query: { uploadId: 'UPLOAD' }, body: xmlComplete }, { method: 'GET', target: '/parts', query: { uploadId: 'UPLOAD' } }, { method: 'DELETE', target: '/parts', query: { uploadId: 'UPLOAD' } },
  { method: 'GET', target: '/k', headers: { range: 'bytes=1-3' } }, { method: 'GET', target: '', query: { 'list-type': '2', 'continuation-token': 'PAGE' } },
  { method: 'PUT', target: '/NEW', headers: { 'x-amz-tagging': 'a=b&c=d%20e', 'x-amz-meta-one': 'two', 'content-type': 'text/plain', 'if-none-match': '*' }, body: 'hello' },
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
export const bodyPiece = fc.constantFrom('', '<', '>', '&', '&#0;', '&#x10FFFF;', '&#xD800;', '&lt;', ']]>', '<![CDATA[', '<![CDATA[x]]>', '<!--', '-->', '<!DOCTYPE x>', '<?xml version="1.0"?>', '\0', '\x01', '\r\n', '\n', '<a>', '</a>', '<a/>', '<Key>', '</Key>', '<Part>', 'é', '\ufeff', '\uffff',
  '0', '-1', 'FFFFFFFFFFFFFFFF', ';chunk-signature=', ':', 'x-amz-checksum-crc32:', '5\r\n', '0\r\n\r\n', ' ', '"', 'x'.repeat(9000))
export const edit = fc.record({ at: fc.nat(1000), cut: fc.oneof(fc.constant(0), fc.nat(4), fc.nat(200)), insert: bodyPiece })
export type Edit = typeof edit extends fc.Arbitrary<infer Value> ? Value : never

export const mutation = fc.record({
  base: fc.nat(good.length - 1), path: pathPiece,
  headers: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fc.tuple(fc.constantFrom(...headerNames), oddValue), { maxLength: 3 })),
  query: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fc.tuple(fc.constantFrom(...queryNames), oddValue), { maxLength: 3 })),
  edits: fc.oneof({ weight: 1, arbitrary: fc.constant([]) }, fc.array(edit, { maxLength: 3 })),
  method: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH')),
})
export type Mutation = typeof mutation extends fc.Arbitrary<infer Value> ? Value : never

export const edited = (text: string, edits: readonly Edit[]): string => edits.reduce((now, { at, cut, insert }) => {
  const start = Math.floor(at / 1000 * now.length)
  return now.slice(0, start) + insert + now.slice(start + cut)
}, text)

export interface Scene {
  readonly server: Endpoint
  readonly bucket: string
  readonly uploadId: string
  /** What NEW, VICTIM and PAGE stand for. */
  readonly fresh: string
  readonly victim: string
  readonly page: string
}

export interface ChangedRequest {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: Buffer | undefined
}

/** The changed request, signed as it is. Header values keep to what a client can send. */
export function changedRequest({ base, path, headers, query, edits, method }: Mutation, { server, bucket, uploadId, fresh, victim, page }: Scene): ChangedRequest {
  const from = good[base] as Good
  const named = (text: string): string => text.replaceAll('BUCKET', bucket).replaceAll('UPLOAD', uploadId).replaceAll('NEW', fresh).replaceAll('VICTIM', victim).replaceAll('PAGE', page)
  const fields = Object.fromEntries([...Object.entries(from.headers ?? {}), ...headers]
    .map(([name, value]) => [name, named(value).toWellFormed().replace(/[^\t\x20-\x7e\x80-\u{10ffff}]/gu, '').replace(/\s+/g, ' ').trim()]))
  const parameters = Object.fromEntries([...Object.entries(from.query ?? {}), ...query].map(([name, value]) => [name, named(value).toWellFormed()]))
  const body = from.body === undefined && edits.length === 0 ? undefined : Buffer.from(edited(named(from.body ?? ''), edits))
  const verb = method ?? from.method
  const { 'x-amz-content-sha256': payload = 'UNSIGNED-PAYLOAD', ...others } = fields
  const signed = signHeaders({ server, method: verb, path: `/${bucket}${named(from.target)}${path}`, query: parameters, headers: others, payload })
  const sent = Object.fromEntries(Object.entries(signed.headers).map(([name, value]) => [name, Buffer.from(value).toString('latin1')]))
  return { method: verb, path: signed.path, headers: { ...sent, ...(body === undefined ? {} : { 'content-length': String(body.length) }) }, body }
}
