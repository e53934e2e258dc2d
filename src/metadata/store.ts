import type {
  Account, AnyVersion, Bucket, CarriedRecord, Checksum, ChecksumAlgorithm, DeleteConditions, Extent, ListedObject, ListedVersion, MultipartUpload, ObjectMetadata,
  Part, PartSummary, PolicyDocument, Tag, VersionContent, VersioningStatus, WriteConditions,
} from '../domain/model.ts'

/**
 * Door of the metadata room. It promises:
 * - Reads see every commit that was answered before, from whichever process (read-after-write, list-after-write).
 * - `commit` runs commands in groups; per key they are serialised, conditions are evaluated under the key's lock, and a
 *   resolved promise means that the COMMIT was durable. A COMMIT whose outcome is unknown is looked up, never guessed.
 * - When the database cannot answer, calls reject with S3Error ServiceUnavailable (503, Retry-After); when it has no room,
 *   with InsufficientStorage (507). Nothing is half applied.
 * - Released bytes are only queued here; the sweeper alone deletes them.
 */
export interface MetadataStore extends ObjectStore, CarriedStore, BucketStore, IdentityStore, MultipartStore, SweepStore, CheckStore, AdminStore {
  /**
   * To be called at the beginning of a request. Once it is awaited, what `bucket` and `accessKey` remember is no older than this call,
   * whichever process changed it. What they told between the call and its end was as current when it resolves to false; when to true, it may
   * have been old. Null when no other process changes this database.
   */
  catchUp(): Promise<boolean> | null
  /** Resolves when a query was answered; rejects when the database is away. For readiness. */
  ping(): Promise<void>
  close(): Promise<void>
}

export interface ObjectStore {
  /**
   * The current version (versionId undefined) or a named one (`null` or 32 hex digits). Null when there is none; a delete
   * marker is returned as such. Others may be given the same object.
   */
  version(bucketId: number, key: string, versionId?: string): Promise<AnyVersion | null>
  commit(command: PutCommand): Promise<PutResult>
  commit(command: DeleteCommand): Promise<DeleteResult>
  commit(command: PutTagsCommand): Promise<PutTagsResult>
  commit(command: PutPartCommand): Promise<PutPartResult>
  commit(command: CompleteCommand): Promise<CompleteResult>
  commit(command: AbortCommand): Promise<AbortResult>
  /** The same for many at once, each for itself, in their order; one promise for all of them costs less. Never rejects. */
  commitAll(commands: readonly DeleteCommand[]): Promise<readonly PromiseSettledResult<DeleteResult>[]>
  /**
   * Asks the database now for what a put will need to know, while its bytes are still on their way to the disk. Null when others are being
   * committed: they must not wait for those bytes. What was prepared must be committed or cancelled, and soon: it holds the key's lock.
   * With a whole command, which must be the one that is committed then, what it will write may be written already, all but the COMMIT.
   */
  prepare(put: AnnouncedPut | PutCommand): PreparedPut | null

  /** Current objects (no delete markers) in UTF-8 byte order. A page's cost does not grow with the bucket. */
  listObjects(bucketId: number, page: ListPage): Promise<ListedPage<ListedObject>>
  /** All versions and delete markers: by key, newest first. `after.versionId` continues inside a key. */
  listVersions(bucketId: number, page: ListPage & { afterVersionId?: string }): Promise<ListedVersions>
}

export interface ListPage {
  readonly prefix: string
  /** '' means none. */
  readonly delimiter: string
  /** Only keys strictly after this one; a value that is a common prefix skips everything below that prefix. '' means from the start. */
  readonly after: string
  /** 1 to 1000: rows plus common prefixes of the page. (0 is answered by the operation.) */
  readonly limit: number
}

export interface ListedPage<Row> {
  readonly rows: readonly Row[]
  readonly commonPrefixes: readonly string[]
  readonly truncated: boolean
  /** When truncated: what to pass as `after` for the next page; the last key or common prefix of this page. */
  readonly next: string
}

