import { presignExpirySecondsMax } from '../domain/limits.ts'
import { S3Error } from '../domain/errors.ts'
import { ofLast } from '../domain/of-last.ts'
import { parseIsoBasic, parseRequestDate, isoBasic } from './timestamps.ts'
import type { S3Request } from '../protocol/request.ts'

/** What a request says of its SigV4 signature: read and checked for form, nothing verified yet. */

export const algorithmV4 = 'AWS4-HMAC-SHA256'
const algorithmV4a = 'AWS4-ECDSA-P256-SHA256'

export interface ParsedV4 {
  readonly presigned: boolean
  readonly accessKeyId: string
  /** `YYYYMMDD` */
  readonly date: string
  readonly region: string
  /** `20260102/us-east-1/s3/aws4_request` */
  readonly scope: string
  /** `;`-separated, as given. */
  readonly signedHeaders: string
  readonly signature: string
  /** As it stands in the string to sign: `20260102T030405Z`. */
  readonly timestamp: string
  /** As the client wrote it, for error documents. */
  readonly requestTime: string
  readonly signedAt: number
  /** Null for the header form, which has the clock skew as its only limit. */
  readonly expiresSeconds: number | null
}

function malformedHeader(detail: string): S3Error {
  return new S3Error('AuthorizationHeaderMalformed', `The authorization header is malformed; ${detail}`)
}

function malformedQuery(message: string): S3Error {
  return new S3Error('AuthorizationQueryParametersError', message)
}

function malformedCredential(presigned: boolean, detail: string): S3Error {
  return presigned ? malformedQuery(`Error parsing the X-Amz-Credential parameter; ${detail}`) : malformedHeader(detail)
}

/**
 * Splits `key/date/region/s3/aws4_request` from its end, since an access key may hold a slash, and checks each part of the scope
 * against what this endpoint is. `day` is the day of the request's own timestamp.
 */
