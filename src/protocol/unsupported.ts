import { S3Error } from '../domain/errors.ts'
import type { Headers } from './request.ts'

/** Headers that ask for something we do not do yet, by name or by what the name begins with. */
const refusedNames = new Set([
  'x-amz-mfa', 'x-amz-bypass-governance-retention', 'x-amz-write-offset-bytes',
  // Digests that S3 knows and nobody here computes: who sends one believes that it is verified.
  'x-amz-checksum-md5', 'x-amz-checksum-sha512', 'x-amz-checksum-xxhash64', 'x-amz-checksum-xxhash3', 'x-amz-checksum-xxhash128',
])
const refusedPrefixes = [
  'x-amz-server-side-encryption', 'x-amz-copy-source-server-side-encryption', 'x-amz-object-lock-', 'x-amz-bucket-object-lock-', 'x-amz-grant-',
]

/** The values of these that ask for what we do anyway. */
const harmless: ReadonlyMap<string, readonly string[]> = new Map([
  // Without ACLs, these two say that the bucket's owner owns the object: it does.
  ['x-amz-acl', ['private', 'bucket-owner-full-control']],
  ['x-amz-object-ownership', ['BucketOwnerEnforced']],
  ['x-amz-bucket-object-lock-enabled', ['false']],
])

/**
 * Throws for a header that we cannot honour, so that nobody believes that an object is encrypted, locked or shared when it
 * is not: NotImplemented with the header's name, InvalidStorageClass for a class other than STANDARD.
 */
export function refuseUnsupported(headers: Headers): void {
  for (const [name, value] of headers.entries) {
    if (!name.startsWith('x-amz-')) continue
    if (isUnsupported(name, value)) throw unsupported(name)
    if (name === 'x-amz-storage-class' && value !== 'STANDARD') {
      throw new S3Error('InvalidStorageClass', undefined, { fields: { StorageClassRequested: value } })
    }
  }
}

function isUnsupported(name: string, value: string): boolean {
  const allowed = harmless.get(name)
  if (allowed) return !allowed.includes(value)
  return refusedNames.has(name) || refusedPrefixes.some((prefix) => name.startsWith(prefix))
}

const unsupported = (name: string): S3Error =>
  new S3Error('NotImplemented', `A header you provided implies functionality that is not implemented: ${name}`, { fields: { Header: name } })
