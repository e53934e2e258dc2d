import { crcs } from '../../checksums/native.ts'

/** CRC32C (Castagnoli), the checksum of everything at rest, as an unsigned 32-bit number; `previous` continues a running value. */
export function crc32c(data: Uint8Array, previous = 0): number {
  return crcs.crc32c(data, previous)
}
