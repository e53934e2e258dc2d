import { sql } from 'drizzle-orm'
import {
  bigint, boolean, customType, index, integer, jsonb, pgSequence, pgTable, primaryKey, smallint, text, uniqueIndex,
} from 'drizzle-orm/pg-core'

/** Times are bigint milliseconds since the epoch, as everywhere in the program; sizes are bytes. */

/** S3 orders keys by their UTF-8 bytes: the collation is part of the column, so that indexes and comparisons agree. */
const keyText = customType<{ data: string }>({ dataType: () => 'text COLLATE "C"' })
const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })

/** Order of versions. Taken under the key's lock, so that a later version of a key has a greater number. */
export const versionSequence = pgSequence('version_sequence', { startWith: 1, increment: 1 })

export const accounts = pgTable('accounts', {
  id: text().primaryKey(),
  canonicalId: text('canonical_id').notNull().unique(),
  displayName: text('display_name').notNull(),
  email: text().notNull(),
  isRoot: boolean('is_root').notNull().default(false),
  createdAt: bigint('created_at', { mode: 'number' }).notNull(),
})

export const users = pgTable('users', {
  accountId: text('account_id').notNull().references(() => accounts.id),
  name: text().notNull(),
  path: text().notNull(),
  policies: jsonb().notNull(),
  createdAt: bigint('created_at', { mode: 'number' }).notNull(),
}, (table) => [primaryKey({ columns: [table.accountId, table.name] })])

export const accessKeys = pgTable('access_keys', {
  accessKeyId: keyText('access_key_id').primaryKey(),
  accountId: text('account_id').notNull().references(() => accounts.id),
  /** Null: root keys of the account. */
  userName: text('user_name'),
  /** AES-256-GCM: 12 bytes of nonce, 16 of tag, then the secret. The access key id is the associated data. */
  secret: bytea().notNull(),
  enabled: boolean().notNull().default(true),
  /** Opens the admin API of the control port. */
  admin: boolean().notNull().default(false),
  createdAt: bigint('created_at', { mode: 'number' }).notNull(),
})

export const buckets = pgTable('buckets', {
  id: integer().primaryKey().generatedAlwaysAsIdentity(),
  name: keyText().notNull().unique(),
  accountId: text('account_id').notNull().references(() => accounts.id),
  region: text().notNull(),
  versioning: text({ enum: ['off', 'enabled', 'suspended'] }).notNull().default('off'),
  createdAt: bigint('created_at', { mode: 'number' }).notNull(),
}, (table) => [index('buckets_by_account').on(table.accountId, table.name)])

export const bucketSettings = pgTable('bucket_settings', {
  bucketId: integer('bucket_id').notNull().references(() => buckets.id, { onDelete: 'cascade' }),
  kind: text().notNull(),
  /** Exactly as it was put. */
  document: text().notNull(),
  compiled: jsonb(),
}, (table) => [primaryKey({ columns: [table.bucketId, table.kind] })])

/** One row: counts the changes of buckets and access keys, so that whoever remembers some can ask whether they are still as they were. */
export const settingsVersion = pgTable('settings_version', {
  only: boolean().primaryKey().default(true),
  version: bigint({ mode: 'number' }).notNull(),
})

/** Sharded by writer, so that no two writers wait for one row. Sums are the answer. */
export const bucketUsage = pgTable('bucket_usage', {
  bucketId: integer('bucket_id').notNull(),
  shard: smallint().notNull(),
  objects: bigint({ mode: 'number' }).notNull(),
  versions: bigint({ mode: 'number' }).notNull(),
  bytes: bigint({ mode: 'number' }).notNull(),
}, (table) => [primaryKey({ columns: [table.bucketId, table.shard] })])

/**
 * One version of a key; the same in both tables of versions, so that rows move between them unchanged. There is a row for every
 * object: wide columns come first, so that none is padded, and what most objects do not have is null, which takes no room.
 */
const versionColumns = () => ({
  /** Sequence at which it became current. */
  seq: bigint({ mode: 'number' }).notNull(),
  size: bigint({ mode: 'number' }).notNull(),
  lastModified: bigint('last_modified', { mode: 'number' }).notNull(),
  /** Random half of the version id; null for the null version. */
  nonce: bigint({ mode: 'bigint' }),
  bucketId: integer('bucket_id').notNull(),
  key: keyText().notNull(),
  /** 16 bytes, and two more with the number of parts where the text has `-N`; null for a delete marker. */
  etag: bytea(),
  /** A byte for algorithm and type, then the value (see `packed.ts`). */
  checksum: bytea(),
  /** Null: the bucket's owner. */
  ownerAccountId: text('owner_account_id'),
  metadata: jsonb(),
  tags: jsonb(),
  parts: jsonb(),
  manifest: bytea(),
  /** Hash over this version and the one before. */
  chain: bytea(),
})

