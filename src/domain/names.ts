import { S3Error } from './errors.ts'
import { tagKeyCharsMax, tagValueCharsMax } from './limits.ts'
import type { Tag } from './model.ts'

const reservedPrefixes = ['xn--', 'sthree-', 'amzn-s3-demo-']
const reservedSuffixes = ['-s3alias', '--ol-s3', '.mrap', '--x-s3', '--table-s3']

/**
 * Whether AWS would let a general purpose bucket have this name: 3 to 63 of `a-z 0-9 . -`, letter or digit at both ends, no
 * two dots side by side, not like an IPv4 address, no reserved prefix or suffix.
 * Source: Amazon S3 user guide, "General purpose bucket naming rules".
 */
export function isBucketName(name: string): boolean {
  return /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name)
    && !name.includes('..')
    && !/^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name)
    && !reservedPrefixes.some((prefix) => name.startsWith(prefix))
    && !reservedSuffixes.some((suffix) => name.endsWith(suffix))
}

/** Throws InvalidBucketName with the name as its field. */
export function checkBucketName(name: string): void {
  if (!isBucketName(name)) throw new S3Error('InvalidBucketName', undefined, { fields: { BucketName: name } })
}

/** Letters, digits and spaces of any script, and `_ . : / = + - @`. Source: Amazon S3 user guide, "Categorizing your objects using tags". */
const tagCharacters = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u

/**
 * Throws InvalidTag for an empty or too long key, a too long value, a character outside AWS's set, a key in the reserved
 * name space `aws:` and for two tags of one key. How many tags are too many is the caller's: it differs by resource.
 */
export function checkTags(tags: readonly Tag[]): void {
  const keys = new Set<string>()
  for (const { key, value } of tags) {
    const fault = tagFault(key, value) ?? (keys.has(key) ? 'Cannot provide multiple Tags with the same key' : null)
    if (fault !== null) throw new S3Error('InvalidTag', fault, { fields: { TagKey: key, TagValue: value } })
    keys.add(key)
  }
}

function tagFault(key: string, value: string): string | null {
  if (key.length === 0 || key.length > tagKeyCharsMax || !tagCharacters.test(key)) return 'The TagKey you have provided is invalid'
  if (value.length > tagValueCharsMax || !tagCharacters.test(value)) return 'The TagValue you have provided is invalid'
  return key.toLowerCase().startsWith('aws:') ? 'System tags cannot be added/updated by requester' : null
}
