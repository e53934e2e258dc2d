import { blockBytes } from '../../domain/limits.ts'
import { crc32c } from './crc32c.ts'

/**
 * Format of a blob in a file of its own: the bytes, a table with 20 bytes for each block (CRC32C, and 16 bytes kept for an
 * authentication tag), the owner's key, a tail of 64 bytes. The table is behind the bytes so that an upload is written once,
 * in order. All integers are big-endian.
 */
export const tailBytes = 64
const entryBytes = 20
const magic = Buffer.from('HFBLOB01', 'latin1')

export interface BlobFooter {
  readonly blob: string
  readonly length: number
  readonly bucketId: number
  readonly key: string
  /** CRC32C of each block of `blockBytes`; the last block may be shorter. */
  readonly blocks: Uint32Array
}

/** Where a blob's file is below the root of its drive: two levels of 256 folders keep each of them small. */
export function blobPath(blob: string): string {
  return `blobs/${blob.slice(0, 2)}/${blob.slice(2, 4)}/${blob}`
}

/** Bytes behind a blob of `length` whose owner's key has `keyBytes`. */
export function footerBytes(length: number, keyBytes: number): number {
  return Math.ceil(length / blockBytes) * entryBytes + keyBytes + tailBytes
}

export function encodeFooter(footer: BlobFooter): Buffer {
  const key = Buffer.from(footer.key, 'utf8')
  const tableBytes = footer.blocks.length * entryBytes
  const bytes = Buffer.alloc(tableBytes + key.length + tailBytes)
  footer.blocks.forEach((crc, index) => bytes.writeUInt32BE(crc, index * entryBytes))
  key.copy(bytes, tableBytes)
  const tail = bytes.subarray(tableBytes + key.length)
  magic.copy(tail, 0)
  tail.writeUInt32BE(1, 8)
  tail.writeUInt32BE(blockBytes, 12)
  tail.writeUIntBE(footer.length, 18, 6)
  tail.writeUIntBE(footer.bucketId, 26, 6)
  tail.writeUInt32BE(key.length, 32)
  tail.writeUInt32BE(footer.blocks.length, 36)
  tail.write(footer.blob, 40, 16, 'hex')
  tail.writeUInt32BE(crc32c(bytes.subarray(0, tableBytes + key.length)), 56)
  tail.writeUInt32BE(crc32c(tail.subarray(0, 60)), 60)
  return bytes
}

/** Decodes everything behind the blob's bytes (from offset `length` to the end of the file). Null when it was damaged or is another blob's. */
export function decodeFooter(bytes: Buffer, blob: string, length: number): BlobFooter | null {
  if (bytes.length < tailBytes) return null
  const tail = bytes.subarray(bytes.length - tailBytes)
  if (!tail.subarray(0, 8).equals(magic) || tail.readUInt32BE(8) !== 1 || tail.readUInt32BE(12) !== blockBytes) return null
  if (tail.readUInt32BE(60) !== crc32c(tail.subarray(0, 60))) return null
  const keyBytes = tail.readUInt32BE(32)
  const count = tail.readUInt32BE(36)
  const body = bytes.subarray(0, bytes.length - tailBytes)
  if (tail.readUIntBE(18, 6) !== length || tail.toString('hex', 40, 56) !== blob) return null
  if (count !== Math.ceil(length / blockBytes) || body.length !== count * entryBytes + keyBytes || crc32c(body) !== tail.readUInt32BE(56)) return null
  const blocks = new Uint32Array(count)
  for (let index = 0; index < count; index++) blocks[index] = body.readUInt32BE(index * entryBytes)
  return { blob, length, bucketId: tail.readUIntBE(26, 6), key: body.toString('utf8', count * entryBytes), blocks }
}

export interface BlobOwner {
  readonly blob: string
  readonly bucketId: number
  readonly key: string
}

/** Length of the blob by the tail of its file of `fileBytes`; null when the tail is damaged or cannot be of such a file. */
export function bodyLength(tail: Buffer, fileBytes: number): number | null {
  if (tail.length !== tailBytes || !tail.subarray(0, 8).equals(magic) || tail.readUInt32BE(60) !== crc32c(tail.subarray(0, 60))) return null
  const length = tail.readUIntBE(18, 6)
  return length + tail.readUInt32BE(36) * entryBytes + tail.readUInt32BE(32) + tailBytes === fileBytes ? length : null
}
