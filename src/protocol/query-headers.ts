import type { Headers, Query } from './request.ts'

/** What a presigned URL may say in its query instead of in a header. */
const obeyed = /^x-amz-(?:meta-|acl$|grant-|tagging$|storage-class$|website-redirect-location$|server-side-encryption|object-lock-|object-ownership$|mfa$)/

/**
 * The headers of a presigned request with the ones that its signer put in the query: the SDKs move `x-amz-*` headers there,
 * so that whoever uses the URL need not send them. The query is signed, so this comes after authentication. A header that
 * was sent wins. Checksums in the query are left alone: the JavaScript SDK writes the CRC32 of an empty body there, whatever
 * will be sent, and the documented way to announce a checksum is the header.
 */
export function withQueryHeaders(headers: Headers, query: Query): Headers {
  const more = query.entries
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => obeyed.test(name) && !headers.has(name))
  if (more.length === 0) return headers
  const values = new Map(more)
  return {
    entries: [...headers.entries, ...values],
    get: (name) => headers.get(name) ?? values.get(name),
    has: (name) => headers.has(name) || values.has(name),
  }
}
