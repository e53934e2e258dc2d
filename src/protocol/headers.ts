import { isUtf8 } from 'node:buffer'
import type { EtagList, ReadConditions } from '../domain/conditions.ts'
import { S3Error } from '../domain/errors.ts'
import { objectTagsMax, userMetadataBytesMax } from '../domain/limits.ts'
import type { DeleteConditions, ObjectMetadata, SystemHeaderName, Tag, WriteConditions } from '../domain/model.ts'
import { checkTags } from '../domain/names.ts'
import { parseHttpDate } from './dates.ts'
import { createOwnNames } from './own-names.ts'
import type { Headers } from './request.ts'
import { decodeWords } from './rfc2047.ts'
import { parseQuery } from './target.ts'

/** Request headers, decoded into the words of the model. What belongs to answers is in `response-headers.ts`. */

export type { EtagList, ReadConditions } from '../domain/conditions.ts'
export {
  checksumRequest, contentMd5, checksumTypeHeader, copyChecksumAlgorithm, expectedDigests, objectChecksum, type ChecksumRequest,
} from './checksum-headers.ts'
export { httpDate, isoDate, parseHttpDate } from './dates.ts'
export { refuseUnsupported } from './unsupported.ts'
export { checksumElements, checksumHeaders, objectHeaders, versionHeaders } from './response-headers.ts'

/** Header fields from Node's `incoming.rawHeaders`: name and value in turn, bytes as Latin-1. */
export function makeHeaders(rawHeaders: readonly string[]): Headers {
  const entries: (readonly [string, string])[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    entries.push([ownName(name) ?? name.toLowerCase(), decodeBytes(rawHeaders[i + 1] ?? '')])
  }
  // A Map, so that a header named `__proto__` is a header; made at the first look.
  let joined: Map<string, string> | undefined
  const map = (): Map<string, string> => joined ??= join(entries)
  return { entries, get: (name) => map().get(name), has: (name) => map().has(name) }
}

/** What nearly every client sends, in small letters or as HTTP/1.1 usually spells it. */
const ownName = createOwnNames([
  'host', 'user-agent', 'accept', 'accept-encoding', 'connection', 'content-length', 'content-type', 'content-md5', 'expect', 'range', 'authorization', 'transfer-encoding',
  'x-amz-date', 'x-amz-content-sha256', 'x-amz-decoded-content-length', 'x-amz-trailer', 'x-amz-user-agent', 'x-amz-sdk-checksum-algorithm', 'amz-sdk-invocation-id', 'amz-sdk-request',
], (name) => name.replaceAll(/(?<![a-z0-9])[a-z]/g, (letter) => letter.toUpperCase()))

function join(entries: Headers['entries']): Map<string, string> {
  const map = new Map<string, string>()
  for (const [name, value] of entries) {
    const before = map.get(name)
    map.set(name, before === undefined ? value : `${before},${value}`)
  }
  return map
}

