import type { Headers, S3Request } from './request.ts'
import { signatureParameters } from './target.ts'

/** In the spelling of presigners, which tells most of what is looked at without another string, and in small letters. */
const signatureNames: ReadonlySet<string> = new Set(signatureParameters.flatMap((name) => [name, name.toLowerCase()]))

/**
 * Presigners move `x-amz-*` headers into the query, where the signature covers them: S3 obeys them there as if they were headers.
 * Checksums are the exception: S3 does not take them from a presigned URL (user guide, "Download and upload objects with
 * presigned URLs"), and the SDK for JavaScript puts the checksum of an empty body there.
 */
export function hoistHeaders(request: S3Request): void {
  const hoisted: (readonly [string, string])[] = []
  for (const [name, value] of request.query.entries) {
    if (signatureNames.has(name)) continue
    const header = name.toLowerCase()
    if (!header.startsWith('x-amz-') || signatureNames.has(header) || isChecksum(header) || request.headers.has(header)) continue
    hoisted.push([header, value])
  }
  if (hoisted.length > 0) request.headers = overlay(request.headers, hoisted)
}

const isChecksum = (header: string): boolean => header.startsWith('x-amz-checksum-') || header === 'x-amz-sdk-checksum-algorithm' || header === 'x-amz-trailer'

function overlay(headers: Headers, hoisted: readonly (readonly [string, string])[]): Headers {
  const added = new Map(hoisted)
  return {
    get: (name) => headers.get(name) ?? added.get(name.toLowerCase()),
    has: (name) => headers.has(name) || added.has(name.toLowerCase()),
    entries: [...headers.entries, ...added],
  }
}
