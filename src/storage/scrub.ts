import type { CheckedRow, CheckPosition, CheckStore, SweepStore } from '../metadata/store.ts'
import type { Drive } from './backend.ts'
import { walkDrive } from './scrub-disk.ts'
import type { SeenBlob } from './scrub-disk.ts'
import { checkRow, isInShare } from './scrub-rows.ts'

/**
 * Self-check: rows to bytes and bytes to rows. It promises:
 * - It changes nothing, and is safe beside a running server: whatever looks wrong is looked up again, row and place, before it is
 *   called a difference. Versions that are written while it runs are left to the next run.
 * - Its memory does not grow with the number of objects.
 */
export interface CheckOptions {
  readonly store: CheckStore & Pick<SweepStore, 'relocations'>
  readonly drives: readonly CheckedDrive[]
  /** Called for each difference. */
  readonly found: (finding: Finding) => void
  readonly progress?: (progress: Progress) => void
  /** Waits until so many bytes may be read. */
  readonly pace?: (bytes: number) => Promise<void>
  readonly stopping?: () => boolean
  /** Bytes that no row names are litter only after this age. */
  readonly orphanAgeMs?: number
}

export interface ScrubOptions extends CheckOptions {
  /** Only the bytes of this share of the keys are read; of the others it is seen that they are there. Null: all. */
  readonly share: Share | null
  /** Whether MD5 and checksums of whole objects are computed again. */
  readonly digests: boolean
}

/** The `n`th of `of` equal shares, from 1. */
export interface Share {
  readonly n: number
  readonly of: number
}

export type CheckedDrive = Pick<Drive, 'id' | 'uuid' | 'createdAt' | 'root'>

export interface Progress {
  readonly phase: 'rows' | 'drives'
  readonly blobs: number
  readonly bytes: number
}

export interface Finding {
  readonly kind:
    /** The bytes are not where the row says, nor anywhere that the database knows of. */
    | 'missing'
    /** They are there, but not as they were written. */
    | 'damaged'
    /** They are as they were written, but not what the row says: size, ETag or checksum. */
    | 'mismatch'
    /** The row cannot be used. */
    | 'row'
    /** Bytes that no row names and that are too old to be on their way. */
    | 'orphan'
    /** Bytes of a drive do not add up. */
    | 'sum'
  readonly object: FoundObject | null
  readonly blob: string | null
  /** `drive 1: segments/... at 128`; null when there is none. */
  readonly place: string | null
  readonly detail: string
}

export interface FoundObject {
  readonly bucket: string
  readonly key: string
  readonly versionId: string | null
  /** Of a part of an open upload. */
  readonly uploadId: string | null
  readonly partNumber: number | null
  readonly isLatest: boolean
}

export interface ScrubCounts {
  rows: { checked: number; extents: number; bytesRead: number; digestsCompared: number; changedMeanwhile: number }
  drives: { blobs: number; bytes: number; live: number; released: number; dead: number; young: number; orphans: number }
}

export function objectOf(row: CheckedRow): FoundObject {
  const { bucket, key, versionId, upload, isLatest } = row
  return { bucket, key, versionId, uploadId: upload?.uploadId ?? null, partNumber: upload?.partNumber ?? null, isLatest }
}

/** Both directions, once. */
export async function scrub(options: ScrubOptions): Promise<ScrubCounts> {
  const counts: ScrubCounts = {
    rows: { checked: 0, extents: 0, bytesRead: 0, digestsCompared: 0, changedMeanwhile: 0 },
    drives: { blobs: 0, bytes: 0, live: 0, released: 0, dead: 0, young: 0, orphans: 0 },
  }
  for (let after: CheckPosition | null = null; ;) {
    const { rows, next }: Awaited<ReturnType<CheckStore['checkedRows']>> = await options.store.checkedRows(after)
    await atOnce(rows, rowsAtOnce, async (row) => {
      if (options.stopping?.() !== true) await scrubRow(options, row, counts.rows)
      options.progress?.({ phase: 'rows', blobs: counts.rows.checked, bytes: counts.rows.bytesRead })
    })
    if (next === null || options.stopping?.() === true) break
    after = next
  }
  for (const drive of options.drives) if (options.stopping?.() !== true) await scrubDrive(options, drive, counts.drives)
  return counts
}

/** Reads of small objects wait for the disk most of the time. */
const rowsAtOnce = 8

export async function atOnce<Item>(items: readonly Item[], limit: number, work: (item: Item) => Promise<void>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, async () => {
    while (next < items.length) await work(items[next++] as Item)
  }))
}

/** One row: what is wrong at two looks, with the row still there after the second. */
export async function scrubRow(options: ScrubOptions, row: CheckedRow, counts: ScrubCounts['rows']): Promise<void> {
  const read = isInShare(row, options.share)
  const look = () => checkRow(options, row, { read, digests: read && options.digests }, counts)
  counts.checked += 1
  if ((await look()).length === 0) return
  const problems = await options.store.namesStill(row) ? await look() : []
  if (problems.length === 0 || !(await options.store.namesStill(row))) {
    counts.changedMeanwhile += 1
    return
  }
  for (const problem of problems) options.found({ ...problem, object: objectOf(row) })
}

async function scrubDrive(options: ScrubOptions, drive: CheckedDrive, counts: ScrubCounts['drives']): Promise<void> {
  await walkDrive(options, drive, {
    blob(seen) {
      counts.blobs += 1
      counts.bytes += seen.length
      count(counts, seen)
      options.progress?.({ phase: 'drives', blobs: counts.blobs, bytes: counts.bytes })
      if (seen.fate === 'orphan') options.found(orphanFinding(seen))
    },
    damage: ({ place, blob, detail }) => options.found({ kind: 'damaged', object: null, blob, place, detail }),
  })
}

function count(counts: ScrubCounts['drives'], { fate }: SeenBlob): void {
  if (fate === 'orphan') counts.orphans += 1
  else if (fate === 'dead' || fate === 'superseded') counts.dead += 1
  else counts[fate] += 1
}

export function orphanFinding({ blob, key, bucketId, placeText }: SeenBlob): Finding {
  return { kind: 'orphan', object: null, blob, place: placeText, detail: `no row names these bytes; they were written for key ${JSON.stringify(key)} of bucket number ${bucketId}` }
}
