import { S3Error } from '../domain/errors.ts'
import { keyBytesMax } from '../domain/limits.ts'
import { ofLast } from '../domain/of-last.ts'
import { createOwnNames } from './own-names.ts'
import type { Query, Target } from './request.ts'

/** No URL object is used here: it would fold `..`, collapse slashes and re-encode, while keys and signatures need what was sent. */

export interface ParsedTarget {
  readonly rawPath: string
  readonly rawQuery: string
  readonly target: Target
}

/**
 * Where a request line points. `rawUrl` is Node's `incoming.url`; `host` the Host header ('' when there is none); `domain`
 * the domain for virtual-host addressing, null for path style alone. Requests to the domain itself are path style.
 * Throws InvalidURI (not percent-encoded UTF-8, NUL), KeyTooLongError, InvalidRequest (absolute form that names another host
 * than the Host header: the signature covers only the header).
 */
export function parseTarget(request: { rawUrl: string; host: string; domain: string | null }): ParsedTarget {
  const local = originForm(request.rawUrl, request.host)
  const mark = local.indexOf('?')
  const rawPath = mark < 0 ? local : local.slice(0, mark)
  const rawQuery = mark < 0 ? '' : local.slice(mark + 1)
  const bucket = request.domain === null ? null : hostBucket(request.host, request.domain)
  return { rawPath, rawQuery, target: bucket === null ? pathStyle(rawPath) : inBucket(bucket, rawPath.slice(1)) }
}

/** `/path?query` of a request target; `http://host/path` is the absolute form that proxies send. */
function originForm(rawUrl: string, host: string): string {
  if (rawUrl.startsWith('/')) return rawUrl
  const absolute = /^https?:\/\/([^/?]*)(.*)$/is.exec(rawUrl)
  if (!absolute) throw invalidUri(rawUrl)
  const [, authority = '', rest = ''] = absolute
  if (authority.toLowerCase() !== host.toLowerCase()) {
    throw new S3Error('InvalidRequest', 'The request target names another host than the Host header.')
  }
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** The bucket in front of the domain, null when the host is not below it. Host names have no case. */
function hostBucket(host: string, domain: string): string | null {
  const name = withoutPort(host.toLowerCase())
  const suffix = `.${withoutPort(domain.toLowerCase())}`
  return name.length > suffix.length && name.endsWith(suffix) ? name.slice(0, -suffix.length) : null
}

const withoutPort = (host: string): string => host.replace(/\.?(?::\d*)?$/, '')

function pathStyle(rawPath: string): Target {
  if (rawPath === '/') return { scope: 'service' }
  const slash = rawPath.indexOf('/', 1)
  const bucket = decodePath(slash < 0 ? rawPath.slice(1) : rawPath.slice(1, slash))
  if (bucket === '') throw new S3Error('InvalidBucketName', undefined, { fields: { BucketName: '' } })
  return inBucket(bucket, slash < 0 ? '' : rawPath.slice(slash + 1))
}

function inBucket(bucket: string, rawKey: string): Target {
  if (rawKey === '') return { scope: 'bucket', bucket }
  const key = decodePath(rawKey)
  // A character takes three bytes at most for each UTF-16 unit, so that short keys need no count.
  if (key.length * 3 > keyBytesMax) checkKeyLength(key)
  return { scope: 'object', bucket, key }
}

/** Throws KeyTooLongError for a key beyond 1024 bytes of UTF-8. */
export function checkKeyLength(key: string): void {
  const size = Buffer.byteLength(key)
  if (size > keyBytesMax) throw new S3Error('KeyTooLongError', undefined, { fields: { Size: String(size), MaxSizeAllowed: String(keyBytesMax) } })
}

/**
 * A query as the client wrote it. `+` is a space, as AWS reads it; a literal plus comes as `%2B`.
 * Throws InvalidURI for escapes that are malformed, not UTF-8, or NUL.
 */
export function parseQuery(rawQuery: string): Query {
  if (rawQuery === '') return emptyQuery
  const decode = isPlain(rawQuery) ? decodeEscaped : decodeQuery
  const entries: Entry[] = []
  // A presigned URL has six parameters of its signature, and each request is asked for thirty others: those are looked for among their like.
  const signing: Entry[] = []
  const others: Entry[] = []
  for (let from = 0; from < rawQuery.length;) {
    const mark = rawQuery.indexOf('&', from)
    const to = mark < 0 ? rawQuery.length : mark
    if (to > from) {
      const entry = queryEntry(rawQuery.slice(from, to), decode)
      entries.push(entry)
      if (isOfSignature(entry[0])) signing.push(entry)
      else others.push(entry)
    }
    from = to + 1
  }
  const find = (name: string): Entry | undefined => {
    const among = isOfSignature(name) ? signing : others
    for (const entry of among) if (entry[0] === name) return entry
    return undefined
  }
  return { entries, get: (name) => find(name)?.[1], has: (name) => find(name) !== undefined }
}

type Entry = readonly [name: string, value: string]

const capitalX = 0x58
const isOfSignature = (name: string): boolean => name.charCodeAt(0) === capitalX

/** Whether only escapes and `+` are left to be decoded. */
const isPlain = (text: string): boolean => /^[!-~]*$/.test(text)

/** Of what has nothing else to decode. The one escaped value of most presigned URLs is that of the one before: their credential. */
const decodeEscaped = (text: string): string => (text.includes('%') || text.includes('+') ? decodeAgain(text) : text)
const decodeAgain = ofLast((text: string) => decodeQuery(text))

function queryEntry(pair: string, decode: (text: string) => string): Entry {
  const mark = pair.indexOf('=')
  const name = mark < 0 ? pair : pair.slice(0, mark)
  return [ownName(name) ?? decode(name), mark < 0 ? '' : decode(pair.slice(mark + 1))]
}

/** Query parameters that are the signature itself, as presigners spell them. */
export const signatureParameters = [
  'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders', 'X-Amz-Signature', 'X-Amz-Security-Token', 'X-Amz-Content-Sha256',
] as const

const ownName = createOwnNames([
  ...signatureParameters,
  'x-id', 'versionId', 'uploadId', 'partNumber', 'list-type', 'prefix', 'delimiter', 'max-keys', 'encoding-type', 'continuation-token', 'start-after', 'fetch-owner',
])

const emptyQuery: Query = { entries: [], get: () => undefined, has: () => false }

const decodeQuery = (text: string): string => decodePath(text.includes('+') ? text.replaceAll('+', ' ') : text)

/** Strict UTF-8: decodeURIComponent refuses overlong forms and surrogates. PostgreSQL's text refuses NUL, so we do. */
function decodePath(text: string): string {
  if (/^[!-$&-~]*$/.test(text)) return text
  let decoded: string
  try {
    decoded = decodeURIComponent(text.replace(/[^\0-\x7f]/g, rawByte))
  } catch (cause) {
    throw invalidUri(text, cause)
  }
  if (decoded.includes('\0')) throw invalidUri(text)
  return decoded
}

/** Node hands over bytes of the request line as Latin-1; a client that sends UTF-8 unescaped means those bytes. */
function rawByte(character: string): string {
  const code = character.charCodeAt(0)
  if (code > 0xff) throw new URIError('not a byte')
  return `%${code.toString(16)}`
}

const invalidUri = (uri: string, cause?: unknown): S3Error => new S3Error('InvalidURI', undefined, { fields: { URI: uri }, cause })
