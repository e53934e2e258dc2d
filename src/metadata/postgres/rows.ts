import { decodeManifest, encodeManifest } from '../../domain/manifest.ts'
import type {
  AnyVersion, Checksum, ChecksumAlgorithm, ChecksumType, Extent, ListedVersion, ObjectMetadata, ObjectVersion, PartSummary, Tag, VersionContent, VersionIdentity,
} from '../../domain/model.ts'
import { chainHash } from '../../versioning/chain.ts'
import { versionIdOf } from '../../versioning/versions.ts'
import { checksumKind, packedChecksum, unpackedChecksum, unpackedEtag } from './packed.ts'

/** A row as it comes off the wire: every value as PostgreSQL's text. */
export type WireRow = readonly (string | null)[]

/** Columns of both tables of versions, in the order of `VersionRow`. */
export const versionColumns = [
  'seq', 'size', 'last_modified', 'nonce', 'bucket_id', 'key', 'etag', 'checksum', 'owner_account_id', 'metadata', 'tags', 'parts', 'manifest', 'chain',
] as const

/**
 * A row of `objects` or `noncurrent_versions`. JSON and bytes stay the text that PostgreSQL sent, so that a row can move from
 * one table to the other without being taken apart.
 */
export interface VersionRow {
  readonly seq: number
  readonly size: number
  readonly lastModified: number
  /** Null for the null version. */
  readonly nonce: string | null
  readonly bucketId: number
  readonly key: string
  /** As clients see it; '' for a delete marker. */
  readonly etag: string
  /** `\x...`, see `packed.ts`. */
  readonly checksum: string | null
  /** Null: the bucket's owner. */
  readonly owner: string | null
  readonly metadata: string | null
  readonly tags: string | null
  readonly parts: string | null
  /** `\x...`, null for a delete marker. */
  readonly manifest: string | null
  /** `\x...`: 32 bytes of hash, then the hash of the version before when there was one. */
  readonly chain: string | null
  readonly isNull: boolean
  readonly deleteMarker: boolean
}

/** Reads the columns of `versionColumns`, which begin at index `at`. */
export function versionRow(row: WireRow, at = 0): VersionRow {
  const nonce = row[at + 3] as string | null
  const etag = row[at + 6] as string | null
  return {
    seq: Number(row[at]),
    size: Number(row[at + 1]),
    lastModified: Number(row[at + 2]),
    nonce,
    bucketId: Number(row[at + 4]),
    key: row[at + 5] as string,
    etag: etag === null ? '' : unpackedEtag(etag, 2),
    checksum: row[at + 7] as string | null,
    owner: row[at + 8] as string | null,
    metadata: row[at + 9] as string | null,
    tags: row[at + 10] as string | null,
    parts: row[at + 11] as string | null,
    manifest: row[at + 12] as string | null,
    chain: row[at + 13] as string | null,
    isNull: nonce === null,
    deleteMarker: etag === null,
  }
}

/** What a client sees as the version's id. */
export const versionIdOfRow = ({ seq, nonce }: Pick<VersionRow, 'seq' | 'nonce'>): string =>
  nonce === null ? 'null' : versionIdOf(seq, BigInt(nonce) & 0xffffffffffffffffn)

type NamedRow = Pick<VersionRow, 'bucketId' | 'key' | 'seq' | 'nonce' | 'lastModified' | 'owner'>

const identityOfRow = (row: NamedRow, isLatest: boolean): VersionIdentity => ({
  bucketId: row.bucketId,
  key: row.key,
  seq: row.seq,
  versionId: versionIdOfRow(row),
  isLatest,
  lastModified: row.lastModified,
  ownerAccountId: row.owner,
})

export function versionOfRow(row: VersionRow, isLatest: boolean): AnyVersion {
  if (row.deleteMarker) return { ...identityOfRow(row, isLatest), isDeleteMarker: true }
  return objectOf(row, isLatest, {
    size: row.size,
    etag: row.etag,
    metadata: metadataOf(row.metadata),
    tags: tagsOf(row.tags),
    checksum: row.checksum === null ? null : unpackedChecksum(row.checksum),
    parts: row.parts === null ? null : JSON.parse(row.parts) as PartSummary[],
    manifest: extentsOf(row.manifest),
    storageClass: 'STANDARD',
  })
}