/** Clients send UTF-8 unescaped: bytes that are UTF-8 are read so, others stay Latin-1. */
function decodeBytes(value: string): string {
  const trimmed = value.trim()
  if (!/[\x80-\xff]/.test(trimmed)) return trimmed
  const bytes = Buffer.from(trimmed, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : trimmed
}

const systemHeaders: readonly SystemHeaderName[] = [
  'cache-control', 'content-disposition', 'content-encoding', 'content-language', 'content-type', 'expires', 'x-amz-website-redirect-location',
]
const userPrefix = 'x-amz-meta-'

/**
 * System and user metadata of a new object. Content-Encoding loses `aws-chunked`, which is about the transfer. User values
 * are decoded by RFC 2047; several headers of one name are joined with a comma.
 * Throws MetadataTooLarge above 2 KB of names and values in UTF-8, InvalidArgument for a redirect that is no path or URL.
 */
export function objectMetadata(headers: Headers): ObjectMetadata {
  const system: Partial<Record<SystemHeaderName, string>> = {}
  for (const name of systemHeaders) {
    const value = headers.get(name)
    const kept = name === 'content-encoding' ? withoutAwsChunked(value) : value
    if (kept !== undefined && kept !== '') system[name] = kept
  }
  const redirect = system['x-amz-website-redirect-location']
  if (redirect !== undefined && !/^(?:\/|https?:\/\/)/.test(redirect)) {
    throw new S3Error('InvalidRedirectLocation', 'The website redirect location must have a prefix of \'http://\' or \'https://\' or \'/\'.')
  }
  return { system, user: userMetadata(headers) }
}

function withoutAwsChunked(value: string | undefined): string | undefined {
  if (value === undefined || !/aws-chunked/i.test(value)) return value
  return value.split(',').map((coding) => coding.trim()).filter((coding) => coding.toLowerCase() !== 'aws-chunked').join(',')
}

function userMetadata(headers: Headers): Record<string, string> {
  const user = new Map<string, string>()
  for (const [name, value] of headers.entries) {
    if (!name.startsWith(userPrefix)) continue
    const key = name.slice(userPrefix.length)
    const before = user.get(key)
    user.set(key, before === undefined ? decodeWords(value) : `${before},${decodeWords(value)}`)
  }
  let size = 0
  for (const [name, value] of user) {
    size += Buffer.byteLength(name) + Buffer.byteLength(value)
    // Encoded words can carry what no header could; PostgreSQL's text refuses NUL.
    if (value.includes('\0')) {
      throw new S3Error('InvalidArgument', 'User metadata has no NUL character.', { fields: { ArgumentName: userPrefix + name } })
    }
  }
  if (size > userMetadataBytesMax) {
    throw new S3Error('MetadataTooLarge', undefined, { fields: { Size: String(size), MaxSizeAllowed: String(userMetadataBytesMax) } })
  }
  // fromEntries defines its properties, so that a name like `__proto__` is one of them.
  return Object.fromEntries(user)
}

/** An ETag without quotes; `*` and an ETag that came without quotes stay as they are. A weak mark never matches S3's strong ETags. */
export function entityTag(text: string): string {
  const trimmed = text.trim()
  return trimmed.length > 1 && trimmed.startsWith('"') && trimmed.endsWith('"') ? trimmed.slice(1, -1) : trimmed
}

/** `*`, or the ETags of a list. */
export function etagList(value: string): EtagList {
  const tags = value.split(',').map(entityTag).filter((tag) => tag !== '')
  return tags.includes('*') ? '*' : tags
}

/**
 * If-Match and If-None-Match of PutObject, CompleteMultipartUpload and CopyObject's destination. S3 takes an ETag in the
 * first and `*` in the second, one of them at a time, and answers NotImplemented for the rest.
 * Source: PutObject's API reference.
 */
export function writeConditions(headers: Headers): WriteConditions {
  const ifMatch = headers.get('if-match')
  const ifNoneMatch = headers.get('if-none-match')
  for (const name of ['if-modified-since', 'if-unmodified-since']) if (headers.has(name)) throw notImplemented(name)
  if (ifMatch !== undefined && ifNoneMatch !== undefined) throw notImplemented('If-Match,If-None-Match')
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch !== '*') throw notImplemented('If-None-Match')
    return { ifNoneMatch }
  }
  if (ifMatch === undefined) return {}
  const tags = etagList(ifMatch)
  const [tag] = tags
  if (tags === '*' || tag === undefined || tags.length > 1) throw notImplemented('If-Match')
  return { ifMatch: tag }
}

const notImplemented = (header: string): S3Error => new S3Error('NotImplemented', undefined, {
  fields: { Header: header, additionalMessage: 'We don\'t accept the provided value of this header' },
})

