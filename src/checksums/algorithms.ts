import { createHash, hash } from 'node:crypto'
import type { Checksum, ChecksumAlgorithm, ChecksumType } from '../domain/model.ts'
import { combineCrcs, type CrcField } from './combine.ts'
import { crc64nvmePolynomial, crcs } from './native.ts'

/** A digest in the making. After `digestBase64` it takes no more bytes. */
export interface Hasher {
  update(data: Uint8Array): void
  /** Base64 of the big-endian digest. */
  digestBase64(): string
}

interface Algorithm {
  /** Request and response header, also the name that x-amz-trailer announces. */
  readonly header: string
  /** XML element in parts, attributes and results. */
  readonly element: string
  readonly digestBytes: number
  /** Which types of a multipart object's checksum AWS allows; the first is the default. */
  readonly types: readonly ChecksumType[]
  /** Null where parts cannot be combined: the SHA family. */
  readonly field: CrcField | null
  createHasher(): Hasher
}

/** THE table of checksums. Source: Amazon S3 user guide, "Checking object integrity", "Full object and composite checksum types". */
const algorithms: Readonly<Record<ChecksumAlgorithm, Algorithm>> = {
  CRC32: {
    header: 'x-amz-checksum-crc32', element: 'ChecksumCRC32', digestBytes: 4, types: ['COMPOSITE', 'FULL_OBJECT'],
    field: { width: 32, polynomial: 0xedb88320n }, createHasher: () => crc32Hasher(crcs.crc32),
  },
  CRC32C: {
    header: 'x-amz-checksum-crc32c', element: 'ChecksumCRC32C', digestBytes: 4, types: ['COMPOSITE', 'FULL_OBJECT'],
    field: { width: 32, polynomial: 0x82f63b78n }, createHasher: () => crc32Hasher(crcs.crc32c),
  },
  CRC64NVME: {
    header: 'x-amz-checksum-crc64nvme', element: 'ChecksumCRC64NVME', digestBytes: 8, types: ['FULL_OBJECT'],
    field: { width: 64, polynomial: crc64nvmePolynomial }, createHasher: crc64Hasher,
  },
  SHA1: {
    header: 'x-amz-checksum-sha1', element: 'ChecksumSHA1', digestBytes: 20, types: ['COMPOSITE'],
    field: null, createHasher: () => cryptoHasher('sha1'),
  },
  SHA256: {
    header: 'x-amz-checksum-sha256', element: 'ChecksumSHA256', digestBytes: 32, types: ['COMPOSITE'],
    field: null, createHasher: () => cryptoHasher('sha256'),
  },
}

export const checksumAlgorithms = Object.keys(algorithms) as readonly ChecksumAlgorithm[]

const byHeader = new Map(checksumAlgorithms.map((algorithm) => [algorithms[algorithm].header, algorithm]))
const byName = new Map(checksumAlgorithms.map((algorithm) => [algorithm as string, algorithm]))

/** `x-amz-checksum-crc32` and so on. */
export const checksumHeaderName = (algorithm: ChecksumAlgorithm): string => algorithms[algorithm].header

/** `ChecksumCRC32` and so on. */
export const checksumElementName = (algorithm: ChecksumAlgorithm): string => algorithms[algorithm].element

export const digestBytes = (algorithm: ChecksumAlgorithm): number => algorithms[algorithm].digestBytes

/** Types that AWS allows for a multipart object, the default first. */
export const checksumTypes = (algorithm: ChecksumAlgorithm): readonly ChecksumType[] => algorithms[algorithm].types

/** By lower-case header name. */
export const algorithmByHeader = (header: string): ChecksumAlgorithm | undefined => byHeader.get(header)

/** By S3's name in any case: `crc32c` and `CRC32C`. */
export const algorithmByName = (name: string): ChecksumAlgorithm | undefined => byName.get(name.toUpperCase())

export function createHasher(algorithm: ChecksumAlgorithm | 'MD5'): Hasher {
  return algorithm === 'MD5' ? cryptoHasher('md5') : algorithms[algorithm].createHasher()
}

/** Base64 digest of bytes that are at hand. */
export function digestOf(algorithm: ChecksumAlgorithm | 'MD5', data: Uint8Array): string {
  if (algorithm === 'MD5' || algorithm === 'SHA1' || algorithm === 'SHA256') return hash(algorithm.toLowerCase(), data, 'base64')
  const hasher = createHasher(algorithm)
  hasher.update(data)
  return hasher.digestBase64()
}

/** Whether `value` is the base64 of a digest of the right length, in its one canonical spelling. */
export function isDigest(algorithm: ChecksumAlgorithm | 'MD5', value: string): boolean {
  const bytes = Buffer.from(value, 'base64')
  return bytes.length === (algorithm === 'MD5' ? 16 : algorithms[algorithm].digestBytes) && bytes.toString('base64') === value
}

function cryptoHasher(name: 'md5' | 'sha1' | 'sha256'): Hasher {
  const digest = createHash(name)
  return { update: (data) => void digest.update(data), digestBase64: () => digest.digest('base64') }
}

function crc32Hasher(next: (data: Uint8Array, previous: number) => number): Hasher {
  let crc = 0
  return { update: (data) => { crc = next(data, crc) }, digestBase64: () => crcToBase64(BigInt(crc), 4) }
}

function crc64Hasher(): Hasher {
  let crc = 0n
  return { update: (data) => { crc = crcs.crc64nvme(data, crc) }, digestBase64: () => crcToBase64(crc, 8) }
}

function crcToBase64(crc: bigint, bytes: number): string {
  return Buffer.from(crc.toString(16).padStart(bytes * 2, '0'), 'hex').toString('base64')
}

/**
 * The FULL_OBJECT checksum of a concatenation: base64 values of the parts and their sizes in bytes, in order.
 * Throws for the SHA family, whose digests cannot be combined.
 */
export function combineFullObject(algorithm: ChecksumAlgorithm, parts: readonly { readonly value: string; readonly size: number }[]): Checksum {
  const { field, digestBytes: bytes } = algorithms[algorithm]
  if (field === null) throw new TypeError(`${algorithm} checksums of parts cannot be combined`)
  const crc = combineCrcs(field, parts.map(({ value, size }) => ({ crc: BigInt(`0x${Buffer.from(value, 'base64').toString('hex') || '0'}`), size })))
  return { algorithm, type: 'FULL_OBJECT', value: crcToBase64(crc, bytes) }
}

/** The COMPOSITE checksum: the digest of the parts' raw digests in order, with `-N` behind it. */
export function compositeOf(algorithm: ChecksumAlgorithm, values: readonly string[]): Checksum {
  const digests = Buffer.concat(values.map((value) => Buffer.from(value, 'base64')))
  return { algorithm, type: 'COMPOSITE', value: `${digestOf(algorithm, digests)}-${values.length}` }
}

/** ETag of a multipart object from its parts' hex MD5s: hex MD5 of the raw digests, with `-N` behind it. */
export function combineEtags(md5Hex: readonly string[]): string {
  return `${hash('md5', Buffer.from(md5Hex.join(''), 'hex'), 'hex')}-${md5Hex.length}`
}