export interface ListedVersions extends ListedPage<ListedVersion> {
  /** When truncated and the last entry is a version: its id. */
  readonly nextVersionId: string | null
}

/** Makes a version current. Under the lock: bucket exists -> conditions -> plan by versioning status -> write. */
export interface PutCommand {
  readonly kind: 'put'
  readonly bucketId: number
  readonly key: string
  readonly ownerAccountId: string
  readonly when: WriteConditions
  readonly content: VersionContent
  /** Set when content.manifest shares blobs of this existing version (CopyObject): it must still exist at commit. */
  readonly sharedFrom?: SharedSource
  /** What content.manifest names, when it is not known to be synced. Only when the store said that it `mayCarry`. */
  readonly carried?: CarriedRecord | null
}
export type AnnouncedPut = Pick<PutCommand, 'bucketId' | 'key'>
export interface PreparedPut {
  commit(command: PutCommand): Promise<PutResult>
  /** Without effect once it is committed. */
  cancel(): void
}
export interface SharedSource {
  readonly bucketId: number
  readonly key: string
  readonly seq: number
}

export type PutResult =
  | { readonly ok: true; readonly version: AnyVersion; readonly versioning: VersioningStatus }
  | Refused<'NoSuchBucket' | 'NoSuchKey' | 'PreconditionFailed' | 'ConditionalRequestConflict' | 'SourceGone'>

export interface Refused<Code extends string> {
  readonly ok: false
  readonly code: Code
  /** Which header failed, for PreconditionFailed. */
  readonly condition?: 'If-Match' | 'If-None-Match' | 'x-amz-if-match-last-modified-time' | 'x-amz-if-match-size'
}

/** Without versionId: what DELETE does by the versioning status. With it: removes that version for good. */
export interface DeleteCommand {
  readonly kind: 'delete'
  readonly bucketId: number
  readonly key: string
  readonly ownerAccountId: string
  readonly versionId?: string
  readonly when: DeleteConditions
}
export type DeleteResult =
  /** deleted: what was removed or null; marker: the delete marker that was created or removed. */
  | { readonly ok: true; readonly versionId: string | null; readonly deleteMarker: boolean; readonly versioning: VersioningStatus }
  | Refused<'NoSuchBucket' | 'NoSuchKey' | 'NoSuchVersion' | 'PreconditionFailed'>

export interface PutTagsCommand {
  readonly kind: 'put-tags'
  readonly bucketId: number
  readonly key: string
  readonly versionId?: string
  readonly tags: readonly Tag[]
}
export type PutTagsResult =
  | { readonly ok: true; readonly versionId: string; readonly versioning: VersioningStatus }
  | Refused<'NoSuchBucket' | 'NoSuchKey' | 'NoSuchVersion' | 'MethodNotAllowed'>

export interface PutPartCommand {
  readonly kind: 'put-part'
  readonly bucketId: number
  readonly key: string
  readonly uploadId: string
  readonly part: Omit<Part, 'lastModified'>
  readonly sharedFrom?: SharedSource
}
export type PutPartResult = { readonly ok: true; readonly lastModified: number } | Refused<'NoSuchUpload' | 'SourceGone'>

/**
 * Runs `plan` under the upload's and the key's lock with the upload and its stored parts. The plan is pure: it returns the
 * content of the new version, or the error to answer. Parts that the content does not use are released. The upload's
 * result is kept, so that a repeated call gets the same answer.
 */
export interface CompleteCommand {
  readonly kind: 'complete'
  readonly bucketId: number
  readonly key: string
  readonly uploadId: string
  readonly when: WriteConditions
  /** SHA-256 (hex) of the request's list of parts: a replay with another list is not the same call. */
  readonly requestHash: string
  readonly plan: (upload: MultipartUpload, parts: readonly Part[]) => { content: VersionContent } | { error: import('../domain/errors.ts').S3Error }
}
export type CompleteResult =
  | { readonly ok: true; readonly version: CompletedVersion; readonly versioning: VersioningStatus; readonly replay: boolean }
  | { readonly ok: false; readonly code: 'Planned'; readonly error: import('../domain/errors.ts').S3Error }
  | Refused<'NoSuchBucket' | 'NoSuchKey' | 'NoSuchUpload' | 'PreconditionFailed'>
