import { writeFileSync } from 'node:fs'
import { open, readFile, readdir, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { failpoint } from '../../domain/failpoint.ts'
import { codeOf, durably, isDeadProcess, processToken, syncFolder } from './drive.ts'
import type { Drive } from './drive.ts'
import { blobPath, bodyLength, decodeFooter, tailBytes } from './file.ts'
import type { BlobOwner } from './file.ts'
import { decodeSegmentHeader, isNewerSegment, segmentHeaderBytes } from './segment.ts'

/** What the sweeper knows of the files of a drive. */
export interface SegmentFile {
  readonly name: string
  readonly path: string
  readonly bytes: number
  /** Epoch ms of the last append. */
  readonly changedAt: number
  /** Null for a file that died before its first group, and for one of a newer program. */
  readonly writer: string | null
  /** Written by a newer program: what is in it, and whose, cannot be told. */
  readonly newer: boolean
}

/** Notes beside a segment. They only save work: what is live is always asked of the database again. */
export interface SegmentNotes {
  /** Whether its records were once compared with the database, and nothing was left in doubt. */
  readonly checked: boolean
  /** Whether they were compared at all. */
  readonly looked: boolean
  /** When its live records were moved elsewhere (epoch ms), null while it is in use. */
  readonly movedAt: number | null
  /** Lengths of dead records by blob. */
  readonly dead: Readonly<Record<string, number>>
  /** Lengths, by offset, of records that are only copies: the database has their blobs elsewhere, or another one here is counted as dead. */
  readonly copies: Readonly<Record<string, number>>
  /** Length of its records' keys in the mean; null while nobody had to know. */
  readonly keyBytes: number | null
}

export const notesSuffix = '.notes'

export async function listSegments(drive: Pick<Drive, 'root'>): Promise<SegmentFile[]> {
  const folder = join(drive.root, 'segments')
  const segments: SegmentFile[] = []
  for (const name of (await readdir(folder)).sort()) {
    if (name.endsWith(notesSuffix)) continue
    const path = join(folder, name)
    const handle = await open(path, 'r')
    try {
      const { size, mtimeMs } = await handle.stat()
      const head = Buffer.alloc(segmentHeaderBytes)
      const { bytesRead } = await handle.read(head, 0, segmentHeaderBytes, 0)
      const header = head.subarray(0, bytesRead)
      segments.push({ name, path, bytes: size, changedAt: mtimeMs, writer: decodeSegmentHeader(header)?.writer ?? null, newer: isNewerSegment(header) })
    } finally {
      await handle.close()
    }
  }
  return segments
}

/** What processes hold of the drives at the moment of asking. */
export interface Holdings {
  /** Tokens of the processes that answered. */
  readonly writers: ReadonlySet<string>
  /** Names of the segments that they append to. */
  readonly segments: ReadonlySet<string>
  /** Blobs that their open readers have yet to open. */
  readonly pinned: ReadonlySet<string>
  /** There are processes on other machines, or in other containers of this one: who cannot be asked counts as alive, however it looks from here. */
  readonly elsewhere?: boolean
}

/**
 * Whether nobody appends to the segment any more. `held` was asked after the segment was seen: a process that does not append to a
 * segment of its own then never will again. A segment of a process that cannot be asked counts as in use until it is full.
 */
export function isSealed(segment: SegmentFile, held: Holdings, segmentBytes: number): boolean {
  if (segment.writer === null || held.segments.has(segment.name)) return false
  return held.writers.has(segment.writer) || (held.elsewhere !== true && isDeadProcess(segment.writer)) || segment.bytes >= segmentBytes
}

export async function readNotes(segment: Pick<SegmentFile, 'path'>): Promise<SegmentNotes> {
  const empty: SegmentNotes = { checked: false, looked: false, movedAt: null, dead: {}, copies: {}, keyBytes: null }
  try {
    return { ...empty, ...(JSON.parse(await readFile(segment.path + notesSuffix, 'utf8')) as Partial<SegmentNotes>) }
  } catch (error) {
    if (error instanceof SyntaxError || codeOf(error) === 'ENOENT') return empty
    throw error
  }
}

export async function writeNotes(drive: Drive, segment: SegmentFile, notes: SegmentNotes): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(notes))
  await durably({ root: drive.root, tmp: drive.tmp, path: `segments/${segment.name}${notesSuffix}` }, async (fd) => {
    writeFileSync(fd, bytes)
    return true
  })
}

