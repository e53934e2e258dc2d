import { clockSkewMs } from '../domain/limits.ts'
import { S3Error } from '../domain/errors.ts'
import { isoSeconds } from './timestamps.ts'

/** Limits in time of a signed request. All times are epoch ms. */

/** A signature in a header is good for 15 minutes around its own time. `requestTime` is that time as the client wrote it. */
export function assertNotSkewed(signedAt: number, requestTime: string, now: number): void {
  if (Math.abs(now - signedAt) <= clockSkewMs) return
  throw new S3Error('RequestTimeTooSkewed', undefined, {
    fields: { RequestTime: requestTime, ServerTime: isoSeconds(now), MaxAllowedSkewMilliseconds: String(clockSkewMs) },
  })
}

/** Throws AccessDenied behind `expiresAt`. `more` are further fields of the error. */
export function assertNotExpired(expiresAt: number, now: number, more: Record<string, string> = {}): void {
  if (now <= expiresAt) return
  throw new S3Error('AccessDenied', 'Request has expired', {
    fields: { ...more, Expires: isoSeconds(expiresAt), ServerTime: isoSeconds(now) },
  })
}

/** A presigned URL is good from its date on (less the clock skew) until that many seconds later. */
export function assertWithinExpiry(signedAt: number, expiresSeconds: number, now: number): void {
  if (signedAt - now > clockSkewMs) {
    throw new S3Error('AccessDenied', 'Request is not valid yet', {
      fields: { ServerTime: isoSeconds(now), 'X-Amz-Expires': String(expiresSeconds), Expires: isoSeconds(signedAt + expiresSeconds * 1000) },
    })
  }
  assertNotExpired(signedAt + expiresSeconds * 1000, now, { 'X-Amz-Expires': String(expiresSeconds) })
}
