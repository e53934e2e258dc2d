import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Placement } from '../domain/model.ts'
import type { CheckedRow, CheckPosition, CheckStore } from '../metadata/store.ts'
import { codeOf, markerName } from './local/drive.ts'
import { notesSuffix } from './local/inventory.ts'
import { recordHeaderBytes, segmentHeaderBytes } from './local/segment.ts'
import { allowanceName } from './sweep-allowance.ts'
import { positionName } from './scrub-background.ts'
import { walkDrive } from './scrub-disk.ts'
import type { Fate, SeenBlob, SeenSegment } from './scrub-disk.ts'
import { checkRow, placeText } from './scrub-rows.ts'
import { atOnce, objectOf, orphanFinding } from './scrub.ts'
import type { CheckedDrive, CheckOptions, Finding } from './scrub.ts'

/** Name of the folder on a drive to which a repair moves what no row names. */
export const trashName = 'trash'

/** Bytes of one drive, each of them in exactly one place. */
export interface DriveSum {
  readonly drive: number
  readonly root: string
  /** Sizes of all files below the drive's root. */
  total: number
  /** Bytes of blobs by what becomes of them. */
  readonly blobs: Record<Fate, { count: number; bytes: number }>
  /** What belongs to them and to nothing. */
  readonly overhead: Record<'segmentHeaders' | 'recordHeaders' | 'keys' | 'padding' | 'footers' | 'notes' | 'cutOff' | 'damaged' | 'temporary' | 'trash' | 'own' | 'foreign', number>
  /** `total` less everything above. */
  unexplained: number
  /** Whether files came or went under the walk. */
  changed: boolean
}

export interface FsckReport {
  readonly drives: DriveSum[]
  /** What the rows say that there must be, each shared blob once. Null: too many are shared to be told apart in memory. */
  rows: { blobs: number; bytes: number; missing: number; missingBytes: number; changedMeanwhile: number }
  /** Live bytes on the drives less those of the rows, plus what is missing: nothing, when nobody writes. Null: not comparable. */
  difference: number | null
  /** Whether clients wrote meanwhile: then sums of rows and bytes that were not taken at the same moment may differ. */
  busy: boolean
}

/** What a repair may do something about. */
export interface Repairable {
  readonly orphanFiles: { drive: CheckedDrive; path: string; bytes: number }[]
  readonly segments: { drive: CheckedDrive; segment: SeenSegment }[]
  readonly temporaries: { drive: CheckedDrive; path: string; bytes: number }[]
  readonly lost: { blob: string; place: Placement; row: CheckedRow }[]
  /** As the sweeper counts them, by drive. */
  readonly orphans: Map<number, { blobs: number; bytes: number }>
}

/** Ids kept in memory at most: of missing blobs, and of shared ones. */
const rememberedMax = 1_000_000

export interface FsckOptions extends CheckOptions {
  /** Gets what a repair could do something about. */
  readonly repairable: Repairable
}

export const nothingRepairable = (): Repairable => ({ orphanFiles: [], segments: [], temporaries: [], lost: [], orphans: new Map() })

/** Accounts for every byte of the drives, and for every blob that a row names. Changes nothing. */
export async function fsck(options: FsckOptions): Promise<FsckReport> {
  const { store, drives } = options
  const before = await store.changeMark()
  const { rows, missing, comparable } = await sumRows(options)
  const sums: DriveSum[] = []
  let liveBytes = 0
  for (const drive of drives) {
    const sum = await sumDrive(options, drive, missing)
    sums.push(sum)
    liveBytes += sum.blobs.live.bytes
  }
  const busy = before !== await store.changeMark()
  for (const { wrong, foundAt } of missing.values()) {
    for (const { row, finding } of wrong) {
      if (!(await store.namesStill(row))) rows.changedMeanwhile += 1
      else options.found(foundAt === null ? finding : { ...finding, detail: `${finding.detail}; its bytes are at ${foundAt}, but the database does not know: fsck --repair tells it` })
    }
  }
  const difference = comparable ? liveBytes - rows.bytes + rows.missingBytes : null
  if (!busy) {
    if (difference !== null && difference !== 0) {
      options.found({ kind: 'sum', object: null, blob: null, place: null, detail: `the drives hold ${liveBytes} live bytes; the rows name ${rows.bytes}, of which ${rows.missingBytes} are missing` })
    }
    for (const sum of sums) {
      if (sum.unexplained !== 0 && !sum.changed) options.found({ kind: 'sum', object: null, blob: null, place: sum.root, detail: `${sum.unexplained} of ${sum.total} bytes belong to nothing that is known` })
    }
  }
  return { drives: sums, rows, difference, busy }
}

