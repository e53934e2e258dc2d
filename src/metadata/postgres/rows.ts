import { decodeManifest, encodeManifest } from '../../domain/manifest.ts'
import type {
  AnyVersion, Checksum, ChecksumAlgorithm, ChecksumType, Extent, ListedVersion, ObjectMetadata, PartSummary, Tag, VersionContent,
} from '../../domain/model.ts'
import { chainHash } from '../../versioning/chain.ts'
import { versionIdOf } from '../../versioning/versions.ts'

/** A row as it comes off the wire: every value as PostgreSQL's text. */
export type WireRow = readonly (string | null)[]

/** Columns of both tables of versions, in the order of `VersionRow`. */
export const versionColumns = [
  'bucket_id', 'key', 'seq', 'nonce', 'is_null', 'delete_marker', 'size', 'etag', 'last_modified', 'owner_account_id', 'metadata',
  'tags', 'checksum_algorithm', 'checksum_type', 'checksum_value', 'parts', 'manifest', 'chain',
] as const

/**
 * A row of `objects` or `noncurrent_versions`. JSON and bytes stay the text that PostgreSQL sent, so that a row can move from
 * one table to the other without being taken apart.
 */
export interface VersionRow {
  readonly bucketId: number
  readonly key: string
  readonly seq: number
  readonly nonce: string
  readonly isNull: boolean
  readonly deleteMarker: boolean
  readonly size: number
  readonly etag: string
  readonly lastModified: number
  readonly owner: string
  readonly metadata: string | null
  readonly tags: string | null
  readonly checksumAlgorithm: string | null
  readonly checksumType: string | null
  readonly checksumValue: string | null
  readonly parts: string | null
  /** `\x...`, null for a delete marker. */
  readonly manifest: string | null
  /** `\x...`: 32 bytes of hash, then the hash of the version before when there was one. */
  readonly chain: string | null
}

/** Reads the columns of `versionColumns`, which begin at index `at`. */
export function versionRow(row: WireRow, at = 0): VersionRow {
  return {
    bucketId: Number(row[at]),
    key: row[at + 1] as string,
    seq: Number(row[at + 2]),
    nonce: row[at + 3] as string,
    isNull: row[at + 4] === 't',
    deleteMarker: row[at + 5] === 't',
    size: Number(row[at + 6]),
    etag: row[at + 7] as string,
    lastModified: Number(row[at + 8]),
    owner: row[at + 9] as string,
    metadata: row[at + 10] as string | null,
    tags: row[at + 11] as string | null,
    checksumAlgorithm: row[at + 12] as string | null,
    checksumType: row[at + 13] as string | null,
    checksumValue: row[at + 14] as string | null,
    parts: row[at + 15] as string | null,
    manifest: row[at + 16] as string | null,
    chain: row[at + 17] as string | null,
  }
}

/** What a client sees as the version's id. */
export const versionIdOfRow = (row: Pick<VersionRow, 'isNull' | 'seq' | 'nonce'>): string =>
  row.isNull ? 'null' : versionIdOf(row.seq, BigInt(row.nonce) & 0xffffffffffffffffn)

export function versionOfRow(row: VersionRow, isLatest: boolean): AnyVersion {
  const identity = {
    bucketId: row.bucketId,
    key: row.key,
    seq: row.seq,
    versionId: versionIdOfRow(row),
    isLatest,
    lastModified: row.lastModified,
    ownerAccountId: row.owner,
  }
  if (row.deleteMarker) return { ...identity, isDeleteMarker: true }
  return {
    ...identity,
    isDeleteMarker: false,
    size: row.size,
    etag: row.etag,
    metadata: metadataOf(row.metadata),
    tags: tagsOf(row.tags),
    checksum: checksumOf(row.checksumAlgorithm, row.checksumType, row.checksumValue),
    parts: row.parts === null ? null : JSON.parse(row.parts) as PartSummary[],
    manifest: extentsOf(row.manifest),
    storageClass: 'STANDARD',
  }
}

