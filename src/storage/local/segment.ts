import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { crc32c } from './crc32c.ts'

/**
 * Format of a segment: a header of 128 bytes, then records that begin at multiples of 8.
 *
 * A record is a header of 64 bytes, the body, the owner's key. The body comes before the key so that a reader that knows
 * blob id and length needs one pread. All integers are big-endian; each part has its own CRC32C, so that a segment can be
 * read without the database and a torn tail is recognised.
 */
export const segmentHeaderBytes = 128
export const recordHeaderBytes = 64
const segmentMagic = Buffer.from('HFSEGM01', 'latin1')
const segmentFormat = 1
const recordMagic = 0x48464231 // HFB1
const recordFormat = 1
const alignment = 8

export interface SegmentHeader {
  /** Epoch ms. */
  readonly createdAt: number
  /** Token of the process that appends to it; nobody else ever does. */
  readonly writer: string
}

export interface RecordHeader {
  /** 32 hex digits. */
  readonly blob: string
  readonly length: number
  readonly bucketId: number
  readonly keyBytes: number
  readonly bodyCrc: number
  readonly keyCrc: number
}

/** A record found by a scan; `at` is the offset of its header. */
export interface ScannedRecord extends RecordHeader {
  readonly at: number
  readonly key: string
}

export function encodeSegmentHeader(target: Buffer, header: SegmentHeader): void {
  target.fill(0, 0, segmentHeaderBytes)
  segmentMagic.copy(target, 0)
  target.writeUInt32BE(segmentFormat, 8)
  target.writeUIntBE(header.createdAt, 12, 6)
  const writer = Buffer.from(header.writer, 'utf8').subarray(0, 96)
  target.writeUInt8(writer.length, 18)
  writer.copy(target, 19)
  target.writeUInt32BE(crc32c(target.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4)
}

/** Null when it is not a whole segment header of a known format: a segment that died before its first group. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | null {
  if (!isWhole(bytes) || !isKnown(bytes)) return null
  const writerBytes = bytes.readUInt8(18)
  return { createdAt: bytes.readUIntBE(12, 6), writer: bytes.toString('utf8', 19, 19 + writerBytes) }
}

/**
 * Whether a newer program wrote a segment with this header. Whatever changes, the first six bytes, the size of the header and its checksum stay
 * where they are, so that a rotten bit in it is not taken for a new format.
 */
export function isNewerSegment(bytes: Buffer): boolean {
  return isWhole(bytes) && !isKnown(bytes)
}

function isWhole(bytes: Buffer): boolean {
  return bytes.length >= segmentHeaderBytes && bytes.compare(segmentMagic, 0, 6, 0, 6) === 0
    && bytes.readUInt32BE(segmentHeaderBytes - 4) === crc32c(bytes.subarray(0, segmentHeaderBytes - 4))
}

function isKnown(bytes: Buffer): boolean {
  return bytes.compare(segmentMagic, 0, 8, 0, 8) === 0 && bytes.readUInt32BE(8) === segmentFormat
}

/** Bytes that a record takes in the segment, padding included. */
export function recordBytes(bodyBytes: number, keyBytes: number): number {
  return Math.ceil((recordHeaderBytes + bodyBytes + keyBytes) / alignment) * alignment
}

/**
 * Writes the header of a record whose body and key lie behind it in `record` already, both checksums included. Bytes 40 to 56
 * are kept for an authentication tag.
 */
export function sealRecord(record: Buffer, header: Omit<RecordHeader, 'bodyCrc' | 'keyCrc'>): void {
  const keyAt = recordHeaderBytes + header.length
  record.fill(0, 0, recordHeaderBytes)
  record.writeUInt32BE(recordMagic, 0)
  record.writeUInt8(recordFormat, 4)
  record.writeUInt16BE(header.keyBytes, 6)
  record.write(header.blob, 8, 16, 'hex')
  record.writeUInt32BE(header.length, 24)
  record.writeUInt32BE(crc32c(record.subarray(recordHeaderBytes, keyAt)), 28)
  record.writeUIntBE(header.bucketId, 32, 6)
  record.writeUInt32BE(crc32c(record.subarray(keyAt, keyAt + header.keyBytes)), 56)
  record.writeUInt32BE(crc32c(record.subarray(0, recordHeaderBytes - 4)), recordHeaderBytes - 4)
  record.fill(0, keyAt + header.keyBytes)
}

/** Null when the bytes are no record header of a known format. */
export function decodeRecordHeader(bytes: Buffer): RecordHeader | null {
  if (bytes.length < recordHeaderBytes || bytes.readUInt32BE(0) !== recordMagic || bytes.readUInt8(4) !== recordFormat) return null
  if (bytes.readUInt32BE(recordHeaderBytes - 4) !== crc32c(bytes.subarray(0, recordHeaderBytes - 4))) return null
  return {
    blob: bytes.toString('hex', 8, 24),
    length: bytes.readUInt32BE(24),
    bucketId: bytes.readUIntBE(32, 6),
    keyBytes: bytes.readUInt16BE(6),
    bodyCrc: bytes.readUInt32BE(28),
    keyCrc: bytes.readUInt32BE(56),
  }
}

/** The verified body of the record of `blob` that `bytes` begins with, or null when it is another one or was damaged. */
export function recordBody(bytes: Buffer, blob: string, length: number): Buffer | null {
  const header = decodeRecordHeader(bytes)
  if (header === null || header.blob !== blob || header.length !== length) return null
  const body = bytes.subarray(recordHeaderBytes, recordHeaderBytes + length)
  return body.length === length && crc32c(body) === header.bodyCrc ? body : null
}

/** What is wrong with the record that `bytes` begins with; null when each of its bytes is as it was written. */
export function recordProblem(bytes: Buffer): string | null {
  const header = decodeRecordHeader(bytes)
  if (header === null) return 'there is no record'
  const bodyEnd = recordHeaderBytes + header.length
  const keyEnd = bodyEnd + header.keyBytes
  const end = recordBytes(header.length, header.keyBytes)
  if (bytes.length < end) return 'the segment ends within it'
  if (crc32c(bytes.subarray(recordHeaderBytes, bodyEnd)) !== header.bodyCrc) return 'its bytes are not those that were written'
  if (crc32c(bytes.subarray(bodyEnd, keyEnd)) !== header.keyCrc) return 'its owner’s key is not the one that was written'
  return bytes.subarray(keyEnd, end).some((byte) => byte !== 0) ? 'its padding is not empty' : null
}

/** The owner's key from its bytes; '' when they are damaged: no key is empty, and a damaged one may be no text at all. */
export function keyText(header: RecordHeader, key: Uint8Array): string {
  return crc32c(key) === header.keyCrc ? Buffer.from(key).toString('utf8') : ''
}

/** Whose record begins at `at` of a segment file, by its header and key alone; null when there is no header. */
export function brokenRecord(path: string, at: number): Pick<ScannedRecord, 'blob' | 'bucketId' | 'key'> | null {
  const fd = openSync(path, 'r')
  try {
    const head = Buffer.alloc(recordHeaderBytes)
    const header = readSync(fd, head, 0, recordHeaderBytes, at) === recordHeaderBytes ? decodeRecordHeader(head) : null
    if (header === null) return null
    const key = Buffer.alloc(header.keyBytes)
    readSync(fd, key, 0, key.length, at + recordHeaderBytes + header.length)
    return { blob: header.blob, bucketId: header.bucketId, key: keyText(header, key) }
  } finally {
    closeSync(fd)
  }
}

const scanBytes = 1024 ** 2

/**
 * All whole records of a segment file, in order. Damaged stretches are stepped over: after a crash only a part of the last
 * group may have reached the disk, in any order. So are zeros, which a writer lays out ahead of its groups.
 */
export function* scanSegment(path: string): Generator<ScannedRecord> {
  const fd = openSync(path, 'r')
  try {
    const bytesAt = windowed(fd, fstatSync(fd).size)
    for (let at = segmentHeaderBytes; ;) {
      const head = bytesAt(at, recordHeaderBytes)
      if (head.length < recordHeaderBytes) return
      const header = decodeRecordHeader(head)
      const rest = header === null ? null : bytesAt(at + recordHeaderBytes, header.length + header.keyBytes)
      // Inside a damaged stretch lie bytes of clients, which may look like a header of any length.
      if (header === null || rest === null || rest.length < header.length + header.keyBytes || crc32c(rest.subarray(0, header.length)) !== header.bodyCrc) {
        at += emptyBytes(head) === head.length ? emptyBytes(bytesAt(at, scanBytes)) : alignment
        continue
      }
      yield { ...header, at, key: keyText(header, rest.subarray(header.length)) }
      at += recordBytes(header.length, header.keyBytes)
    }
  } finally {
    closeSync(fd)
  }
}

/** Reads a file of which neighbouring stretches are asked for. What it gives is good until the next call, and shorter at the file's end. */
function windowed(fd: number, size: number): (at: number, count: number) => Buffer {
  let start = 0
  let bytes = Buffer.alloc(0)
  return (at, count) => {
    const wanted = Math.min(count, size - at)
    if (wanted <= 0) return bytes.subarray(0, 0)
    if (at < start || at + wanted > start + bytes.length) {
      const fresh = Buffer.allocUnsafe(Math.min(size - at, Math.max(wanted, scanBytes)))
      start = at
      bytes = fresh.subarray(0, readSync(fd, fresh, 0, fresh.length, at))
    }
    return bytes.subarray(at - start, at - start + wanted)
  }
}

const zeros = Buffer.alloc(64 * 1024)

/** How many zeros `bytes` begins with, in whole steps of records. */
export function emptyBytes(bytes: Buffer): number {
  let at = 0
  for (let step = zeros.length; step >= alignment; ) {
    if (at + step <= bytes.length && bytes.compare(zeros, 0, step, at, at + step) === 0) at += step
    else step /= 2
  }
  return at
}

/**
 * Cuts off the zeros behind the last record of a segment whose writer has ended: they were laid out for groups that never came. A
 * record ends with its key and less than `alignment` zeros, so that nothing of one is lost. Answers the file's new length.
 */
export function trimSegment(path: string): number {
  const fd = openSync(path, 'r+')
  try {
    const { size } = fstatSync(fd)
    const end = Math.ceil(dataEnd(fd, size) / alignment) * alignment
    if (end < size) ftruncateSync(fd, end)
    return Math.min(end, size)
  } finally {
    closeSync(fd)
  }
}

/** Where the last byte that is not zero ends. */
function dataEnd(fd: number, size: number): number {
  const bytes = Buffer.alloc(zeros.length)
  for (let end = size; end > 0;) {
    const from = Math.max(0, end - bytes.length)
    const got = bytes.subarray(0, readSync(fd, bytes, 0, end - from, from))
    if (got.compare(zeros, 0, got.length) !== 0) return from + got.findLastIndex((byte) => byte !== 0) + 1
    end = from
  }
  return 0
}