/** What a replay needs to give the same answer, whatever became of the version since. */
export interface CompletedVersion {
  readonly versionId: string
  readonly etag: string
  readonly checksum: VersionContent['checksum']
}

export interface AbortCommand {
  readonly kind: 'abort'
  readonly bucketId: number
  readonly key: string
  readonly uploadId: string
}
export type AbortResult = { readonly ok: true } | Refused<'NoSuchUpload'>

export type Command = PutCommand | DeleteCommand | PutTagsCommand | PutPartCommand | CompleteCommand | AbortCommand

export interface CarriedStore {
  /**
   * Whether a put may bring its record now. Never where other processes use the database, because whoever starts puts all records back; and
   * only while it would be committed at once: who has to wait anyway shares a sync with others, which costs less.
   */
  mayCarry(): boolean
  /** All that may not be synced, a few MiB at most. For the start, before anything is written. */
  carriedRecords(): Promise<readonly CarriedRecord[]>
  /** The records of a segment that lie before `below` are synced. Waits for puts of them that are still running: what became of one may have to be looked up by its record. */
  forgetCarried(segment: string, below: number): Promise<void>
}

export interface BucketStore {
  /** By name, null when there is none. Remembered for a moment, see `catchUp`; never decides a write (the commit looks again). */
  bucket(name: string): Promise<Bucket | null>
  createBucket(bucket: { name: string; accountId: string; region: string; tags?: readonly Tag[] }): Promise<
    { ok: true; bucket: Bucket } | { ok: false; owner: string }
  >
  /** Refuses while versions, delete markers or open uploads exist; no put can slip in between. */
  deleteBucket(bucketId: number): Promise<{ ok: true } | Refused<'NoSuchBucket' | 'BucketNotEmpty'>>
  /** Buckets of an account by name. `after`: name of the last one seen. */
  listBuckets(accountId: string, page: { prefix: string; after: string; limit: number; region?: string }): Promise<{ buckets: readonly Bucket[]; truncated: boolean }>
  setVersioning(bucketId: number, status: 'enabled' | 'suspended'): Promise<boolean>
  /** One document for each kind of setting, stored as it was put. */
  setting(bucketId: number, kind: string): Promise<{ document: string; compiled: unknown } | null>
  putSetting(bucketId: number, kind: string, setting: { document: string; compiled: unknown }): Promise<void>
  deleteSetting(bucketId: number, kind: string): Promise<void>
  usage(bucketId: number): Promise<{ objects: number; versions: number; bytes: number }>
}

export interface AccessKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly enabled: boolean
  /** Opens the admin API of the control port. */
  readonly admin: boolean
  readonly account: Account
  readonly user: { readonly name: string; readonly path: string; readonly policies: readonly PolicyDocument[] } | null
}

export interface IdentityStore {
  /** Decrypted; remembered for a moment, see `catchUp`. Null for an unknown id. */
  accessKey(accessKeyId: string): Promise<AccessKey | null>
  account(accountId: string): Promise<Account | null>
  /** Applies a bootstrap document; running it again changes nothing. */
  applyBootstrap(bootstrap: Bootstrap): Promise<void>
}
export interface Bootstrap {
  readonly accounts: readonly BootstrapAccount[]
}
export interface BootstrapKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Default false. */
  readonly admin?: boolean
}
export interface BootstrapAccount {
  readonly root: boolean
  readonly id: string
  readonly canonicalId: string
  readonly displayName: string
  readonly email: string
  readonly accessKeys: readonly BootstrapKey[]
  readonly users: readonly {
    readonly name: string
    readonly path: string
    readonly accessKeys: readonly BootstrapKey[]
    readonly policies: readonly PolicyDocument[]
  }[]
}

