import { fstat } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { orphanAgeMs, segmentBytesMax } from '../domain/limits.ts'
import type { Placement } from '../domain/model.ts'
import type { BlobFate, FoundBlob } from '../metadata/store.ts'
import { fatesAt, isAt, recordPlace } from './fates.ts'
import { codeOf } from './local/drive.ts'
import { isSealed, notesSuffix, readNotes, walkFiles } from './local/inventory.ts'
import type { StoredFile } from './local/inventory.ts'
import { closeRead, openToRead, readFully } from './local/reading.ts'
import { decodeRecordHeader, decodeSegmentHeader, emptyBytes, isNewerSegment, keyText, recordBytes, recordHeaderBytes, recordProblem, segmentHeaderBytes } from './local/segment.ts'
import type { RecordHeader } from './local/segment.ts'
import type { CheckedDrive, CheckOptions } from './scrub.ts'
import { placeText } from './scrub-rows.ts'

const statOf = promisify(fstat)

/** What becomes of bytes that were found. */
export type Fate =
  | 'live'
  /** Released by a row; the sweeper has yet to take it. */
  | 'released'
  /** Noted as dead beside its segment: it goes with the segment. */
  | 'dead'
  /** A copy of a record that compaction put elsewhere. */
  | 'superseded'
  /** No row names it, but it may be on its way. */
  | 'young'
  | 'orphan'

export interface SeenBlob extends FoundBlob {
  readonly fate: Fate
  /** Bytes of the blob itself. */
  readonly length: number
  /** Bytes that it takes with all that belongs to it: of the file, or of the record with its padding. */
  readonly bytes: number
  readonly keyBytes: number
  readonly shared: boolean
  readonly placeText: string
  /** Of a file; null for a record. */
  readonly path: string | null
}

export interface SeenSegment {
  readonly name: string
  readonly path: string
  readonly bytes: number
  /** Whether nobody appends to it and no row has to do with any of its records, so that it may be moved away. */
  readonly disposable: boolean
}

export interface DriveVisitor {
  blob(seen: SeenBlob): void
  /** Something that is not as it was written. `bytes` that belong to nothing else. */
  damage?(found: { place: string; blob: string | null; bytes: number; detail: string }): void
  /** Bytes that no record has and that a crash explains: the end of a segment whose last group was cut off. */
  tail?(bytes: number): void
  segment?(seen: SeenSegment): void
}

const askedAtOnce = 500
/** The servers are not asked: a segment of a living one counts as in use until it is full. */
const unknownHoldings = { writers: new Set<string>(), segments: new Set<string>(), pinned: new Set<string>() }

/** Looks at all blobs of a drive. What goes meanwhile is passed over; what comes meanwhile may be. */
export async function walkDrive(options: CheckOptions, drive: CheckedDrive, visitor: DriveVisitor): Promise<void> {
  for (const name of (await readdir(join(drive.root, 'segments'))).sort()) {
    if (options.stopping?.() === true) return
    if (!name.endsWith(notesSuffix)) await walkSegment(options, drive, name, visitor)
  }
  let batch: StoredFile[] = []
  for await (const file of walkFiles(drive, Infinity)) {
    if (options.stopping?.() === true) return
    batch.push(file)
    if (batch.length < askedAtOnce) continue
    await judgeFiles(options, drive, batch, visitor)
    batch = []
  }
  await judgeFiles(options, drive, batch, visitor)
}

async function judgeFiles(options: CheckOptions, drive: CheckedDrive, files: readonly StoredFile[], visitor: DriveVisitor): Promise<void> {
  const place: Placement = { kind: 'file', drives: [drive.id] }
  const known = files.flatMap((file) => (file.owner === null ? [] : [{ blob: file.owner.blob, bucketId: file.owner.bucketId, key: file.owner.key, place }]))
  const fates = await options.store.fates(known)
  for (const { path, bytes, changedAt, owner, length } of files) {
    const fate = owner === null ? undefined : fates.get(owner.blob)
    if (owner === null || fate === undefined) {
      if (await exists(path)) visitor.damage?.({ place: `drive ${drive.id}: ${path.slice(drive.root.length + 1)}`, blob: basename(path), bytes, detail: 'what stands behind the bytes is damaged or another blob’s' })
      continue
    }
    const young = changedAt > Date.now() - (options.orphanAgeMs ?? orphanAgeMs)
    const judged: Fate = fate.live ? 'live' : fate.released ? 'released' : young ? 'young' : 'orphan'
    // The sweeper removes a file before its row: without a row and without a file there is nothing to say.
    if (judged === 'orphan' && !(await exists(path))) continue
    visitor.blob({
      blob: owner.blob, bucketId: owner.bucketId, key: owner.key, place, fate: judged, length, bytes, shared: fate.shared,
      keyBytes: Buffer.byteLength(owner.key), placeText: placeText(place, owner.blob), path,
    })
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, (error: unknown) => {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  })
}