/** The current version of each key that has an object: what listings show, so that a page wades through nothing else. */
export const objects = pgTable('objects', versionColumns(), (table) => [primaryKey({ columns: [table.bucketId, table.key] })])

/** Versions that are not current any more, and delete markers, the current ones among them. */
export const noncurrentVersions = pgTable('noncurrent_versions', {
  ...versionColumns(),
  /** Sequence at which it stopped being current; null: a delete marker that is. */
  noncurrentSeq: bigint('noncurrent_seq', { mode: 'number' }),
}, (table) => [
  uniqueIndex('noncurrent_versions_newest_first').on(table.bucketId, table.key, table.seq.desc()),
  uniqueIndex('noncurrent_versions_null').on(table.bucketId, table.key).where(sql`nonce IS NULL`),
  uniqueIndex('noncurrent_versions_marker').on(table.bucketId, table.key).where(sql`noncurrent_seq IS NULL`),
])

export const uploads = pgTable('uploads', {
  /** Begins with the time, so that its order is the order of initiation. */
  uploadId: keyText('upload_id').primaryKey(),
  bucketId: integer('bucket_id').notNull(),
  key: keyText().notNull(),
  state: text({ enum: ['open', 'completed'] }).notNull(),
  initiatedAt: bigint('initiated_at', { mode: 'number' }).notNull(),
  initiatorId: text('initiator_id').notNull(),
  initiatorName: text('initiator_name').notNull(),
  ownerAccountId: text('owner_account_id').notNull(),
  metadata: jsonb(),
  tags: jsonb(),
  checksumAlgorithm: text('checksum_algorithm'),
  checksumType: text('checksum_type'),
  /** Kept for a time after completion, so that a repeated call gets the same answer. */
  requestHash: text('request_hash'),
  result: jsonb(),
  completedAt: bigint('completed_at', { mode: 'number' }),
}, (table) => [
  index('uploads_open').on(table.bucketId, table.key, table.uploadId).where(sql`state = 'open'`),
  index('uploads_completed').on(table.completedAt).where(sql`state = 'completed'`),
])

export const parts = pgTable('parts', {
  uploadId: keyText('upload_id').notNull(),
  partNumber: integer('part_number').notNull(),
  size: bigint({ mode: 'number' }).notNull(),
  etag: text().notNull(),
  checksumAlgorithm: text('checksum_algorithm'),
  checksumType: text('checksum_type'),
  checksumValue: text('checksum_value'),
  lastModified: bigint('last_modified', { mode: 'number' }).notNull(),
  manifest: bytea().notNull(),
}, (table) => [primaryKey({ columns: [table.uploadId, table.partNumber] })])

/** References that were given up, one row for each; the sweeper deletes the bytes later. */
export const releasedBlobs = pgTable('released_blobs', {
  id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  blob: bytea().notNull(),
  length: bigint({ mode: 'number' }).notNull(),
  place: jsonb().notNull(),
  releasedAt: bigint('released_at', { mode: 'number' }).notNull(),
  /** Set once the sweeper took the reference off the count and found it to be the last. */
  dead: boolean().notNull().default(false),
}, (table) => [index('released_blobs_blob').on(table.blob)])

/**
 * How many extents of committed rows name a blob. A row exists only for blobs that were ever shared by a copy; no row means
 * exactly one. The row stays when the count falls to one again: then the only holder may be another key than the blob's first.
 */
export const blobReferences = pgTable('blob_references', {
  blob: bytea().primaryKey(),
  count: integer().notNull(),
})

/** Where compaction moved a record to; manifests keep the old place. */
export const blobRelocations = pgTable('blob_relocations', {
  blob: bytea().primaryKey(),
  place: jsonb().notNull(),
})

/** Servers that share one data folder. The sweeper asks all of them what they hold before it removes anything. */
export const replicas = pgTable('replicas', {
  /** Name of its first process. */
  token: text().primaryKey(),
  seenAt: bigint('seen_at', { mode: 'number' }).notNull(),
  /** When it ended in order; null while it runs, and for ever when it was killed. */
  leftAt: bigint('left_at', { mode: 'number' }),
  /** The last question that it answered, and its answer. */
  answered: text(),
  holdings: jsonb(),
})

/**
 * Bytes of records that were written to a segment, but are not known to be synced: whoever opens the drive after a loss of power puts them
 * back. A few thousand rows at most, each for about a second.
 */
export const carriedRecords = pgTable('carried_records', {
  segment: text().notNull(),
  at: bigint({ mode: 'number' }).notNull(),
  /** Number of the version that came with it. */
  seq: bigint({ mode: 'number' }).notNull(),
  record: bytea().notNull(),
}, (table) => [primaryKey({ columns: [table.segment, table.at] })])

export const drives = pgTable('drives', {
  id: integer().primaryKey().generatedAlwaysAsIdentity(),
  uuid: text().notNull().unique(),
  createdAt: bigint('created_at', { mode: 'number' }).notNull(),
})
