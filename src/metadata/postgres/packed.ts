import { digestBytes } from '../../checksums/algorithms.ts'
import type { Checksum, ChecksumAlgorithm, ChecksumType } from '../../domain/model.ts'

/**
 * ETags and checksums as the bytes that they are, in PostgreSQL's text form (`\x` and hex digits): as text they would take
 * twice the room in every row. `drizzle/0002_narrow_rows.sql` does the same in SQL.
 */

const digestDigits = 32
const countDigits = 4
const count = (parts: number): string => parts.toString(16).padStart(countDigits, '0')

/** `0123...` or `0123...-7` -> `\\x0123...` or `\\x0123...0007`. */
export function packedEtag(etag: string): string {
  const parts = etag.slice(digestDigits + 1)
  if (!etagForm.test(etag) || Number(parts) >= 16 ** countDigits) throw new Error(`${etag} is no ETag that a row can hold`)
  return `\\x${etag.slice(0, digestDigits)}${parts === '' ? '' : count(Number(parts))}`
}

const etagForm = /^[0-9a-f]{32}(?:-[1-9][0-9]*)?$/

/** The ETag whose hex digits begin at `from` and are the rest of the text. */
export function unpackedEtag(packed: string, from: number): string {
  const end = from + digestDigits
  return packed.length === end ? packed.slice(from) : `${packed.slice(from, end)}-${Number.parseInt(packed.slice(end), 16)}`
}

/** Their places are stored: a new one goes behind the others. */
const algorithms: readonly ChecksumAlgorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']
const types: readonly ChecksumType[] = ['FULL_OBJECT', 'COMPOSITE']
/** By the first byte of a packed checksum; 0 is none. */
const kinds = [null, ...algorithms.flatMap((algorithm) => types.map((type) => ({ algorithm, type })))]

/** The first byte, then the digest; where the text has `-N`, the number of parts in two bytes. */
export function packedChecksum({ algorithm, type, value }: Checksum): string {
  const kind = 1 + algorithms.indexOf(algorithm) * types.length + types.indexOf(type)
  const [digest = '', parts] = value.split('-')
  return `\\x${kind.toString(16).padStart(2, '0')}${Buffer.from(digest, 'base64').toString('hex')}${parts === undefined ? '' : count(Number(parts))}`
}

/** Algorithm and type by the number of the first byte; null for 0. */
export function checksumKind(kind: number): Pick<Checksum, 'algorithm' | 'type'> | null {
  const found = kinds[kind]
  if (found === undefined) throw new Error(`checksum kind ${kind} is not known to this program`)
  return found
}

export function unpackedChecksum(packed: string): Checksum | null {
  const bytes = Buffer.from(packed.slice(2), 'hex')
  const kind = checksumKind(bytes[0] ?? 0)
  if (kind === null) return null
  const end = 1 + digestBytes(kind.algorithm)
  const digest = bytes.toString('base64', 1, end)
  return { algorithm: kind.algorithm, type: kind.type, value: bytes.length === end ? digest : `${digest}-${bytes.readUInt16BE(end)}` }
}