interface Missing {
  readonly length: number
  readonly wrong: { readonly row: CheckedRow; readonly finding: Finding }[]
  /** Where the walk over the drives found it after all. */
  foundAt: string | null
}

async function sumRows(options: FsckOptions): Promise<{ rows: FsckReport['rows']; missing: Map<string, Missing>; comparable: boolean }> {
  const { store } = options
  const rows = { blobs: 0, bytes: 0, missing: 0, missingBytes: 0, changedMeanwhile: 0 }
  const missing = new Map<string, Missing>()
  const seen = new Set<string>()
  for (let after: CheckPosition | null = null; ;) {
    const page: Awaited<ReturnType<CheckStore['checkedRows']>> = await store.checkedRows(after)
    const shared = await sharedBlobs(store, page.rows)
    await atOnce(page.rows, 8, async (row) => {
      if (options.stopping?.() === true) return
      const wrong = await wrongAtTwoLooks(options, row)
      if (wrong === 'changed') return void (rows.changedMeanwhile += 1)
      for (const problem of wrong) {
        const finding: Finding = { ...problem, object: objectOf(row) }
        const extent = row.manifest.find(({ blob }) => blob === problem.blob)
        if (extent === undefined || !isGone(problem)) options.found(finding)
        else {
          const known = missing.get(extent.blob) ?? { length: extent.blobLength, wrong: [], foundAt: null }
          if (missing.size < rememberedMax) missing.set(extent.blob, { ...known, wrong: [...known.wrong, { row, finding }] })
          else options.found(finding)
        }
      }
      for (const { blob, blobLength } of row.manifest) {
        if (shared.has(blob)) {
          const id = shortId(blob)
          if (seen.has(id)) continue
          if (seen.size < rememberedMax) seen.add(id)
        }
        rows.blobs += 1
        rows.bytes += blobLength
        if (!wrong.some((problem) => problem.blob === blob && isGone(problem))) continue
        rows.missing += 1
        rows.missingBytes += blobLength
      }
      options.progress?.({ phase: 'rows', blobs: rows.blobs, bytes: rows.bytes })
    })
    if (page.next === null || options.stopping?.() === true) break
    after = page.next
  }
  return { rows, missing, comparable: seen.size < rememberedMax }
}

/** 16 characters of one byte each: half the memory of the digits. */
const shortId = (blob: string): string => Buffer.from(blob, 'hex').toString('latin1')

/** No file, or no record of this blob at its place: the walk over the drives does not count it as live. */
const isGone = ({ kind, place }: Omit<Finding, 'object'>): boolean => kind === 'missing' || (kind === 'damaged' && place !== null)

async function sharedBlobs(store: CheckStore, rows: readonly CheckedRow[]): Promise<Set<string>> {
  const blobs = [...new Set(rows.flatMap((row) => row.manifest.map(({ blob }) => blob)))]
  const shared = new Set<string>()
  for (let from = 0; from < blobs.length; from += 5000) for (const blob of await store.shared(blobs.slice(from, from + 5000))) shared.add(blob)
  return shared
}

async function wrongAtTwoLooks(options: CheckOptions, row: CheckedRow): Promise<Omit<Finding, 'object'>[] | 'changed'> {
  const look = () => checkRow(options, row, { read: false, digests: false }, { extents: 0, bytesRead: 0, digestsCompared: 0 })
  if ((await look()).length === 0) return []
  if (!(await options.store.namesStill(row))) return 'changed'
  const problems = await look()
  return problems.length === 0 || await options.store.namesStill(row) ? problems : 'changed'
}