export interface MultipartStore {
  createUpload(upload: {
    bucketId: number; key: string; initiator: { id: string; displayName: string }; ownerAccountId: string; metadata: ObjectMetadata
    tags: readonly Tag[]; checksumAlgorithm: ChecksumAlgorithm | null; checksumType: MultipartUpload['checksumType']
  }): Promise<MultipartUpload | null>
  /** Open uploads only; null also when it belongs to another bucket or key. */
  upload(bucketId: number, key: string, uploadId: string): Promise<MultipartUpload | null>
  parts(uploadId: string, page: { after: number; limit: number }): Promise<{ parts: readonly Omit<Part, 'manifest'>[]; truncated: boolean }>
  listUploads(bucketId: number, page: ListPage & { afterUploadId?: string }): Promise<{
    uploads: readonly MultipartUpload[]; commonPrefixes: readonly string[]; truncated: boolean; next: string; nextUploadId: string | null
  }>
}

/** What the sweeper and compaction need; nobody else calls these. */
export interface SweepStore {
  /**
   * Runs `work` while no other process, on whatever machine, sweeps what this database knows; null when one does. `lost` turns true
   * when that can no longer be said, because the connection that holds it went: then nothing more may be removed.
   */
  sweeping<Result>(work: (lost: () => boolean) => Promise<Result>): Promise<Result | null>
  /** The same for the scrub of a running server: two would read everything twice and lose each other's place. */
  scrubbing<Result>(work: (lost: () => boolean) => Promise<Result>): Promise<Result | null>
  /**
   * Releases that are older than the grace, oldest first. References of shared blobs are settled inside: only blobs whose
   * last reference went are returned, at most `limit` of those behind `afterId`; none: there are no more. They stay queued until
   * `forgetReleased`.
   */
  released(olderThanMs: number, limit: number, afterId?: number): Promise<readonly { id: number; blob: string; length: number; place: Extent['place'] }[]>
  forgetReleased(ids: readonly number[]): Promise<void>
  /** Of these blobs, the ones that some committed row still names or that wait in the release queue. */
  referenced(blobs: readonly { blob: string; bucketId: number; key: string }[]): Promise<ReadonlySet<string>>
  /** Where compaction put a record; readers that miss a record at its old place look here. */
  relocations(blobs: readonly string[]): Promise<ReadonlyMap<string, Extent['place']>>
  /**
   * Says that a record is now at `place`, if what was said of it is still `from` (null: nothing). A mover that comes late, because its
   * process stood still and another one swept meanwhile, changes nothing: the copies that it made may be gone.
   */
  relocate(moves: readonly { blob: string; from: Extent['place'] | null; place: Extent['place'] }[]): Promise<void>
  /** Identity of drives, so that a foreign or missing drive, or a younger database, is noticed. */
  drives(): Promise<readonly { id: number; uuid: string; createdAt: number }[]>
  /** `since`: see `DriveOptions.register`; it counts for a drive that is new here. Default: now. */
  registerDrive(uuid: string, since?: number): Promise<number>
}

/** What operators look at and change by hand. */
export interface AdminStore {
  /** The largest buckets by bytes, and the sums of all. */
  usageOverview(limit: number): Promise<{ readonly buckets: number; readonly objects: number; readonly bytes: number; readonly largest: readonly BucketUsage[] }>
  /** Buckets of all accounts by name, behind `after`. */
  bucketsWithUsage(page: { readonly after: string; readonly limit: number }): Promise<{ readonly buckets: readonly BucketUsage[]; readonly truncated: boolean }>
  accounts(): Promise<readonly AccountSummary[]>
  /** False: the id, the canonical id is taken. */
  createAccount(account: Account): Promise<boolean>
  users(accountId: string): Promise<readonly UserSummary[]>
  /** Without secrets; null: of all accounts. */
  accessKeys(accountId: string | null): Promise<readonly AccessKeySummary[]>
  createAccessKey(key: NewAccessKey): Promise<'made' | 'no such account' | 'no such user' | 'taken'>
  /** Makes a new pair for whoever holds the old one, and disables the old one, in one transaction. Null: there is no such key. */
  rotateAccessKey(accessKeyId: string, pair: { readonly accessKeyId: string; readonly secretAccessKey: string }): Promise<AccessKeySummary | null>
  /** False: there is no such key. */
  enableAccessKey(accessKeyId: string, enabled: boolean): Promise<boolean>
}

