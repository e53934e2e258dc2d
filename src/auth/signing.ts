import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { S3Error } from '../domain/errors.ts'

/** Keys and comparison of both signature versions. */

export interface SigningKey {
  /** HMAC-SHA256 of a text by this key, as hex. */
  readonly sign: (text: string) => string
  /** The key as bytes that own their memory, so that they can be posted to a worker thread. */
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
  let last: { readonly secret: string; readonly date: string; readonly region: string; readonly key: SigningKey } | null = null
  return (secret, date, region) => {
    if (last === null || secret !== last.secret || date !== last.date || region !== last.region) last = { secret, date, region, key: lookUp(secret, date, region) }
    return last.key
  }

  function lookUp(secret: string, date: string, region: string): SigningKey {
    // Neither the date nor the region (checked before) can hold a slash, so that no two triples share an id.
    const id = `${date}/${region}/${secret}`
    const known = cache.get(id)
    if (known !== undefined) return known
    const bytes = deriveSigningKey(secret, date, region, 's3')
    const made = { bytes, sign: createSigner(bytes) }
    cache.set(id, made)
    return made
  }
}

const blockBytes = 64
const digestBytes = 32

/**
 * HMAC by its definition (RFC 2104) over one-shot hashes: an Hmac object for each signature costs twice as much as both hashes.
 * `key` has at most 64 bytes.
 */
export function createSigner(key: Uint8Array): (text: string) => string {
  const inner = padded(key, 0x36, 512)
  const outer = padded(key, 0x5c, digestBytes)
  return (text) => {
    const length = blockBytes + Buffer.byteLength(text)
    const message = length <= inner.length ? inner : Buffer.concat([inner.subarray(0, blockBytes)], length)
    message.write(text, blockBytes)
    hash('sha256', message.subarray(0, length), 'buffer').copy(outer, blockBytes)
    return hash('sha256', outer, 'hex')
  }
}

/** The key under HMAC's pad, with room for what is hashed behind it. */
function padded(key: Uint8Array, pad: number, room: number): Buffer {
  const block = Buffer.alloc(blockBytes + room)
  block.set(key)
  for (let index = 0; index < blockBytes; index++) block[index] = (block[index] ?? 0) ^ pad
  return block
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

/** SignatureDoesNotMatch with what the server computed, so that a client's developer can see where theirs differs. Version 2 has no canonical request. */
export function signatureMismatch(accessKeyId: string, provided: string, toSign: string, canonicalRequest?: string): S3Error {
  return new S3Error('SignatureDoesNotMatch', undefined, {
    fields: {
      AWSAccessKeyId: accessKeyId,
      StringToSign: toSign,
      SignatureProvided: provided,
      StringToSignBytes: spacedHex(toSign),
      ...(canonicalRequest === undefined ? {} : { CanonicalRequest: canonicalRequest, CanonicalRequestBytes: spacedHex(canonicalRequest) }),
    },
  })
}

/** The bytes of a text as space-separated hex, as S3 adds them to a SignatureDoesNotMatch error. */
function spacedHex(text: string): string {
  return Buffer.from(text, 'utf8').toString('hex').replace(/..(?!$)/g, '$& ')
}
