import type { Headers, S3Request } from './request.ts'

/** Query parameters that are the signature itself. */
const signatureParams = new Set([
  'x-amz-algorithm', 'x-amz-credential', 'x-amz-date', 'x-amz-expires', 'x-amz-signedheaders', 'x-amz-signature', 'x-amz-security-token', 'x-amz-content-sha256',
])

/** Most of what is looked at here, told apart without another string. */
const presignersSpelling = new Set(['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders', 'X-Amz-Signature', 'X-Amz-Content-Sha256'])

/**
 * Presigners move `x-amz-*` headers into the query, where the signature covers them: S3 obeys them there as if they were headers.
 * Checksums are the exception: S3 does not take them from a presigned URL (user guide, "Download and upload objects with
 * presigned URLs"), and the SDK for JavaScript puts the checksum of an empty body there.
 */
export function hoistHeaders(request: S3Request): void {
  const hoisted: (readonly [string, string])[] = []
  for (const [name, value] of request.query.entries) {
    if (presignersSpelling.has(name)) continue
    const header = name.toLowerCase()
    if (!header.startsWith('x-amz-') || signatureParams.has(header) || isChecksum(header) || request.headers.has(header)) continue
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
