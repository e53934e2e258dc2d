import type { Extent, Placement } from './model.ts'

/**
 * A version's list of extents as bytes, for one column of its row.
 *
 * Layout: format version (1 byte), number of extents, then for each extent: flags (1 byte), blob id, offset and blobLength
 * (left out when the extent is its whole blob), length, data key id (when there is one), drives, and for a segment its name
 * and the record's offset. Numbers are unsigned LEB128. Texts of lower-case hex digits are packed two to a byte.
 * Nearly every row of the database has one extent of the usual form (a blob id of 16 bytes, one drive, a segment's name of
 * 11 bytes): there, a flag stands for these three lengths. Rows of older programs do not have it.
 * A format that this program does not know is refused, never guessed: an older program may meet rows of a newer one.
 */
const format = 1

const codecs: readonly Extent['codec'][] = ['none', 'zstd']
const flagSegment = 0x10
const flagDataKey = 0x20
const flagPartial = 0x40
const flagUsual = 0x80
const usualBlobBytes = 16
const usualSegmentBytes = 11
const codecMask = 0x0f

export class ManifestFormatError extends Error {}

/** Bytes of a manifest; `decodeManifest` gives the same extents back. */
export function encodeManifest(extents: readonly Extent[]): Uint8Array {
  const bytes: number[] = [format]
  writeNumber(bytes, extents.length)
  for (const extent of extents) writeExtent(bytes, extent)
  return Uint8Array.from(bytes)
}

/** Throws ManifestFormatError for bytes of a newer format, and for anything that `encodeManifest` did not write. */
export function decodeManifest(bytes: Uint8Array): Extent[] {
  const reader: Reader = { bytes, at: 0 }
  const version = readByte(reader)
  if (version !== format) throw new ManifestFormatError(`manifest format ${version} is not known to this program (it knows ${format})`)
  const count = readNumber(reader)
  const extents: Extent[] = []
  for (let i = 0; i < count; i++) extents.push(readExtent(reader))
  if (reader.at !== bytes.length) throw new ManifestFormatError('manifest has bytes behind its last extent')
  return extents
}

function writeExtent(bytes: number[], extent: Extent): void {
  const { place } = extent
  const partial = extent.offset !== 0 || extent.length !== extent.blobLength
  const codec = codecs.indexOf(extent.codec)
  if (codec < 0) throw new ManifestFormatError(`codec ${extent.codec} has no number in manifest format ${format}`)
  const usual = isUsual(extent)
  const flags = codec | (place.kind === 'segment' ? flagSegment : 0) | (extent.dataKey === null ? 0 : flagDataKey) | (partial ? flagPartial : 0)
  bytes.push(usual ? flags | flagUsual : flags)
  if (usual) writeHex(bytes, extent.blob)
  else writeText(bytes, extent.blob)
  writeNumber(bytes, extent.length)
  if (partial) {
    writeNumber(bytes, extent.offset)
    writeNumber(bytes, extent.blobLength)
  }
  if (extent.dataKey !== null) writeText(bytes, extent.dataKey)
  if (!usual) writeNumber(bytes, place.drives.length)
  for (const drive of place.drives) writeNumber(bytes, drive)
  if (place.kind === 'segment') {
    if (usual) writeHex(bytes, place.segment)
    else writeText(bytes, place.segment)
    writeNumber(bytes, place.at)
  }
}

const hexDigits = /^[0-9a-f]*$/

function isUsual({ blob, place }: Extent): boolean {
  return blob.length === 2 * usualBlobBytes && hexDigits.test(blob) && place.drives.length === 1
    && (place.kind === 'file' || (place.segment.length === 2 * usualSegmentBytes && hexDigits.test(place.segment)))
}

/** The bytes by which a manifest names a place, to be searched for in manifests that are not decoded; the same in all its forms. */
export function placeBytes(blob: string, place: Placement): Uint8Array {
  const bytes: number[] = []
  writeHex(bytes, place.kind === 'file' ? blob : place.segment)
  if (place.kind === 'segment') writeNumber(bytes, place.at)
  return Uint8Array.from(bytes)
}

interface Reader {
  readonly bytes: Uint8Array
  at: number
}