export interface BucketUsage {
  readonly name: string
  readonly accountId: string
  readonly region: string
  readonly versioning: VersioningStatus
  readonly createdAt: number
  readonly objects: number
  readonly versions: number
  readonly bytes: number
}
export interface AccountSummary extends Account {
  readonly root: boolean
  readonly createdAt: number
  readonly buckets: number
}
export interface UserSummary {
  readonly name: string
  readonly path: string
  readonly createdAt: number
  readonly policies: readonly PolicyDocument[]
}
export interface AccessKeySummary {
  readonly accessKeyId: string
  readonly accountId: string
  /** Null: root keys of the account. */
  readonly userName: string | null
  readonly enabled: boolean
  readonly admin: boolean
  readonly createdAt: number
}
export interface NewAccessKey {
  readonly accountId: string
  readonly userName: string | null
  readonly admin: boolean
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** What scrub and fsck need: every row that names bytes, and what rows say of bytes that were found, which the sweeper asks too. All but the last only read. */
export interface CheckStore {
  /** The rows that follow a position, some hundred at a time and never more than some MiB; null: from the start, and at the end. */
  checkedRows(after: CheckPosition | null): Promise<{ rows: readonly CheckedRow[]; next: CheckPosition | null }>
  /** Whether the row still names these bytes: whatever is missing of one that went meanwhile is no difference. */
  namesStill(row: CheckedRow): Promise<boolean>
  /** Of blobs that were found on a drive; `place` is where. */
  fates(blobs: readonly FoundBlob[]): Promise<ReadonlyMap<string, BlobFate>>
  /** Of these blobs, the ones that were ever shared by a copy: more than one row may name them. */
  shared(blobs: readonly string[]): Promise<ReadonlySet<string>>
  /** How much there is to look at, about. */
  checkTotals(): Promise<{ versions: number; bytes: number }>
  /** Two equal marks: nothing was written between them. */
  changeMark(): Promise<string>
  /** Says where records are that nothing finds any more. Never changes a row that is there. Returns how many it wrote. */
  addRelocations(moves: readonly { blob: string; place: Extent['place'] }[]): Promise<number>
}

/** A place in the order of `checkedRows`; plain data, so that it can be kept in a file. */
export interface CheckPosition {
  readonly table: 'objects' | 'noncurrent_versions' | 'parts'
  /** 0 for parts. */
  readonly bucketId: number
  /** The upload id for parts. */
  readonly key: string
  /** The part number for parts. */
  readonly seq: number
}

export interface CheckedRow {
  readonly position: CheckPosition
  readonly bucketId: number
  /** '' when the bucket is gone. */
  readonly bucket: string
  readonly key: string
  /** Null for a part of an open upload. */
  readonly versionId: string | null
  readonly upload: { readonly uploadId: string; readonly partNumber: number } | null
  readonly isLatest: boolean
  readonly size: number
  readonly etag: string
  readonly checksum: Checksum | null
  readonly parts: readonly PartSummary[] | null
  readonly manifest: readonly Extent[]
  /** Why the row cannot be used, null when it can. */
  readonly problem: string | null
}

export interface FoundBlob {
  readonly blob: string
  /** Owner by the record or the file. */
  readonly bucketId: number
  readonly key: string
  readonly place: Extent['place']
}

export interface BlobFate {
  /** A committed row names it. */
  readonly live: boolean
  /** The row of its first owner, or its release, names it at this very place. */
  readonly here: boolean
  /** No row names it any more, and it waits for the sweeper. */
  readonly released: boolean
  readonly shared: boolean
  readonly moved: Extent['place'] | null
}