/** A stretch of a segment: a record with its header, whole or not, or bytes that are none. */
interface Stretch {
  readonly at: number
  readonly bytes: number
  readonly record: (RecordHeader & { readonly key: string }) | null
  readonly problem: string | null
}

async function walkSegment(options: CheckOptions, drive: CheckedDrive, name: string, visitor: DriveVisitor): Promise<void> {
  const path = join(drive.root, 'segments', name)
  const place = (at: number): string => `drive ${drive.id}: segments/${name} at ${at}`
  const fd = await openToRead(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  })
  if (fd === null) return
  try {
    const { size, mtimeMs } = await statOf(fd)
    const head = Buffer.alloc(Math.min(size, segmentHeaderBytes))
    await readFully(fd, head, 0)
    // Begun by a newer replica, while this program runs: what is in it is for that one to check.
    if (isNewerSegment(head)) return
    const header = decodeSegmentHeader(head)
    const file = { name, path, bytes: size, changedAt: mtimeMs, writer: header?.writer ?? null, newer: false }
    const inUse = header !== null && !isSealed(file, unknownHoldings, segmentBytesMax)
    const young = inUse || mtimeMs > Date.now() - (options.orphanAgeMs ?? orphanAgeMs)
    /** Bytes that belong to nothing, until something known is found behind them. */
    let doubtful: Stretch[] = []
    let known = 0
    let useful = 0
    let batch: Stretch[] = []
    const judge = async (): Promise<void> => {
      const fates = await fatesOf(options, drive, path, batch, young)
      // A segment that went meanwhile took its notes with it.
      if ([...fates.values()].some(({ fate }) => fate === 'orphan') && !(await exists(path))) batch = []
      for (const stretch of batch) {
        const { record, at, bytes } = stretch
        // It may have been looked at while it was being written, and have its row by now.
        const problem = inUse && record !== null && stretch.problem !== null ? await problemAt(fd, at, bytes) : stretch.problem
        const fate = record === null ? undefined : fates.get(at)
        if (record === null || fate === undefined) {
          doubtful.push(stretch)
          continue
        }
        if (fate.fate !== 'young' && fate.fate !== 'orphan') {
          for (const gap of doubtful) visitor.damage?.({ place: place(gap.at), blob: gap.record?.blob ?? null, bytes: gap.bytes, detail: gap.problem ?? '' })
          doubtful = []
          known += 1
        } else if (problem !== null) {
          doubtful.push(stretch)
          continue
        }
        // A copy of what is live may be the last one, when the way to the other is lost.
        if (fate.live || fate.fate === 'released' || fate.fate === 'young') useful += 1
        if (problem !== null) visitor.damage?.({ place: place(at), blob: record.blob, bytes: 0, detail: problem })
        visitor.blob({
          blob: record.blob, bucketId: record.bucketId, key: record.key, place: recordPlace(drive, name, at), fate: fate.fate, length: record.length, bytes,
          shared: fate.shared, keyBytes: record.keyBytes, placeText: place(at), path: null,
        })
      }
      batch = []
    }
    for await (const stretch of stretchesOf(options, fd, { size, inUse })) {
      batch.push(stretch)
      if (batch.length >= askedAtOnce) await judge()
      if (options.stopping?.() === true) return
    }
    await judge()
    if (!(await exists(path))) return
    if (header === null && known > 0) visitor.damage?.({ place: place(0), blob: null, bytes: 0, detail: 'the segment’s header is damaged' })
    for (const gap of doubtful) visitor.tail?.(gap.bytes)
    const nothingElse = doubtful.every(({ problem }) => problem === emptyTail)
    visitor.segment?.({ name, path, bytes: size, disposable: !inUse && !young && useful === 0 && nothingElse })
  } finally {
    closeRead(fd)
  }
}

async function problemAt(fd: number, at: number, bytes: number): Promise<string | null> {
  const record = Buffer.alloc(bytes)
  return recordProblem(record.subarray(0, await readFully(fd, record, at)))
}

