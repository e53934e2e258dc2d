import { checksumElementName, checksumHeaderName } from '../checksums/algorithms.ts'
import type { Checksum, ObjectVersion, SystemHeaderName, VersioningStatus } from '../domain/model.ts'
import { httpDate } from './dates.ts'
import { encodeWords } from './rfc2047.ts'
import { element, type XmlElement } from './xml.ts'

type ReplyHeaders = Record<string, string | undefined>

/** x-amz-version-id for buckets that have, or had, versioning. */
export function versionHeaders(version: { readonly versionId: string } | null, versioning: VersioningStatus): ReplyHeaders {
  return versioning === 'off' || version === null ? {} : { 'x-amz-version-id': version.versionId }
}

/** The x-amz-checksum-* header and its type; nothing for null. */
export function checksumHeaders(checksum: Checksum | null): ReplyHeaders {
  const headers: ReplyHeaders = {}
  if (checksum === null) return headers
  headers[checksumHeaderName(checksum.algorithm)] = checksum.value
  headers['x-amz-checksum-type'] = checksum.type
  return headers
}

/** The Checksum... element and ChecksumType, as results and attributes show them; `typed: false` leaves the type out, as parts do. */
export function checksumElements(checksum: Checksum | null, options: { typed: boolean } = { typed: true }): XmlElement[] {
  if (checksum === null) return []
  const value = element(checksumElementName(checksum.algorithm), checksum.value)
  return options.typed ? [value, element('ChecksumType', checksum.type)] : [value]
}

/**
 * Headers of GET and HEAD for a whole version. `checksumMode` adds the checksum, `versioning` the version id when the
 * bucket has or had versioning. Values beyond ASCII are encoded so that any socket takes them: user metadata by RFC 2047,
 * system metadata as the UTF-8 bytes that the client sent.
 */
export function objectHeaders(version: ObjectVersion, options: { checksumMode: boolean; versioning?: VersioningStatus }): ReplyHeaders {
  const headers: ReplyHeaders = {
    'etag': `"${version.etag}"`,
    'last-modified': httpDate(version.lastModified),
    'accept-ranges': 'bytes',
    'content-type': 'binary/octet-stream',
  }
  const { system, user } = version.metadata
  for (const name in system) headers[name] = headerBytes(system[name as SystemHeaderName] ?? '')
  for (const [name, value] of Object.entries(user)) headers[`x-amz-meta-${name}`] = encodeWords(value)
  if (version.tags.length > 0) headers['x-amz-tagging-count'] = String(version.tags.length)
  if (options.checksumMode) Object.assign(headers, checksumHeaders(version.checksum))
  if (options.versioning !== undefined) Object.assign(headers, versionHeaders(version, options.versioning))
  return headers
}

/** Node writes header values as Latin-1: each byte of the UTF-8 becomes one character. */
function headerBytes(value: string): string {
  return /^[\t\x20-\x7e]*$/.test(value) ? value : Buffer.from(value, 'utf8').toString('latin1')
}
