import type { Readable } from 'node:stream'
import type { Headers, Query, S3Request, Target } from './request.ts'

/** Query parameters that are the signature itself. */
const signatureParams = new Set([
  'x-amz-algorithm', 'x-amz-credential', 'x-amz-date', 'x-amz-expires', 'x-amz-signedheaders', 'x-amz-signature', 'x-amz-security-token', 'x-amz-content-sha256',
])

/**
 * Presigners move `x-amz-*` headers into the query, where the signature covers them: S3 obeys them there as if they were headers.
 * Checksums are the exception: S3 does not take them from a presigned URL (user guide, "Download and upload objects with
 * presigned URLs"), and the SDK for JavaScript puts the checksum of an empty body there.
 */
export function withHoistedHeaders(request: S3Request): S3Request {
  const hoisted: (readonly [string, string])[] = []
  for (const [name, value] of request.query.entries) {
    const header = name.toLowerCase()
    if (!header.startsWith('x-amz-') || signatureParams.has(header) || isChecksum(header) || request.headers.has(header)) continue
    hoisted.push([header, value])
  }
  if (hoisted.length === 0) return request
  return new HoistedRequest(request, overlay(request.headers, hoisted))
}

/** The same request with other headers. A class, because its costlier fields are made only when somebody asks. */
class HoistedRequest implements S3Request {
  readonly requestId: string
  readonly method: string
  readonly rawPath: string
  readonly rawQuery: string
  readonly query: Query
  readonly headers: Headers
  readonly target: Target
  readonly stream: Readable
  readonly secure: boolean
  readonly receivedAt: number
  readonly sendContinue: () => void
  readonly #request: S3Request

  constructor(request: S3Request, headers: Headers) {
    this.#request = request
    this.requestId = request.requestId
    this.method = request.method
    this.rawPath = request.rawPath
    this.rawQuery = request.rawQuery
    this.query = request.query
    this.headers = headers
    this.target = request.target
    this.stream = request.stream
    this.secure = request.secure
    this.receivedAt = request.receivedAt
    this.sendContinue = request.sendContinue
  }

  get remoteAddress(): string {
    return this.#request.remoteAddress
  }

  get signal(): AbortSignal {
    return this.#request.signal
  }
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
