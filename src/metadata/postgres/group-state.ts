import type { Extent, VersioningStatus } from '../../domain/model.ts'
import type { CarriedRow } from './carried.ts'
import type { KeyMap } from './key-map.ts'
import type { VersionRow } from './rows.ts'

/**
 * What a group of commands knows and changes, in memory. It is filled from the database under the group's locks; each
 * command's plan changes it, so that later commands on the same key see it; the difference is written at the end.
 */
export interface GroupState {
  readonly buckets: Map<number, BucketState>
  readonly keys: KeyMap<KeyState>
  readonly uploads: Map<string, UploadState>
  transactionId: string | null
  /** Fresh numbers from the version sequence, in rising order. */
  readonly sequence: number[]
  /** Extents whose reference was given up. */
  readonly released: Extent[]
  /** Of the puts that are written: what they carry. */
  readonly carried: CarriedRow[]
  /** References that were added to blobs which have an owner already. */
  readonly shared: Map<string, number>
  /** The current rows of its keys were taken away when they were read. */
  removed: boolean
  /** Epoch ms: the time of every change of this group. */
  now: number
}

export interface BucketState {
  readonly versioning: VersioningStatus
  /** Its owner. */
  readonly accountId: string
}

export interface KeyState {
  readonly bucketId: number
  readonly key: string
  current: VersionRow | null
  /**
   * Those of the noncurrent versions that a command of the group can touch, by seq: named ones, the null version, and
   * as many of the newest as may have to be promoted.
   */
  readonly noncurrent: Map<number, NoncurrentRow>
  readonly currentBefore: VersionRow | null
  readonly noncurrentBefore: ReadonlyMap<number, NoncurrentRow>
}

export interface NoncurrentRow {
  readonly row: VersionRow
  readonly noncurrentSeq: number
}

export interface UploadState {
  readonly row: UploadRow
  state: 'open' | 'completed' | 'aborted'
  /** Set by a completion in this group or before. */
  requestHash: string | null
  /** JSON text of a CompletedVersion. */
  result: string | null
  readonly stateBefore: 'open' | 'completed'
  readonly parts: Map<number, PartRow>
  readonly partsBefore: ReadonlyMap<number, PartRow>
}

export interface UploadRow {
  readonly uploadId: string
  readonly bucketId: number
  readonly key: string
  readonly initiatedAt: number
  readonly initiatorId: string
  readonly initiatorName: string
  readonly owner: string
  readonly metadata: string | null
  readonly tags: string | null
  readonly checksumAlgorithm: string | null
  readonly checksumType: string | null
}

export interface PartRow {
  readonly partNumber: number
  readonly size: number
  readonly etag: string
  readonly checksumAlgorithm: string | null
  readonly checksumType: string | null
  readonly checksumValue: string | null
  readonly lastModified: number
  readonly manifest: string
}

export function keyState(state: GroupState, bucketId: number, key: string): KeyState {
  const found = state.keys.get(bucketId, key)
  if (found === undefined) throw new Error('a key was not read with its group')
  return found
}

export function takeSequence(state: GroupState): number {
  const seq = state.sequence.shift()
  if (seq === undefined) throw new Error('the group read too few sequence numbers')
  return seq
}

/** The newest of the noncurrent versions that were read: the one that a removal of the current version promotes. */
export function newestNoncurrent(key: KeyState): NoncurrentRow | null {
  let newest: NoncurrentRow | null = null
  for (const candidate of key.noncurrent.values()) {
    if (newest === null || candidate.row.seq > newest.row.seq) newest = candidate
  }
  return newest
}

export function noncurrentNull(key: KeyState): NoncurrentRow | null {
  for (const candidate of key.noncurrent.values()) {
    if (candidate.row.isNull) return candidate
  }
  return null
}

/** Every extent counts as one reference, so that joining manifests joins their references too. */
export function addReferences(state: GroupState, extents: readonly Extent[], sharing: boolean): void {
  if (extents.length === 1 && !sharing) return
  const seen = new Set<string>()
  for (const { blob } of extents) {
    // The first extent of a fresh blob is the one reference that needs no row.
    if (sharing || seen.has(blob)) state.shared.set(blob, (state.shared.get(blob) ?? 0) + 1)
    seen.add(blob)
  }
}