export async function removeSegment(segment: SegmentFile): Promise<void> {
  await removeFile(segment.path)
  failpoint?.('segment removed')
  await removeFile(segment.path + notesSuffix)
  syncFolder(dirname(segment.path))
}

/** Notes whose segment is gone: the process died, or the power went, between the two removals. */
export async function removeStrayNotes(drive: Drive): Promise<void> {
  const folder = join(drive.root, 'segments')
  // Notes are written only beside a segment that is there, so that the names of one look tell.
  const names = new Set(await readdir(folder))
  for (const name of names) {
    if (name.endsWith(notesSuffix) && !names.has(name.slice(0, -notesSuffix.length))) await removeFile(join(folder, name))
  }
}

/** Null where something is gone already. */
function orGone(error: unknown): null {
  if (codeOf(error) !== 'ENOENT') throw error
  return null
}

/** Removes a file; one that is gone already is as good. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch(orGone)
}

export async function removeBlobFile(drive: Drive, blob: string): Promise<void> {
  await removeFile(join(drive.root, blobPath(blob)))
}

export interface StoredFile {
  readonly path: string
  readonly bytes: number
  readonly changedAt: number
  /** Null when the footer is damaged or another blob's: nobody can say whose it is, so it is kept. */
  readonly owner: BlobOwner | null
  /** Bytes of the blob itself; 0 without an owner. */
  readonly length: number
}

/** Every blob file of a drive; owners are read only of files that did not change since `olderThan`. */
export async function* walkFiles(drive: Pick<Drive, 'root'>, olderThan: number): AsyncGenerator<StoredFile> {
  for (const first of await readdir(join(drive.root, 'blobs'))) {
    for (const second of await readdir(join(drive.root, 'blobs', first))) {
      const folder = join(drive.root, 'blobs', first, second)
      for (const name of await readdir(folder)) {
        const file = await describeFile(join(folder, name), olderThan)
        if (file !== null) yield file
      }
    }
  }
}

/** Null when the file is gone: deletions go on under a walk. */
async function describeFile(path: string, olderThan: number): Promise<StoredFile | null> {
  const handle = await open(path, 'r').catch(orGone)
  if (handle === null) return null
  try {
    const { size, mtimeMs } = await handle.stat()
    const file = { path, bytes: size, changedAt: mtimeMs }
    if (mtimeMs > olderThan) return { ...file, owner: null, length: 0 }
    const tail = Buffer.alloc(tailBytes)
    await handle.read(tail, 0, tailBytes, Math.max(0, size - tailBytes))
    const length = bodyLength(tail, size)
    if (length === null) return { ...file, owner: null, length: 0 }
    // The whole footer: one rotten bit of the owner's key would make a live blob look like nobody's.
    const bytes = Buffer.alloc(size - length)
    await handle.read(bytes, 0, bytes.length, length)
    const footer = decodeFooter(bytes, basename(path), length)
    return { ...file, owner: footer, length: footer === null ? 0 : length }
  } finally {
    await handle.close()
  }
}

/** Temporary files that no living process can still want. Of one that is just ending they go under the walk. */
export async function removeOldTemporaries(drive: Drive, olderThan: number): Promise<number> {
  let removed = 0
  const folder = join(drive.root, 'tmp')
  for (const token of await readdir(folder)) {
    if (token === processToken) continue
    for (const name of await readdir(join(folder, token)).catch(orGone) ?? []) {
      const path = join(folder, token, name)
      const found = await stat(path).catch(orGone)
      if (found === null || found.mtimeMs > olderThan) continue
      await removeFile(path)
      removed += 1
    }
  }
  return removed
}