/** Conditions of DeleteObject: an ETag or `*`, the time as HTTP date, the size in bytes. Throws InvalidArgument, NotImplemented. */
export function deleteConditions(headers: Headers): DeleteConditions {
  const when: { -readonly [Name in keyof DeleteConditions]: DeleteConditions[Name] } = {}
  const ifMatch = headers.get('if-match')
  if (headers.has('if-none-match')) throw notImplemented('If-None-Match')
  if (ifMatch !== undefined) {
    const tags = etagList(ifMatch)
    if (tags.length !== 1 || tags[0] === undefined) throw notImplemented('If-Match')
    when.ifMatch = tags[0]
  }
  const modified = headers.get('x-amz-if-match-last-modified-time')
  if (modified !== undefined) {
    const ms = parseHttpDate(modified)
    if (ms === undefined) throw invalidHeader('x-amz-if-match-last-modified-time', modified)
    when.ifMatchLastModified = Math.floor(ms / 1000) * 1000
  }
  const size = headers.get('x-amz-if-match-size')
  if (size !== undefined) {
    if (!/^\d{1,15}$/.test(size)) throw invalidHeader('x-amz-if-match-size', size)
    when.ifMatchSize = Number(size)
  }
  return when
}

const invalidHeader = (name: string, value: string): S3Error =>
  new S3Error('InvalidArgument', `Value for ${name} header is invalid.`, { fields: { ArgumentName: name, ArgumentValue: value } })

/** Conditions of GetObject and HeadObject. A date that does not parse is ignored (RFC 9110, 13.1.3). */
export function readConditions(headers: Headers): ReadConditions {
  return conditions(headers, readNames)
}

/** The x-amz-copy-source-if-* headers of CopyObject and UploadPartCopy. */
export function copySourceConditions(headers: Headers): ReadConditions {
  return conditions(headers, copySourceNames)
}

const noConditions: ReadConditions = {}

interface ConditionNames {
  readonly match: string
  readonly noneMatch: string
  readonly modified: string
  readonly unmodified: string
}

const readNames: ConditionNames = { match: 'if-match', noneMatch: 'if-none-match', modified: 'if-modified-since', unmodified: 'if-unmodified-since' }
const copySourceNames: ConditionNames = {
  match: 'x-amz-copy-source-if-match', noneMatch: 'x-amz-copy-source-if-none-match',
  modified: 'x-amz-copy-source-if-modified-since', unmodified: 'x-amz-copy-source-if-unmodified-since',
}

function conditions(headers: Headers, names: ConditionNames): ReadConditions {
  const ifMatch = headers.get(names.match)
  const ifNoneMatch = headers.get(names.noneMatch)
  const modified = headers.get(names.modified)
  const unmodified = headers.get(names.unmodified)
  const ifModifiedSince = modified === undefined ? undefined : parseHttpDate(modified)
  const ifUnmodifiedSince = unmodified === undefined ? undefined : parseHttpDate(unmodified)
  if (ifMatch === undefined && ifNoneMatch === undefined && ifModifiedSince === undefined && ifUnmodifiedSince === undefined) return noConditions
  return {
    ...ifMatch === undefined ? {} : { ifMatch: etagList(ifMatch) },
    ...ifNoneMatch === undefined ? {} : { ifNoneMatch: etagList(ifNoneMatch) },
    ...ifModifiedSince === undefined ? {} : { ifModifiedSince },
    ...ifUnmodifiedSince === undefined ? {} : { ifUnmodifiedSince },
  }
}

/**
 * x-amz-tagging: `key=value&key2=value2`, URL-encoded. No header, no tags.
 * Throws InvalidTag (see `domain/names.ts`), BadRequest for more than 10, InvalidArgument when it is not URL-encoded.
 */
export function parseTaggingHeader(value: string | undefined): Tag[] {
  if (value === undefined || value === '') return []
  const tags = decodeTagging(value)
  if (tags.length > objectTagsMax) throw new S3Error('BadRequest', `Object tags cannot be greater than ${objectTagsMax}`)
  checkTags(tags)
  return tags
}

function decodeTagging(value: string): Tag[] {
  try {
    return parseQuery(value).entries.map(([key, text]) => ({ key, value: text }))
  } catch (cause) {
    const message = 'The header \'x-amz-tagging\' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.'
    throw new S3Error('InvalidArgument', message, { fields: { ArgumentName: 'x-amz-tagging', ArgumentValue: value }, cause })
  }
}
