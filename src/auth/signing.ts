import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** Keys and comparison of both signature versions. */

export interface SigningKey {
  readonly key: KeyObject
  /** The same key as bytes that own their memory, so that they can be posted to a worker thread. */
  readonly bytes: Uint8Array
}

/** Looks up or derives the SigV4 signing key of one secret, day and region. */
export type SigningKeys = (secret: string, date: string, region: string) => SigningKey

function hmac(key: string | Uint8Array, data: string): Uint8Array {
  return createHmac('sha256', key).update(data).digest()
}

/** Source: Signature version 4, "Deriving the signing key". `date` is `YYYYMMDD`. */
export function deriveSigningKey(secret: string, date: string, region: string, service: string): Uint8Array {
  return new Uint8Array(hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), 'aws4_request'))
}

/** Four HMACs a request are spared by keeping derived keys: a client signs with one key for a whole day. */
export function createSigningKeys(): SigningKeys {
  const cache = new LRUCache<string, SigningKey>({ max: 1000 })
  return (secret, date, region) => {
    // Neither the date nor the region (checked before) can hold a slash, so that no two triples share an id.
    const id = `${date}/${region}/${secret}`
    const known = cache.get(id)
    if (known !== undefined) return known
    const bytes = deriveSigningKey(secret, date, region, 's3')
    const made = { bytes, key: createSecretKey(bytes) }
    cache.set(id, made)
    return made
  }
}

const given = Buffer.alloc(64)
const wanted = Buffer.alloc(64)

/** Compares two signatures as text (64 hex digits or base64) in a time that does not depend on where they differ. */
export function sameSignature(expected: string, provided: string): boolean {
  if (expected.length !== provided.length || expected.length > 64) return false
  given.fill(0)
  wanted.fill(0)
  given.write(provided, 'utf8')
  wanted.write(expected, 'utf8')
  return timingSafeEqual(given, wanted)
}

/** The bytes of a text as space-separated hex, as S3 adds them to a SignatureDoesNotMatch error. */
export function spacedHex(text: string): string {
  return Buffer.from(text, 'utf8').toString('hex').replace(/..(?!$)/g, '$& ')
}