/** By the place of the record. The order matters: what the sweeper forgets in the database it has noted beside the segment before. */
async function fatesOf(
  options: CheckOptions, drive: CheckedDrive, path: string, stretches: readonly Stretch[], young: boolean,
): Promise<Map<number, { fate: Fate; live: boolean; shared: boolean }>> {
  const records = stretches.flatMap(({ at, record }) => (record === null ? [] : [{ at, ...record }]))
  const rows = await fatesAt(options.store, drive, basename(path), records)
  const notes = await readNotes({ path })
  const result = new Map<number, { fate: Fate; live: boolean; shared: boolean }>()
  for (const { at, blob } of records) {
    const row = rows.get(at)
    if (row === undefined) continue
    const isTarget = row.moved !== null && isAt(row.moved, basename(path), at)
    result.set(at, { fate: fateOf(row, isTarget, blob in notes.dead || at in notes.copies, notes.movedAt !== null, young), live: row.live, shared: row.shared })
  }
  return result
}

function fateOf(row: BlobFate, isTarget: boolean, noted: boolean, moved: boolean, young: boolean): Fate {
  if (row.moved !== null && !isTarget) return 'superseded'
  if (row.live) return row.moved !== null || row.here || row.shared ? 'live' : 'superseded'
  if (noted) return 'dead'
  if (row.released) return 'released'
  // What was moved and then deleted left its old record behind, which goes with the segment.
  if (moved) return 'superseded'
  return young ? 'young' : 'orphan'
}

const readBytes = 1024 ** 2
const emptyTail = 'nothing was written here yet'

/**
 * All of a segment behind its header, in order and without a hole. Where a record is expected, a damaged one is told by its header. Of one
 * in use, what follows is nothing from where nothing is written yet: it may be written while this looks.
 */
async function* stretchesOf(options: CheckOptions, fd: number, { size, inUse }: { readonly size: number; readonly inUse: boolean }): AsyncGenerator<Stretch> {
  let window: { at: number; bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) }
  async function bytesAt(at: number, count: number): Promise<Buffer> {
    const wanted = Math.min(count, size - at)
    if (at < window.at || at + wanted > window.at + window.bytes.length) {
      const bytes = Buffer.allocUnsafe(Math.min(size - at, Math.max(wanted, readBytes)))
      await options.pace?.(bytes.length)
      window = { at, bytes: bytes.subarray(0, await readFully(fd, bytes, at)) }
    }
    return window.bytes.subarray(at - window.at, at - window.at + wanted)
  }
  async function recordAt(at: number): Promise<{ header: RecordHeader; bytes: number; key: string; problem: string | null } | null> {
    const header = decodeRecordHeader(await bytesAt(at, recordHeaderBytes))
    if (header === null) return null
    const bytes = recordBytes(header.length, header.keyBytes)
    if (at + bytes > size) return null
    const all = await bytesAt(at, bytes)
    const keyAt = recordHeaderBytes + header.length
    return { header, bytes, key: keyText(header, all.subarray(keyAt, keyAt + header.keyBytes)), problem: recordProblem(all) }
  }
  async function isEmpty(from: number): Promise<boolean> {
    let at = from
    while (at < size && (await bytesAt(at, readBytes)).every((byte) => byte === 0)) at += readBytes
    return at >= size
  }
  let gap = -1
  for (let at = Math.min(size, segmentHeaderBytes); at < size;) {
    const found = await recordAt(at)
    // Inside a damaged stretch lie bytes of clients, which may look like a header.
    if (found === null || (gap >= 0 && found.problem !== null)) {
      if (gap < 0) gap = at
      const head = await bytesAt(at, recordHeaderBytes)
      if (inUse && emptyBytes(head) === head.length) return yield { at: gap, bytes: size - gap, record: null, problem: emptyTail }
      at = Math.min(size, at + (emptyBytes(head) === recordHeaderBytes ? emptyBytes(await bytesAt(at, readBytes)) : 8))
      continue
    }
    if (gap >= 0) yield { at: gap, bytes: at - gap, record: null, problem: 'these bytes are no record' }
    gap = -1
    yield { at, bytes: found.bytes, record: { ...found.header, key: found.key }, problem: found.problem }
    at += found.bytes
  }
  if (gap >= 0) yield { at: gap, bytes: size - gap, record: null, problem: await isEmpty(gap) ? emptyTail : 'these bytes are no record' }
}
