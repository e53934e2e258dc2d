import type { VersioningStatus } from '../domain/model.ts'

/**
 * Version ids and what PUT and DELETE mean by the bucket's versioning status. Pure.
 * Source: Amazon S3 user guide, "How S3 Versioning works" and "Adding objects to versioning-suspended buckets".
 */

export interface VersionNumber {
  /** Database sequence, below 2^53. */
  readonly seq: number
  /** 64 random bits that are stored with the version. */
  readonly nonce: bigint
}

const mixer = 0x9e3779b97f4a7c15n
const mask = 0xffffffffffffffffn
const seqLimit = 1n << 53n

/**
 * 32 hex digits: the sequence mixed with the nonce, then the nonce. A client cannot read the order or the number of writes
 * off an id by eye, and an id that was made up names no version, because its nonce must be the stored one.
 */
export function versionIdOf(seq: number, nonce: bigint): string {
  return hex64((BigInt(seq) ^ mix(nonce)) & mask) + hex64(nonce & mask)
}

/** Undefined for a text that no version can have: the operation answers 400 InvalidArgument, "Invalid version id specified". */
export function parseVersionId(text: string): VersionNumber | 'null' | undefined {
  if (text === 'null') return 'null'
  if (!/^[0-9a-f]{32}$/.test(text)) return undefined
  const nonce = BigInt(`0x${text.slice(16)}`)
  const seq = BigInt(`0x${text.slice(0, 16)}`) ^ mix(nonce)
  return seq < seqLimit ? { seq: Number(seq), nonce } : undefined
}

const mix = (nonce: bigint): bigint => ((nonce ^ (nonce >> 29n)) * mixer) & mask
const hex64 = (value: bigint): string => value.toString(16).padStart(16, '0')

/** What a plan needs to know of a version that is there. */
export interface Standing {
  readonly isNull: boolean
  readonly isDeleteMarker: boolean
}

/** What becomes of the row that is current now. */
export type CurrentFate =
  | 'none'
  /** Stays where it is. */
  | 'keep'
  /** Moves to the noncurrent versions. */
  | 'demote'
  /** Goes for good; its blobs are released. */
  | 'remove'

/** Makes the new row current. */
export interface PutPlan {
  /** The new version is the null version. */
  readonly isNull: boolean
  readonly current: CurrentFate
  /** A key has one null version at most: the one among the noncurrent ones goes for good. */
  readonly removeNoncurrentNull: boolean
}

/** `current` is the key's current row, null when there is none; `noncurrentNull`: whether a null version is among the older ones. */
export function planPut(versioning: VersioningStatus, current: Standing | null, noncurrentNull: boolean): PutPlan {
  const isNull = versioning !== 'enabled'
  return {
    isNull,
    current: !current ? 'none' : isNull && current.isNull ? 'remove' : 'demote',
    removeNoncurrentNull: isNull && noncurrentNull,
  }
}

export type DeletePlan =
  /** There is nothing to delete, and no marker is left behind. */
  | { readonly kind: 'nothing' }
  /** Without versioning: the object goes; `promote` says that an older version becomes current. */
  | { readonly kind: 'remove-current'; readonly promote: boolean }
  /** With versioning: a delete marker becomes current, by the same plan as a put. */
  | { readonly kind: 'marker'; readonly put: PutPlan }

/** DELETE without versionId. A marker is made even where no object ever was, as S3 does. */
export function planDelete(versioning: VersioningStatus, current: Standing | null, noncurrentNull: boolean): DeletePlan {
  if (versioning !== 'off') return { kind: 'marker', put: planPut(versioning, current, noncurrentNull) }
  return current ? { kind: 'remove-current', promote: false } : { kind: 'nothing' }
}

export type DeleteVersionPlan =
  /** The id names no version: DELETE answers 204 all the same. */
  | { readonly kind: 'nothing' }
  /** The named version is the current one; the newest noncurrent one, if any, becomes current. */
  | { readonly kind: 'remove-current'; readonly promote: boolean; readonly deleteMarker: boolean }
  | { readonly kind: 'remove-noncurrent'; readonly deleteMarker: boolean }

/**
 * DELETE with versionId, the same in every status. `named` is where the version was found, null when nowhere;
 * `hasNoncurrent`: whether the key has older versions.
 */
export function planDeleteVersion(
  named: { readonly where: 'current' | 'noncurrent'; readonly isDeleteMarker: boolean } | null, hasNoncurrent: boolean,
): DeleteVersionPlan {
  if (!named) return { kind: 'nothing' }
  const { isDeleteMarker: deleteMarker } = named
  return named.where === 'current' ? { kind: 'remove-current', promote: hasNoncurrent, deleteMarker } : { kind: 'remove-noncurrent', deleteMarker }
}