/** Field by field: what stands behind a spread in a literal is a call into V8 for each, and every request makes one of these. */
export function objectOf(row: NamedRow, isLatest: boolean, content: VersionContent): ObjectVersion {
  return {
    bucketId: row.bucketId, key: row.key, seq: row.seq, versionId: versionIdOfRow(row), isLatest, lastModified: row.lastModified, ownerAccountId: row.owner,
    isDeleteMarker: false, size: content.size, etag: content.etag, metadata: content.metadata, tags: content.tags, checksum: content.checksum,
    parts: content.parts, manifest: content.manifest, storageClass: content.storageClass,
  }
}

export interface NewVersion {
  readonly bucketId: number
  readonly key: string
  readonly seq: number
  /** Null makes a null version. */
  readonly nonce: bigint | null
  readonly lastModified: number
  readonly owner: string | null
  /** Null makes a delete marker. */
  readonly content: VersionContent | null
  /** Row that was current before; null starts a chain. Undefined: the bucket keeps no versions, so there is nothing to chain. */
  readonly before: VersionRow | null | undefined
}

export function newVersionRow(version: NewVersion): VersionRow {
  const { content, nonce } = version
  const row: VersionRow = {
    seq: version.seq,
    size: content?.size ?? 0,
    lastModified: version.lastModified,
    nonce: nonce === null ? null : BigInt.asIntN(64, nonce).toString(),
    bucketId: version.bucketId,
    key: version.key,
    etag: content?.etag ?? '',
    checksum: content?.checksum ? packedChecksum(content.checksum) : null,
    owner: version.owner,
    metadata: content === null ? null : metadataText(content.metadata),
    tags: content === null ? null : tagsText(content.tags),
    parts: content?.parts ? JSON.stringify(content.parts) : null,
    manifest: content === null ? null : manifestText(content.manifest),
    chain: null,
    isNull: nonce === null,
    deleteMarker: content === null,
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
export const listedColumns = ['key', 'seq', 'nonce', 'size', 'etag', 'last_modified', 'checksum'] as const

export function listedVersion(row: WireRow, at: number, isLatest: boolean): ListedVersion {
  const seq = Number(row[at + 1])
  const etag = row[at + 4] as string | null
  const checksum = row[at + 6] as string | null
  const kind = checksum === null ? null : checksumKind(Number.parseInt(checksum.slice(2, 4), 16))
  return {
    key: row[at] as string,
    seq,
    versionId: versionIdOfRow({ seq, nonce: row[at + 2] as string | null }),
    isLatest,
    isDeleteMarker: etag === null,
    size: Number(row[at + 3]),
    etag: etag === null ? '' : unpackedEtag(etag, 2),
    lastModified: Number(row[at + 5]),
    checksumAlgorithm: kind?.algorithm ?? null,
    checksumType: kind?.type ?? null,
    storageClass: 'STANDARD',
  }
}

/** Null for metadata that is not there: most objects have only a content type or nothing. */
export function metadataText(metadata: ObjectMetadata): string | null {
  const { system, user } = metadata
  return Object.keys(system).length === 0 && Object.keys(user).length === 0 ? null : JSON.stringify({ system, user })
}

const noMetadata: ObjectMetadata = { system: {}, user: {} }
const noTags: readonly Tag[] = []
export const metadataOf = (text: string | null): ObjectMetadata => text === null ? noMetadata : JSON.parse(text) as ObjectMetadata
export const tagsText = (tags: readonly Tag[]): string | null => tags.length === 0 ? null : JSON.stringify(tags)
export const tagsOf = (text: string | null): readonly Tag[] => text === null ? noTags : JSON.parse(text) as Tag[]

export function checksumOf(algorithm: string | null, type: string | null, value: string | null): Checksum | null {
  return algorithm === null ? null : { algorithm: algorithm as ChecksumAlgorithm, type: type as ChecksumType, value: value as string }
}

export const manifestText = (extents: readonly Extent[]): string => `\\x${Buffer.from(encodeManifest(extents)).toString('hex')}`
export const extentsOf = (text: string | null): Extent[] => text === null ? [] : decodeManifest(Buffer.from(text.slice(2), 'hex'))
