import { createHash } from 'node:crypto'

/**
 * Digests written from their definitions, so that nothing is shared with the server: no library of it, no arithmetic that combines
 * parts. Source: RFC 1952 (CRC-32), RFC 3720 appendix B.4 (CRC-32C), NVM Express command set, "64b CRC" (CRC-64/NVME); all reflected.
 */

export type Algorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256'
export const algorithms: readonly Algorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']

export const md5Of = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

/** MD5 of the parts' MD5s, and how many they are. */
export const etagOfParts = (parts: readonly Uint8Array[]): string => `${md5Of(Buffer.concat(parts.map((part) => Buffer.from(md5Of(part), 'hex'))))}-${parts.length}`

/** Base64 of the big-endian digest. */
export function digestOf(algorithm: Algorithm, bytes: Uint8Array): string {
  if (algorithm === 'CRC32') return crc32(bytes, tables.crc32)
  if (algorithm === 'CRC32C') return crc32(bytes, tables.crc32c)
  if (algorithm === 'CRC64NVME') return crc64(bytes)
  return createHash(algorithm.toLowerCase()).update(bytes).digest('base64')
}

export const compositeOf = (algorithm: Algorithm, parts: readonly Uint8Array[]): string =>
  `${digestOf(algorithm, Buffer.concat(parts.map((part) => Buffer.from(digestOf(algorithm, part), 'base64'))))}-${parts.length}`

function table32(polynomial: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    return crc
  })
}

/** Two halves, because numbers have 53 bits. */
function table64(polynomial: bigint): { readonly high: Int32Array; readonly low: Int32Array } {
  const table = Array.from({ length: 256 }, (_, byte) => {
    let crc = BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ polynomial : crc >> 1n
    return crc
  })
  return { high: Int32Array.from(table, (crc) => Number(crc >> 32n) | 0), low: Int32Array.from(table, (crc) => Number(crc & 0xffffffffn) | 0) }
}

const tables = { crc32: table32(0xedb88320), crc32c: table32(0x82f63b78), crc64: table64(0x9a6c9329ac4bc9b5n) }

function crc32(bytes: Uint8Array, table: Int32Array): string {
  let crc = -1
  for (let index = 0; index < bytes.length; index++) crc = (crc >>> 8) ^ (table[(crc ^ (bytes[index] as number)) & 0xff] as number)
  const out = Buffer.alloc(4)
  out.writeInt32BE(~crc)
  return out.toString('base64')
}

function crc64(bytes: Uint8Array): string {
  const { high: highs, low: lows } = tables.crc64
  let [high, low] = [-1, -1]
  for (let index = 0; index < bytes.length; index++) {
    const byte = (low ^ (bytes[index] as number)) & 0xff
    low = ((low >>> 8) | (high << 24)) ^ (lows[byte] as number)
    high = (high >>> 8) ^ (highs[byte] as number)
  }
  const out = Buffer.alloc(8)
  out.writeInt32BE(~high, 0)
  out.writeInt32BE(~low, 4)
  return out.toString('base64')
}
