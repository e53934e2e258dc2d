import { fstat } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { blockBytes, keyBytesMax } from '../domain/limits.ts'
import { manifestSize } from '../domain/manifest.ts'
import type { Extent, Placement } from '../domain/model.ts'
import type { CheckedRow } from '../metadata/store.ts'
import { codeOf } from './local/drive.ts'
import { blobPath, decodeFooter, footerBytes } from './local/file.ts'
import { crc32c } from './local/crc32c.ts'
import { closeRead, openToRead, readFully } from './local/reading.ts'
import { decodeRecordHeader, recordBytes, recordHeaderBytes, recordProblem } from './local/segment.ts'
import { segmentPath } from './backend.ts'
import { createRowDigests } from './scrub-digests.ts'
import type { CheckedDrive, CheckOptions, Finding, ScrubCounts, Share } from './scrub.ts'

const statOf = promisify(fstat)

type Problem = Omit<Finding, 'object'>

/** What is wrong with one place of one blob. */
class Wrong extends Error {
  readonly kind: 'missing' | 'damaged'
  readonly place: string
  constructor(kind: 'missing' | 'damaged', place: string, detail: string) {
    super(detail)
    this.kind = kind
    this.place = place
  }
}

/** Whether the row's bytes are read: seven runs of 1/7 to 7/7 read everything once. */
export function isInShare({ bucketId, key }: Pick<CheckedRow, 'bucketId' | 'key'>, share: Share | null): boolean {
  return share === null || crc32c(Buffer.from(`${bucketId}/${key}`)) % share.of === share.n - 1
}

/** Everything that is wrong with the bytes of a row at this look. */
export async function checkRow(
  options: CheckOptions, row: CheckedRow, how: { read: boolean; digests: boolean }, counts: Pick<ScrubCounts['rows'], 'extents' | 'bytesRead' | 'digestsCompared'>,
): Promise<Problem[]> {
  if (row.problem !== null) return [{ kind: 'row', blob: null, place: null, detail: row.problem }]
  const problems: Problem[] = []
  const size = manifestSize(row.manifest)
  if (size !== row.size) problems.push({ kind: 'row', blob: null, place: null, detail: `the row says ${row.size} bytes, its extents have ${size}` })
  const digests = how.digests && row.manifest.every(({ codec, dataKey }) => codec === 'none' && dataKey === null) ? createRowDigests(row) : null
  const use = (bytes: Uint8Array): void => {
    counts.bytesRead += bytes.length
    digests?.update(bytes)
  }
  for (const extent of row.manifest) {
    if (options.stopping?.() === true) return problems
    counts.extents += 1
    try {
      await checkExtent(options, row, extent, how.read, use)
    } catch (error) {
      if (!(error instanceof Wrong)) throw error
      problems.push({ kind: error.kind, blob: extent.blob, place: error.place, detail: error.message })
    }
  }
  if (digests === null || problems.length > 0) return problems
  counts.digestsCompared += 1
  return digests.finish().map((detail) => ({ kind: 'mismatch', blob: null, place: null, detail }))
}

/** Throws Wrong. Every copy is looked at; the bytes of the first one are used. */
async function checkExtent(options: CheckOptions, row: CheckedRow, extent: Extent, read: boolean, use: (bytes: Uint8Array) => void): Promise<void> {
  if (extent.offset + extent.length > extent.blobLength) throw new Wrong('damaged', placeText(extent.place, extent.blob), 'the extent ends behind its blob')
  const wrong = await checkPlace(options, row, extent, extent.place, read, use)
  if (wrong === null) return
  // A reader does the same: a record that is not at its place may have been moved.
  const moved = extent.place.kind === 'segment' ? (await options.store.relocations([extent.blob])).get(extent.blob) : undefined
  const still = moved === undefined ? wrong : await checkPlace(options, row, extent, moved, read, use)
  if (still !== null) throw still
}

