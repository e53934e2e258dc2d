import { hash } from 'node:crypto'
import { S3Error } from '../domain/errors.ts'
import { ofLast } from '../domain/of-last.ts'
import { canonicalHeaders, canonicalPath, canonicalQuery, canonicalRequest } from './canonical.ts'
import { assertNotSkewed, assertWithinExpiry } from './clock.ts'
import { announcedPayload, chainedPayload, unsignedPayload } from './payload.ts'
import { sameSignature, signatureMismatch } from './signing.ts'
import { algorithmV4 } from './sigv4-parse.ts'
import type { SigningKey } from './signing.ts'
import type { AnnouncedPayload } from './payload.ts'
import type { ParsedV4 } from './sigv4-parse.ts'
import type { PayloadSignature } from '../blobs/blobs.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Signature version 4 by S3's rules. Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
 * Every request passes here: no URL objects, no re-encoding where the path and the query need none, one key derivation a day.
 */

/** String to sign of a canonical request. `timestamp` is `20260102T030405Z`. */
export function stringToSign(canonical: string, timestamp: string, scope: string): string {
  return `${algorithmV4}\n${timestamp}\n${scope}\n${hash('sha256', canonical, 'hex')}`
}

/** A request whose form, time and signed headers are good; only its signature is still to be verified. */
export interface CheckedV4 {
  readonly parsed: ParsedV4
  readonly headers: ReadonlyMap<string, string>
  readonly signedHeaders: readonly string[]
  readonly payloadHash: string
  readonly payload: AnnouncedPayload
}

/** Host and every `x-amz-*` header are obeyed, so each must be signed: promise of the door. */
function assertHeadersSigned(headers: ReadonlyMap<string, string>, signedHeaders: readonly string[]): void {
  const missing: string[] = signedHeaders.includes('host') ? [] : ['host']
  for (const name of headers.keys()) {
    if (name.startsWith('x-amz-') && !signedHeaders.includes(name)) missing.push(name)
  }
  if (missing.length === 0) return
  throw new S3Error('AccessDenied', 'There were headers present in the request which were not signed', {
    fields: { HeadersNotSigned: missing.join(', ') },
  })
}

/** A presigned URL covers no body unless it says so in a header (signed like all) or a parameter. */
function payloadHashOf(request: S3Request, presigned: boolean): string {
  const header = request.headers.get('x-amz-content-sha256')
  if (header !== undefined) return header
  if (presigned) return request.query.get('X-Amz-Content-Sha256') ?? request.query.get('x-amz-content-sha256') ?? unsignedPayload
  throw new S3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256')
}

const signedNames = ofLast((text: string): readonly string[] => text.split(';'))

/** Everything that can be refused without the secret key: time, expiry, unsigned headers, an unknown payload. `now` is epoch ms. */
export function checkV4(request: S3Request, parsed: ParsedV4, now: number): CheckedV4 {
  if (parsed.expiresSeconds === null) assertNotSkewed(parsed.signedAt, parsed.requestTime, now)
  else assertWithinExpiry(parsed.signedAt, parsed.expiresSeconds, now)
  const headers = canonicalHeaders(request.headers.entries)
  const signedHeaders = signedNames(parsed.signedHeaders)
  assertHeadersSigned(headers, signedHeaders)
  const payloadHash = payloadHashOf(request, parsed.presigned)
  return { parsed, headers, signedHeaders, payloadHash, payload: announcedPayload(payloadHash) }
}

/**
 * Other canonical requests that an honest client may have signed, each of them over all that is obeyed: the public host of a proxy,
 * the path exactly as it stands on the wire or with the escaped slashes of its key as slashes (the same key), the word UNSIGNED-PAYLOAD in a presigned URL whatever its header says.
 */
function* candidates(request: S3Request, checked: CheckedV4, publicHost: string | null) {
  const { headers, signedHeaders, payloadHash, parsed } = checked
  const query = canonicalQuery(request.rawQuery, parsed.presigned ? 'X-Amz-Signature' : null)
  const path = canonicalPath(request.rawPath)
  yield canonicalRequest({ method: request.method, path, query, headers, signedHeaders, payloadHash })
  const hosts = publicHost === null ? [headers] : [headers, new Map(headers).set('host', publicHost)]
  const paths = [...new Set([path, request.rawPath, withPlainSlashes(path)])]
  const payloads = parsed.presigned && payloadHash !== unsignedPayload ? [payloadHash, unsignedPayload] : [payloadHash]
  for (const host of hosts) {
    for (const way of paths) {
      for (const payload of payloads) {
        if (host === headers && way === path && payload === payloadHash) continue
        yield canonicalRequest({ method: request.method, path: way, query, headers: host, signedHeaders, payloadHash: payload })
      }
    }
  }
}

/** A canonical path whose key has no escaped slash any more; the bucket in front of it stays what it is. */
function withPlainSlashes(path: string): string {
  const keyAt = path.indexOf('/', 1)
  return keyAt < 0 ? path : path.slice(0, keyAt) + path.slice(keyAt).replaceAll('%2F', '/')
}

/** Verifies the signature and tells what it promises about the body. Throws SignatureDoesNotMatch with what was computed. */
export function verifyV4(request: S3Request, checked: CheckedV4, signingKey: SigningKey, publicHost: string | null): PayloadSignature {
  const { parsed } = checked
  let expected: { readonly canonical: string; readonly toSign: string } | null = null
  for (const canonical of candidates(request, checked, publicHost)) {
    const toSign = stringToSign(canonical, parsed.timestamp, parsed.scope)
    expected ??= { canonical, toSign }
    if (!sameSignature(signingKey.sign(toSign), parsed.signature)) continue
    return chainedPayload(checked.payload, () => ({
      signingKey: signingKey.bytes.slice(),
      seedSignature: parsed.signature,
      timestamp: parsed.timestamp,
      scope: parsed.scope,
    }))
  }
  const { canonical, toSign } = expected ?? { canonical: '', toSign: '' }
  throw signatureMismatch(parsed.accessKeyId, parsed.signature, toSign, canonical)
}