function readExtent(reader: Reader): Extent {
  const flags = readByte(reader)
  const codec = codecs[flags & codecMask]
  const usual = (flags & flagUsual) !== 0
  if (codec === undefined) throw new ManifestFormatError(`extent flags ${flags} are not known to this program`)
  const blob = usual ? readHex(reader, usualBlobBytes) : readText(reader)
  const length = readNumber(reader)
  const partial = (flags & flagPartial) !== 0
  const offset = partial ? readNumber(reader) : 0
  const blobLength = partial ? readNumber(reader) : length
  const dataKey = (flags & flagDataKey) === 0 ? null : readText(reader)
  return { blob, offset, length, blobLength, codec, dataKey, place: readPlace(reader, (flags & flagSegment) !== 0, usual) }
}

function readPlace(reader: Reader, inSegment: boolean, usual: boolean): Placement {
  const drives: number[] = []
  const count = usual ? 1 : readNumber(reader)
  for (let i = 0; i < count; i++) drives.push(readNumber(reader))
  if (!inSegment) return { kind: 'file', drives }
  const segment = usual ? readHex(reader, usualSegmentBytes) : readText(reader)
  return { kind: 'segment', drives, segment, at: readNumber(reader) }
}

function writeNumber(bytes: number[], value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new ManifestFormatError(`${value} is no length, offset or id`)
  let rest = value
  while (rest > 0x7f) {
    bytes.push((rest % 128) | 0x80)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
}

function readNumber(reader: Reader): number {
  let value = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = readByte(reader)
    value += (byte & 0x7f) * scale
    if (!Number.isSafeInteger(value)) throw new ManifestFormatError('manifest has a number beyond 2^53')
    if (byte < 0x80) return value
  }
}

function readByte(reader: Reader): number {
  const byte = reader.bytes[reader.at++]
  if (byte === undefined) throw new ManifestFormatError('manifest ends in the middle of an extent')
  return byte
}

/** Length in bytes times two, plus one when the bytes are packed hex digits; then the bytes. */
function writeText(bytes: number[], text: string): void {
  const hex = text.length % 2 === 0 && hexDigits.test(text)
  const data = Buffer.from(text, hex ? 'hex' : 'utf8')
  writeNumber(bytes, data.length * 2 + (hex ? 1 : 0))
  for (const byte of data) bytes.push(byte)
}

function writeHex(bytes: number[], text: string): void {
  for (const byte of Buffer.from(text, 'hex')) bytes.push(byte)
}

function readText(reader: Reader): string {
  const head = readNumber(reader)
  const data = take(reader, Math.floor(head / 2))
  return data.toString(head % 2 === 1 ? 'hex' : 'utf8')
}

const readHex = (reader: Reader, length: number): string => take(reader, length).toString('hex')

function take(reader: Reader, length: number): Buffer {
  if (reader.at + length > reader.bytes.length) throw new ManifestFormatError('manifest ends in the middle of a name')
  const data = Buffer.from(reader.bytes.buffer, reader.bytes.byteOffset + reader.at, length)
  reader.at += length
  return data
}

/** Bytes of the object that a manifest describes. */
export function manifestSize(manifest: readonly Extent[]): number {
  let size = 0
  for (const extent of manifest) size += extent.length
  return size
}

/** The extents of bytes `[start, end)`; what lies beyond the manifest is left out. */
export function sliceManifest(manifest: readonly Extent[], start: number, end: number): Extent[] {
  const slice: Extent[] = []
  let position = 0
  for (const extent of manifest) {
    const from = Math.max(start - position, 0)
    const to = Math.min(end - position, extent.length)
    if (from < to) slice.push(from === 0 && to === extent.length ? extent : { ...extent, offset: extent.offset + from, length: to - from })
    position += extent.length
    if (position >= end) break
  }
  return slice
}

/** One manifest after the other. Neighbours that continue in the same blob become one extent; empty extents go. */
export function joinManifests(manifests: Iterable<readonly Extent[]>): Extent[] {
  const joined: Extent[] = []
  for (const manifest of manifests) {
    for (const extent of manifest) {
      const last = joined.at(-1)
      if (extent.length === 0) continue
      if (last && last.blob === extent.blob && last.offset + last.length === extent.offset) {
        joined[joined.length - 1] = { ...last, length: last.length + extent.length }
      } else {
        joined.push(extent)
      }
    }
  }
  return joined
}