async function checkPlace(options: CheckOptions, row: CheckedRow, extent: Extent, place: Placement, read: boolean, use: (bytes: Uint8Array) => void): Promise<Wrong | null> {
  let used = false
  for (const id of place.drives) {
    const text = placeText({ ...place, drives: [id] }, extent.blob)
    const drive = options.drives.find((each) => each.id === id)
    if (drive === undefined) return new Wrong('missing', text, 'the drive is not here')
    const chunks = used ? () => undefined : use
    try {
      if (place.kind === 'file') await checkFile(options, drive, extent, read, text, chunks)
      else await checkRecord(options, drive, row, extent, place, read, text, chunks)
    } catch (error) {
      if (error instanceof Wrong) return error
      if (codeOf(error) === 'ENOENT') return new Wrong('missing', text, 'there is no such file')
      // The database's trouble is not the disk's.
      if (!(error instanceof Error && 'syscall' in error)) throw error
      return new Wrong('damaged', text, `it cannot be read: ${error.message}`)
    }
    used = true
  }
  return used ? null : new Wrong('missing', placeText(place, extent.blob), 'the row names no drive')
}

export function placeText(place: Placement, blob: string): string {
  const drives = `drive ${place.drives.join(', ')}`
  return place.kind === 'file' ? `${drives}: ${blobPath(blob)}` : `${drives}: ${segmentPath(place.segment)} at ${place.at}`
}

async function checkFile(options: CheckOptions, drive: CheckedDrive, extent: Extent, read: boolean, place: string, use: (bytes: Uint8Array) => void): Promise<void> {
  const fd = await openToRead(join(drive.root, blobPath(extent.blob)))
  try {
    const { size } = await statOf(fd)
    if (size < extent.blobLength) throw new Wrong('damaged', place, `the file has ${size} bytes, the blob alone ${extent.blobLength}`)
    const bytes = Buffer.alloc(Math.min(size - extent.blobLength, footerBytes(extent.blobLength, keyBytesMax) + 1))
    await options.pace?.(bytes.length)
    await readFully(fd, bytes, extent.blobLength)
    const footer = decodeFooter(bytes, extent.blob, extent.blobLength)
    if (footer === null) throw new Wrong('damaged', place, 'what stands behind the bytes (block table, owner, tail) is damaged or another blob’s')
    if (!read) return
    const end = extent.offset + extent.length
    const buffer = Buffer.allocUnsafe(Math.min(blockBytes, extent.blobLength))
    for (let index = Math.floor(extent.offset / blockBytes); index * blockBytes < end; index++) {
      if (options.stopping?.() === true) return
      const at = index * blockBytes
      const block = buffer.subarray(0, Math.min(blockBytes, extent.blobLength - at))
      await options.pace?.(block.length)
      if (await readFully(fd, block, at) < block.length || crc32c(block) !== footer.blocks[index]) {
        throw new Wrong('damaged', place, `the bytes from ${at} to ${at + block.length} are not those that were written`)
      }
      use(block.subarray(Math.max(0, extent.offset - at), end - at))
    }
  } finally {
    closeRead(fd)
  }
}

async function checkRecord(
  options: CheckOptions, drive: CheckedDrive, row: CheckedRow, extent: Extent, { segment, at }: Placement & { kind: 'segment' }, read: boolean, place: string,
  use: (bytes: Uint8Array) => void,
): Promise<void> {
  const fd = await openToRead(join(drive.root, segmentPath(segment)))
  try {
    const bytes = Buffer.alloc(read ? recordBytes(extent.blobLength, keyBytesMax) : recordHeaderBytes)
    await options.pace?.(bytes.length)
    const got = bytes.subarray(0, await readFully(fd, bytes, at))
    const header = decodeRecordHeader(got)
    if (header === null) throw new Wrong('damaged', place, got.length === 0 ? 'the segment ends before it' : 'there is no record')
    if (header.blob !== extent.blob || header.length !== extent.blobLength) throw new Wrong('damaged', place, `there is the record of another blob (${header.blob}, ${header.length} bytes)`)
    if (!read) return
    const problem = recordProblem(got)
    if (problem !== null) throw new Wrong('damaged', place, problem)
    const bodyEnd = recordHeaderBytes + header.length
    const named = header.bucketId === row.bucketId && got.toString('utf8', bodyEnd, bodyEnd + header.keyBytes) === row.key
    if (!named && !(await options.store.shared([extent.blob])).has(extent.blob)) throw new Wrong('damaged', place, 'the record was written for another key')
    use(got.subarray(recordHeaderBytes + extent.offset, recordHeaderBytes + extent.offset + extent.length))
  } finally {
    closeRead(fd)
  }
}
