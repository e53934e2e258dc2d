import { createHmac } from 'node:crypto'
import { S3Error } from '../domain/errors.ts'
import { assertNotExpired, assertNotSkewed } from './clock.ts'
import { canonicalHeaders, canonicalPath } from './canonical.ts'
import { announcedPayload } from './payload.ts'
import { sameSignature, signatureMismatch } from './signing.ts'
import { parseRequestDate } from './timestamps.ts'
import type { PayloadSignature } from '../blobs/blobs.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Signature version 2, header and query: old, but boto3 and s3cmd still presign with it against a custom endpoint.
 * Source: Amazon S3 user guide, "Signing and authenticating REST requests (AWS signature version 2)".
 */

export interface ParsedV2 {
  readonly presigned: boolean
  readonly accessKeyId: string
  readonly signature: string
  /** The Date line of the string to sign: the Date header, '' when x-amz-date takes its place, or the Expires parameter. */
  readonly dateLine: string
}

/**
 * Query parameters that are part of the canonical resource: everything that selects an operation or changes an answer's headers.
 * A parameter that is obeyed but not in this list could be added to somebody's presigned URL.
 */
const signedParameters: ReadonlySet<string> = new Set([
  'accelerate', 'acl', 'analytics', 'attributes', 'cors', 'defaultObjectAcl', 'delete', 'encryption', 'intelligent-tiering', 'inventory',
  'legal-hold', 'lifecycle', 'location', 'logging', 'metadataConfiguration', 'metadataInventoryTable', 'metadataJournalTable', 'metadataTable',
  'metrics', 'notification', 'object-lock', 'ownershipControls', 'partNumber', 'policy', 'policyStatus', 'publicAccessBlock', 'renameObject',
  'replication', 'requestPayment', 'restore', 'retention', 'select', 'select-type', 'session', 'storageClass', 'tagging', 'torrent', 'uploadId',
  'uploads', 'versionId', 'versioning', 'versions', 'website',
  'response-cache-control', 'response-content-disposition', 'response-content-encoding', 'response-content-language',
  'response-content-type', 'response-expires',
])

/** `AWS KEY:SIGNATURE`. The time comes from x-amz-date, or from Date where that is missing. `now` is epoch ms. */
export function parseHeaderV2(request: S3Request, authorization: string, now: number): ParsedV2 {
  const credentials = authorization.slice('AWS '.length)
  const colon = credentials.lastIndexOf(':')
  if (colon <= 0 || colon === credentials.length - 1 || credentials.includes(' ')) {
    throw new S3Error('InvalidArgument', 'AWS authorization header is invalid. Expected AwsAccessKeyId:signature', {
      fields: { ArgumentName: 'Authorization', ArgumentValue: authorization },
    })
  }
  const amzDate = request.headers.get('x-amz-date')
  const requestTime = amzDate ?? request.headers.get('date') ?? ''
  const signedAt = parseRequestDate(requestTime)
  if (Number.isNaN(signedAt)) throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header')
  assertNotSkewed(signedAt, requestTime, now)
  return {
    presigned: false,
    accessKeyId: credentials.slice(0, colon),
    signature: credentials.slice(colon + 1),
    dateLine: amzDate === undefined ? requestTime : '',
  }
}

const missingParameter = 'Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters'

/** One value of a parameter; a second one would let two readers see different ones. */
function singleParameter(request: S3Request, name: string): string {
  const values = request.query.entries.filter(([given]) => given === name)
  if (values.length > 1) throw new S3Error('InvalidArgument', `The parameter ${name} is given more than once.`, { fields: { ArgumentName: name } })
  const value = values[0]?.[1] ?? ''
  if (value === '') throw new S3Error('AccessDenied', missingParameter)
  return value
}