export interface NewVersion {
  readonly bucketId: number
  readonly key: string
  readonly seq: number
  readonly nonce: bigint
  readonly isNull: boolean
  readonly lastModified: number
  readonly owner: string
  /** Null makes a delete marker. */
  readonly content: VersionContent | null
  /** Row that was current before; null starts a chain. Undefined: the bucket keeps no versions, so there is nothing to chain. */
  readonly before: VersionRow | null | undefined
}

export function newVersionRow(version: NewVersion): VersionRow {
  const { content } = version
  const row: VersionRow = {
    bucketId: version.bucketId,
    key: version.key,
    seq: version.seq,
    nonce: BigInt.asIntN(64, version.nonce).toString(),
    isNull: version.isNull,
    deleteMarker: content === null,
    size: content?.size ?? 0,
    etag: content?.etag ?? '',
    lastModified: version.lastModified,
    owner: version.owner,
    metadata: content === null ? null : metadataText(content.metadata),
    tags: content === null ? null : tagsText(content.tags),
    checksumAlgorithm: content?.checksum?.algorithm ?? null,
    checksumType: content?.checksum?.type ?? null,
    checksumValue: content?.checksum?.value ?? null,
    parts: content?.parts ? JSON.stringify(content.parts) : null,
    manifest: content === null ? null : manifestText(content.manifest),
    chain: null,
  }
  return version.before === undefined ? row : { ...row, chain: chainText(row, version.before) }
}

function chainText(row: VersionRow, before: VersionRow | null): string {
  const previous = before?.chain ? Buffer.from(before.chain.slice(2), 'hex').subarray(0, 32) : null
  const hash = chainHash(previous, {
    bucketId: row.bucketId, key: row.key, seq: row.seq, versionId: versionIdOfRow(row), isDeleteMarker: row.deleteMarker,
    etag: row.etag, size: row.size, lastModified: row.lastModified,
  })
  return `\\x${Buffer.from(hash).toString('hex')}${previous?.toString('hex') ?? ''}`
}

/** Columns of a listing, in the order that `listedVersion` reads; manifests and metadata stay where they are. */
export const listedColumns = [
  'key', 'seq', 'nonce', 'is_null', 'delete_marker', 'size', 'etag', 'last_modified', 'owner_account_id', 'checksum_algorithm', 'checksum_type',
] as const

export function listedVersion(row: WireRow, at: number, isLatest: boolean): ListedVersion {
  const seq = Number(row[at + 1])
  return {
    key: row[at] as string,
    seq,
    versionId: versionIdOfRow({ seq, nonce: row[at + 2] as string, isNull: row[at + 3] === 't' }),
    isLatest,
    isDeleteMarker: row[at + 4] === 't',
    size: Number(row[at + 5]),
    etag: row[at + 6] as string,
    lastModified: Number(row[at + 7]),
    ownerAccountId: row[at + 8] as string,
    checksumAlgorithm: row[at + 9] as ChecksumAlgorithm | null,
    checksumType: row[at + 10] as ChecksumType | null,
    storageClass: 'STANDARD',
  }
}

/** Null for metadata that is not there: most objects have only a content type or nothing. */
export function metadataText(metadata: ObjectMetadata): string | null {
  const { system, user } = metadata
  return Object.keys(system).length === 0 && Object.keys(user).length === 0 ? null : JSON.stringify({ system, user })
}

export const metadataOf = (text: string | null): ObjectMetadata => text === null ? { system: {}, user: {} } : JSON.parse(text) as ObjectMetadata
export const tagsText = (tags: readonly Tag[]): string | null => tags.length === 0 ? null : JSON.stringify(tags)
export const tagsOf = (text: string | null): readonly Tag[] => text === null ? [] : JSON.parse(text) as Tag[]

export function checksumOf(algorithm: string | null, type: string | null, value: string | null): Checksum | null {
  return algorithm === null ? null : { algorithm: algorithm as ChecksumAlgorithm, type: type as ChecksumType, value: value as string }
}

export const manifestText = (extents: readonly Extent[]): string => `\\x${Buffer.from(encodeManifest(extents)).toString('hex')}`
export const extentsOf = (text: string | null): Extent[] => text === null ? [] : decodeManifest(Buffer.from(text.slice(2), 'hex'))