async function sumDrive(options: FsckOptions, drive: CheckedDrive, missing: Map<string, Missing>): Promise<DriveSum> {
  const zero = () => ({ count: 0, bytes: 0 })
  const sum: DriveSum = {
    drive: drive.id, root: drive.root, total: 0,
    blobs: { live: zero(), released: zero(), dead: zero(), superseded: zero(), young: zero(), orphan: zero() },
    overhead: { segmentHeaders: 0, recordHeaders: 0, keys: 0, padding: 0, footers: 0, notes: 0, cutOff: 0, damaged: 0, temporary: 0, trash: 0, own: 0, foreign: 0 },
    unexplained: 0, changed: false,
  }
  const { overhead } = sum
  const orphans = { blobs: 0, bytes: 0 }
  options.repairable.orphans.set(drive.id, orphans)
  const sharedSeen = new Set<string>()
  let explained = 0
  let seenBlobs = 0
  const filesBefore = await blobFileBytes(drive.root)
  await walkDrive(options, drive, {
    blob(seen) {
      // Which of two records of a shared blob the rows mean cannot be told while a move of it is broken off: one of them is the blob, the other a copy.
      const fate = seen.fate === 'live' && seen.shared && sharedSeen.has(shortId(seen.blob)) ? 'superseded' : seen.fate
      if (fate === 'live' && seen.shared && sharedSeen.size < rememberedMax) sharedSeen.add(shortId(seen.blob))
      sum.blobs[fate].count += 1
      sum.blobs[fate].bytes += seen.length
      explained += seen.bytes
      addOverhead(overhead, seen)
      options.progress?.({ phase: 'drives', blobs: seenBlobs += 1, bytes: explained })
      if (seen.fate === 'orphan') {
        orphans.blobs += 1
        orphans.bytes += seen.path === null ? seen.length : seen.bytes
        options.found(orphanFinding(seen))
        if (seen.path !== null && options.repairable.orphanFiles.length < rememberedMax) options.repairable.orphanFiles.push({ drive, path: seen.path, bytes: seen.bytes })
      }
      if (seen.path === null) foundAgain(options, missing.get(seen.blob), seen)
    },
    damage({ place, blob, bytes, detail }) {
      overhead.damaged += bytes
      explained += bytes
      options.found({ kind: 'damaged', object: null, blob, place, detail })
    },
    tail(bytes) {
      overhead.cutOff += bytes
      explained += bytes
    },
    segment(segment) {
      overhead.segmentHeaders += Math.min(segment.bytes, segmentHeaderBytes)
      explained += Math.min(segment.bytes, segmentHeaderBytes)
      if (segment.disposable) options.repairable.segments.push({ drive, segment })
    },
  })
  const others = await sumOthers(options, drive, sum)
  sum.unexplained = sum.total - explained - others
  sum.changed = filesBefore !== sum.total - others
  return sum
}

function addOverhead(overhead: DriveSum['overhead'], { path, bytes, length, keyBytes }: SeenBlob): void {
  overhead.keys += keyBytes
  if (path !== null) {
    overhead.footers += bytes - length - keyBytes
    return
  }
  overhead.recordHeaders += recordHeaderBytes
  overhead.padding += bytes - length - keyBytes - recordHeaderBytes
}

/** A record whose way from its row is lost, as after the restore of a database from before a compaction. */
function foundAgain({ repairable }: FsckOptions, lost: Missing | undefined, { blob, length, place }: SeenBlob): void {
  const [first] = lost?.wrong ?? []
  if (lost === undefined || first === undefined || lost.length !== length || lost.foundAt !== null) return
  lost.foundAt = placeText(place, blob)
  repairable.lost.push({ blob, place, row: first.row })
}

/** All files of a drive that hold no blobs; also adds up the sizes of all. */
async function sumOthers({ repairable }: FsckOptions, drive: CheckedDrive, sum: DriveSum): Promise<number> {
  const { overhead } = sum
  let others = 0
  const dayAgo = Date.now() - 86_400_000
  for await (const { path, bytes, changedAt } of filesBelow(drive.root, '')) {
    sum.total += bytes
    const [first = '', ...rest] = path.split('/')
    if (holdsBlobs(path)) continue
    others += bytes
    if (first === 'segments' && rest.length === 1) overhead.notes += bytes
    else if (first === 'tmp') {
      overhead.temporary += bytes
      if (changedAt < dayAgo) repairable.temporaries.push({ drive, path: join(drive.root, path), bytes })
    } else if (first === trashName) overhead.trash += bytes
    else if ([markerName, positionName, allowanceName].includes(path)) overhead.own += bytes
    else overhead.foreign += bytes
  }
  return others
}

const holdsBlobs = (path: string): boolean => /^(?:segments\/[^/]+|blobs\/[^/]+\/[^/]+\/[^/]+)$/.test(path) && !path.endsWith(notesSuffix)

async function blobFileBytes(root: string): Promise<number> {
  let total = 0
  for await (const { path, bytes } of filesBelow(root, '')) if (holdsBlobs(path)) total += bytes
  return total
}

async function* filesBelow(root: string, folder: string): AsyncGenerator<{ path: string; bytes: number; changedAt: number }> {
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (entry.isDirectory()) {
      yield* filesBelow(root, path)
      continue
    }
    const found = await lstat(join(root, path)).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return null
      throw error
    })
    if (found !== null) yield { path, bytes: found.size, changedAt: found.mtimeMs }
  }
}