/** The query form. Expires is in seconds since the epoch. */
export function parseQueryV2(request: S3Request, now: number): ParsedV2 {
  const accessKeyId = singleParameter(request, 'AWSAccessKeyId')
  const signature = singleParameter(request, 'Signature')
  const expires = singleParameter(request, 'Expires')
  if (!/^\d{1,12}$/.test(expires)) throw new S3Error('AccessDenied', `Invalid date (should be seconds since epoch): ${expires}`)
  assertNotExpired(Number(expires) * 1000, now)
  // A base64 `+` that was not escaped reads as a space; base64 has no spaces, so nothing is lost by turning it back.
  return { presigned: true, accessKeyId, signature: signature.replaceAll(' ', '+'), dateLine: expires }
}

/**
 * Every `x-amz-*` field, sorted. Clients that presign with headers put them in the query as well, where they are not part of the
 * resource; those count as headers, so that nothing named `x-amz-*` goes unsigned.
 */
function customHeaders(headers: ReadonlyMap<string, string>, request: S3Request): string {
  const custom = new Map<string, string>()
  for (const [name, value] of headers) if (name.startsWith('x-amz-')) custom.set(name, value)
  for (const [given, value] of request.query.entries) {
    const name = given.toLowerCase()
    if (!name.startsWith('x-amz-')) continue
    const before = custom.get(name)
    if (before !== value) custom.set(name, before === undefined ? value : `${before},${value}`)
  }
  return [...custom.keys()].sort().map((name) => `${name}:${custom.get(name) ?? ''}\n`).join('')
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** Whether the bucket came from the Host header: then the path is the key alone. */
function isVirtualHosted(request: S3Request): boolean {
  const { target, rawPath } = request
  if (target.scope === 'object') return decoded(canonicalPath(rawPath).slice(1)) === target.key
  return target.scope === 'bucket' && (rawPath === '/' || rawPath === '')
}

/**
 * The canonical resource: `/bucket/key` as sent and the signed parameters with decoded values, sorted by name. A parameter without
 * a value comes in two forms, `uploads` and `uploads=`: some clients send the one and sign the other, and both mean the same.
 */
function canonicalResources(request: S3Request): string[] {
  const bucket = isVirtualHosted(request) && request.target.scope !== 'service' ? `/${request.target.bucket}` : ''
  const parameters = request.query.entries.filter(([name]) => signedParameters.has(name))
  parameters.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const path = `${bucket}${request.rawPath}`
  if (parameters.length === 0) return [path]
  const resources = ['', '='].map((empty) => `${path}?${parameters.map(([name, value]) => `${name}${value === '' ? empty : `=${value}`}`).join('&')}`)
  return [...new Set(resources)]
}

/** The string to sign. A bucket without a key may be signed with or without the slash behind it. */
function stringsToSign(request: S3Request, parsed: ParsedV2): string[] {
  const headers = canonicalHeaders(request.headers.entries, true)
  const head = `${request.method}\n${headers.get('content-md5') ?? ''}\n${headers.get('content-type') ?? ''}\n${parsed.dateLine}\n`
    + customHeaders(headers, request)
  const resources = canonicalResources(request)
  if (request.target.scope !== 'bucket') return resources.map((resource) => head + resource)
  return resources.flatMap((resource) => {
    const [path = '', query] = resource.split('?', 2)
    const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`
    return [head + resource, head + other + (query === undefined ? '' : `?${query}`)]
  })
}

/** Verifies the signature and tells what the headers promise about the body. Throws SignatureDoesNotMatch with what was computed. */
export function verifyV2(request: S3Request, parsed: ParsedV2, secret: string): PayloadSignature {
  const candidates = stringsToSign(request, parsed)
  const matches = candidates.some((toSign) => sameSignature(createHmac('sha1', secret).update(toSign).digest('base64'), parsed.signature))
  if (!matches) throw signatureMismatch(parsed.accessKeyId, parsed.signature, candidates[0] ?? '')
  const payload = announcedPayload(request.headers.get('x-amz-content-sha256') ?? 'UNSIGNED-PAYLOAD')
  if (payload.kind === 'chunked-signed') throw new S3Error('InvalidRequest', 'Signed chunks need a signature of version 4.')
  return payload
}