function parseCredential(credential: string, presigned: boolean, region: string, day: string): Credential {
  const parts = credentialParts(credential)
  if (parts === null) {
    throw malformedCredential(presigned, 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
  }
  const { date: scopeDate, region: scopeRegion, service, terminator } = parts
  if (terminator !== 'aws4_request') {
    throw malformedCredential(presigned, `incorrect terminal "${terminator}". This endpoint uses "aws4_request".`)
  }
  if (service !== 's3') throw malformedCredential(presigned, `incorrect service "${service}". This endpoint belongs to "s3".`)
  if (scopeDate !== day) {
    throw malformedCredential(presigned, `Invalid credential date "${scopeDate}". This date is not the same as X-Amz-Date: "${day}".`)
  }
  if (scopeRegion !== region) {
    const { code, message } = malformedCredential(presigned, `the region '${scopeRegion}' is wrong; expecting '${region}'`)
    // The answer to HEAD has no document: clients that correct their region find it in the header.
    throw new S3Error(code, message, { fields: { Region: region }, headers: { 'x-amz-bucket-region': region } })
  }
  return parts
}

type Credential = Pick<ParsedV4, 'accessKeyId' | 'date' | 'region' | 'scope'>

/** Null when it has too few. */
const credentialParts = ofLast((credential: string): Credential & { readonly service: string; readonly terminator: string } | null => {
  const parts = credential.split('/')
  const [date, region, service, terminator] = parts.slice(-4)
  if (parts.length < 5 || date === undefined || region === undefined || service === undefined || terminator === undefined) return null
  const scope = `${date}/${region}/${service}/${terminator}`
  return { accessKeyId: credential.slice(0, credential.length - scope.length - 1), date, region, scope, service, terminator }
})

/** The three fields of `Credential=..., SignedHeaders=..., Signature=...`, in any order, with or without spaces. */
function parseFields(text: string): { credential: string; signedHeaders: string; signature: string } {
  const found = new Map<string, string>()
  for (const piece of text.split(',')) {
    const field = piece.trim()
    const equals = field.indexOf('=')
    const name = field.slice(0, Math.max(equals, 0))
    if (name !== 'Credential' && name !== 'SignedHeaders' && name !== 'Signature') {
      throw malformedHeader('the authorization header requires three components: Credential, SignedHeaders, and Signature.')
    }
    if (found.has(name)) throw malformedHeader(`duplicate ${name}.`)
    found.set(name, field.slice(equals + 1))
  }
  const credential = found.get('Credential')
  const signedHeaders = found.get('SignedHeaders')
  const signature = found.get('Signature')
  if (!credential) throw malformedHeader('missing Credential.')
  if (!signedHeaders) throw malformedHeader('missing SignedHeaders.')
  if (!signature) throw malformedHeader('missing Signature.')
  return { credential, signedHeaders, signature }
}

/** The header form. The time comes from x-amz-date, or from Date where that is missing. */
export function parseHeaderV4(request: S3Request, authorization: string, region: string): ParsedV4 {
  if (authorization.startsWith(`${algorithmV4a} `)) throw new S3Error('NotImplemented', `${algorithmV4a} signatures are not implemented.`)
  const { credential, signedHeaders, signature } = parseFields(authorization.slice(algorithmV4.length + 1))
  const requestTime = request.headers.get('x-amz-date') ?? request.headers.get('date') ?? ''
  const signedAt = parseRequestDate(requestTime)
  if (Number.isNaN(signedAt)) throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header')
  const timestamp = requestTime.length === 16 && requestTime.endsWith('Z') ? requestTime : isoBasic(signedAt)
  const parsed = parseCredential(credential, false, region, timestamp.slice(0, 8))
  return {
    presigned: false,
    accessKeyId: parsed.accessKeyId,
    date: parsed.date,
    region: parsed.region,
    scope: parsed.scope,
    signedHeaders,
    signature,
    timestamp,
    requestTime,
    signedAt,
    expiresSeconds: null,
  }
}

const missingParameter = 'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, '
  + 'X-Amz-SignedHeaders, and X-Amz-Expires parameters.'

/** The authentication parameters of the query may stand there once each, so that no two readers see different ones. */
function refuseRepeated({ query }: S3Request): void {
  const found = new Set<string>()
  for (const [name] of query.entries) {
    if (!name.startsWith('X-Amz-')) continue
    if (found.has(name)) throw malformedQuery(`The parameter ${name} is given more than once.`)
    found.add(name)
  }
}

function parseExpires(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw malformedQuery('X-Amz-Expires should be a number')
  const seconds = Number(text)
  if (seconds < 0) throw malformedQuery('X-Amz-Expires must be non-negative')
  if (seconds > presignExpirySecondsMax) {
    throw malformedQuery('X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than '
      + `${presignExpirySecondsMax} seconds`)
  }
  return seconds
}

/** The query form: a presigned URL of any method. */
export function parseQueryV4(request: S3Request, region: string): ParsedV4 {
  const { query } = request
  refuseRepeated(request)
  const algorithm = query.get('X-Amz-Algorithm')
  const credential = query.get('X-Amz-Credential')
  const signature = query.get('X-Amz-Signature')
  const timestamp = query.get('X-Amz-Date')
  const signedHeaders = query.get('X-Amz-SignedHeaders')
  const expires = query.get('X-Amz-Expires')
  if (algorithm === algorithmV4a) throw new S3Error('NotImplemented', `${algorithmV4a} signatures are not implemented.`)
  if (!algorithm || !credential || !signature || !timestamp || !signedHeaders || expires === undefined) throw malformedQuery(missingParameter)
  if (algorithm !== algorithmV4) throw malformedQuery(`X-Amz-Algorithm only supports "${algorithmV4}"`)
  const signedAt = parseIsoBasic(timestamp)
  if (Number.isNaN(signedAt)) throw malformedQuery('X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd\'T\'HHmmss\'Z\'"')
  const expiresSeconds = parseExpires(expires)
  const parsed = parseCredential(credential, true, region, timestamp.slice(0, 8))
  return {
    presigned: true,
    accessKeyId: parsed.accessKeyId,
    date: parsed.date,
    region: parsed.region,
    scope: parsed.scope,
    signedHeaders,
    signature,
    timestamp,
    requestTime: timestamp,
    signedAt,
    expiresSeconds,
  }
}
