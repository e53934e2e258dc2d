/**
 * The words of the house, as types. Pure data: imports nothing.
 * Times are milliseconds since the epoch, sizes are bytes, unless a name says otherwise.
 */

export interface Account {
  /** 12 digits. */
  readonly id: string
  /** 64 hex digits. */
  readonly canonicalId: string
  readonly displayName: string
  readonly email: string
}

/** Who sent a request. `user` is null for an account's root keys. */
export interface Principal {
  readonly account: Account
  readonly accessKeyId: string
  readonly user: { readonly name: string; readonly path: string; readonly policies: readonly PolicyDocument[] } | null
}

/** An identity policy after parsing; only what `auth/policy.ts` can honour is accepted at load. */
export interface PolicyDocument {
  readonly statements: readonly {
    readonly effect: 'Allow' | 'Deny'
    readonly actions: readonly string[]
    readonly notActions: boolean
    readonly resources: readonly string[]
    readonly notResources: boolean
  }[]
}

export type VersioningStatus = 'off' | 'enabled' | 'suspended'

export interface Bucket {
  readonly id: number
  readonly name: string
  readonly accountId: string
  readonly region: string
  readonly versioning: VersioningStatus
  readonly createdAt: number
}

export type ChecksumAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256'
export type ChecksumType = 'FULL_OBJECT' | 'COMPOSITE'

/** `value` is what the client sees: base64, with `-N` behind it when the type is COMPOSITE. */
export interface Checksum {
  readonly algorithm: ChecksumAlgorithm
  readonly type: ChecksumType
  readonly value: string
}

/** Where the bytes of one blob are. A blob is immutable and has a random id of 16 bytes (32 hex digits). */
export type Placement =
  /** A file of its own, named by the blob id, on each of these drives. */
  | { readonly kind: 'file'; readonly drives: readonly number[] }
  /** One record of an append-only segment. `at` is the byte offset of the record's header in the segment file. */
  | { readonly kind: 'segment'; readonly drives: readonly number[]; readonly segment: string; readonly at: number }

/**
 * A run of bytes of one blob. A version's manifest is an ordered list of extents; its size is the sum of their lengths.
 * `blobLength` is the whole blob's length: a reader needs it to find the block table of a file or to check a record.
 */
export interface Extent {
  readonly blob: string
  readonly offset: number
  readonly length: number
  readonly blobLength: number
  readonly codec: 'none' | 'zstd'
  /** Id of the data key, null while bytes rest unencrypted. */
  readonly dataKey: string | null
  readonly place: Placement
}

/**
 * A record that is in its segment, but not synced yet. The put that names it brings its bytes: the database syncs its log for each commit
 * anyway, so that a small object which comes alone costs one sync and not two.
 */
export interface CarriedRecord {
  readonly segment: string
  /** Of the record in the segment. */
  readonly at: number
  /** The whole record, `carriedBytesMax` at most. Nobody changes them any more. */
  readonly bytes: Buffer
}

/** System metadata by lower-case header name, as they are given back. Absent: not set. */
export type SystemHeaderName =
  | 'cache-control'
  | 'content-disposition'
  | 'content-encoding'
  | 'content-language'
  | 'content-type'
  | 'expires'
  | 'x-amz-website-redirect-location'

export interface ObjectMetadata {
  readonly system: Readonly<Partial<Record<SystemHeaderName, string>>>
  /** Names in lower case without `x-amz-meta-`; values as decoded text. */
  readonly user: Readonly<Record<string, string>>
}

export interface Tag {
  readonly key: string
  readonly value: string
}

/** One part of a completed multipart object: what partNumber reads and GetObjectAttributes need. */
export interface PartSummary {
  readonly partNumber: number
  readonly size: number
  /** Base64 value by the object's checksum algorithm; null where the part has none. */
  readonly checksum: string | null
}

/** What a new version is made of; everything but its identity. */
export interface VersionContent {
  readonly size: number
  /** Hex without quotes: MD5, or md5-of-md5s with `-N`. */
  readonly etag: string
  readonly metadata: ObjectMetadata
  readonly tags: readonly Tag[]
  readonly checksum: Checksum | null
  /** Null for an object that was not uploaded in parts. */
  readonly parts: readonly PartSummary[] | null
  readonly manifest: readonly Extent[]
  readonly storageClass: 'STANDARD'
}

export interface VersionIdentity {
  readonly bucketId: number
  readonly key: string
  /** Database sequence at which it became current: the order of versions. Below 2^53. */
  readonly seq: number
  /** What clients see: `null` for a null version, else 32 hex digits (see `versioning/versions.ts`). */
  readonly versionId: string
  readonly isLatest: boolean
  readonly lastModified: number
  /** Null: the bucket's owner. */
  readonly ownerAccountId: string | null
}

export interface ObjectVersion extends VersionIdentity, VersionContent {
  readonly isDeleteMarker: false
}

export interface DeleteMarker extends VersionIdentity {
  readonly isDeleteMarker: true
}

export type AnyVersion = ObjectVersion | DeleteMarker

/** A current object in a listing: the fields that it shows, so that manifests are never read for a page. */
export interface ListedObject {
  readonly key: string
  readonly lastModified: number
  readonly etag: string
  readonly size: number
  readonly checksumAlgorithm: ChecksumAlgorithm | null
  readonly checksumType: ChecksumType | null
}

/** A row of a listing of versions. */
export interface ListedVersion extends ListedObject {
  readonly versionId: string
  readonly seq: number
  readonly isLatest: boolean
  readonly isDeleteMarker: boolean
  readonly storageClass: 'STANDARD'
}

export interface MultipartUpload {
  readonly uploadId: string
  readonly bucketId: number
  readonly key: string
  readonly initiatedAt: number
  readonly initiator: { readonly id: string; readonly displayName: string }
  readonly ownerAccountId: string
  readonly metadata: ObjectMetadata
  readonly tags: readonly Tag[]
  readonly storageClass: 'STANDARD'
  readonly checksumAlgorithm: ChecksumAlgorithm | null
  readonly checksumType: ChecksumType | null
}

export interface Part {
  readonly partNumber: number
  readonly size: number
  /** Hex MD5 without quotes. */
  readonly etag: string
  readonly checksum: Checksum | null
  readonly lastModified: number
  readonly manifest: readonly Extent[]
}

/** If-Match and If-None-Match of a write: lists of ETags without quotes, or `*`. */
export interface WriteConditions {
  readonly ifMatch?: string
  readonly ifNoneMatch?: string
}

/** Conditions of a delete; `lastModified` in whole seconds of epoch ms, as the header gives it. */
export interface DeleteConditions {
  readonly ifMatch?: string
  readonly ifMatchLastModified?: number
  readonly ifMatchSize?: number
}
