import type { Extent } from '../../domain/model.ts'
import { bytesArray, hexArray, numberArray, textArray } from './arrays.ts'
import { writeCarried } from './carried.ts'
import type { Statement } from './connect.ts'
import type { GroupState, KeyState, NoncurrentRow, PartRow, UploadState } from './group-state.ts'
import { keyList, lookedUp, ofKey } from './look-up.ts'
import { packedEtag } from './packed.ts'
import { versionColumns, type VersionRow } from './rows.ts'

/**
 * The difference that a group's plans made, as one statement for each table and kind of change. Removals come before
 * additions, because a key has one null version at most and rows move between the tables.
 */
export function groupWrites(state: GroupState, shard: number): Statement[] {
  const keys = state.keys.values()
  const uploads = [...state.uploads.values()]
  if (state.removed && keys.some((key) => key.current !== null)) throw new Error('a row was removed that is still wanted')
  return [
    removeNoncurrent(keys),
    state.removed ? null : removeObjects(keys),
    writeObjects(keys),
    writeNoncurrent(keys),
    removeParts(uploads),
    writeParts(uploads),
    completeUploads(uploads, state.now),
    removeUploads(uploads),
    ...state.carried.map(writeCarried),
    writeReferences(state.shared),
    writeReleased(state.released, state.now),
    writeUsage(keys, shard),
  ].filter((statement) => statement !== null)
}

const columnTypes: Readonly<Record<(typeof versionColumns)[number], string>> = {
  seq: 'bigint', size: 'bigint', last_modified: 'bigint', nonce: 'bigint', bucket_id: 'integer', key: 'text', etag: 'bytea', checksum: 'bytea',
  owner_account_id: 'text', metadata: 'jsonb', tags: 'jsonb', parts: 'jsonb', manifest: 'bytea', chain: 'bytea',
}
const placeholders = versionColumns.map((column, index) => `$${index + 1}::${columnTypes[column]}[]`).join(', ')
const replaceAll = versionColumns.filter((column) => column !== 'bucket_id' && column !== 'key').map((column) => `${column} = excluded.${column}`).join(', ')
const writeObjectsText = `INSERT INTO objects (${versionColumns.join(', ')}) SELECT * FROM unnest(${placeholders}) ON CONFLICT (bucket_id, key) DO UPDATE SET ${replaceAll}`
const writeNoncurrentText = `INSERT INTO noncurrent_versions (${versionColumns.join(', ')}, noncurrent_seq)
  SELECT * FROM unnest(${placeholders}, $${versionColumns.length + 1}::bigint[]) ON CONFLICT (bucket_id, key, seq)
  DO UPDATE SET tags = excluded.tags, noncurrent_seq = excluded.noncurrent_seq`
const removeObjectsText = `DELETE FROM objects WHERE ${lookedUp('objects', keyList, ofKey('v'))}`
const removeNoncurrentText = `DELETE FROM noncurrent_versions WHERE ${lookedUp(
  'noncurrent_versions', 'unnest($1::integer[], $2::text[], $3::bigint[]) AS k (bucket_id, key, seq)', `${ofKey('v')} AND v.seq = k.seq`,
)}`

function versionArrays(rows: readonly VersionRow[]): string[] {
  return [
    numberArray(rows.map((row) => row.seq)),
    numberArray(rows.map((row) => row.size)),
    numberArray(rows.map((row) => row.lastModified)),
    numberArray(rows.map((row) => row.nonce ?? 'NULL')),
    numberArray(rows.map((row) => row.bucketId)),
    textArray(rows.map((row) => row.key)),
    bytesArray(rows.map((row) => (row.deleteMarker ? null : packedEtag(row.etag)))),
    bytesArray(rows.map((row) => row.checksum)),
    textArray(rows.map((row) => row.owner)),
    textArray(rows.map((row) => row.metadata)),
    textArray(rows.map((row) => row.tags)),
    textArray(rows.map((row) => row.parts)),
    bytesArray(rows.map((row) => row.manifest)),
    bytesArray(rows.map((row) => row.chain)),
  ]
}

/** A delete marker is never among the objects, whether it is current or not. */
const object = (row: VersionRow | null): VersionRow | null => (row === null || row.deleteMarker ? null : row)
const marker = (row: VersionRow | null): VersionRow | null => (row?.deleteMarker === true ? row : null)

function writeObjects(keys: readonly KeyState[]): Statement | null {
  const rows: VersionRow[] = []
  for (const key of keys) {
    const row = object(key.current)
    if (row !== null && row !== key.currentBefore) rows.push(row)
  }
  if (rows.length === 0) return null
  return {
    name: 'write_objects',
    text: writeObjectsText,
    values: versionArrays(rows),
  }
}

function removeObjects(keys: readonly KeyState[]): Statement | null {
  const gone = keys.filter((key) => object(key.current) === null && object(key.currentBefore) !== null)
  if (gone.length === 0) return null
  return {
    name: 'remove_objects',
    text: removeObjectsText,
    values: [numberArray(gone.map((key) => key.bucketId)), textArray(gone.map((key) => key.key))],
  }
}

function writeNoncurrent(keys: readonly KeyState[]): Statement | null {
  const stopped: NoncurrentRow[] = []
  const current: VersionRow[] = []
  for (const key of keys) {
    for (const [seq, noncurrent] of key.noncurrent) {
      if (key.noncurrentBefore.get(seq) !== noncurrent) stopped.push(noncurrent)
    }
    const row = marker(key.current)
    if (row !== null && row !== key.currentBefore) current.push(row)
  }
  if (stopped.length + current.length === 0) return null
  return {
    name: 'write_noncurrent',
    text: writeNoncurrentText,
    // A delete marker stops being current before the next one is, as a key has only one.
    values: [
      ...versionArrays([...stopped.map(({ row }) => row), ...current]),
      numberArray([...stopped.map(({ noncurrentSeq }) => noncurrentSeq), ...current.map(() => 'NULL')]),
    ],
  }
}

function removeNoncurrent(keys: readonly KeyState[]): Statement | null {
  const gone: VersionRow[] = []
  for (const key of keys) {
    const stays = (row: VersionRow): boolean => key.noncurrent.has(row.seq) || marker(key.current)?.seq === row.seq
    for (const { row } of key.noncurrentBefore.values()) {
      if (!stays(row)) gone.push(row)
    }
    const before = marker(key.currentBefore)
    if (before !== null && !stays(before)) gone.push(before)
  }
  if (gone.length === 0) return null
  return {
    name: 'remove_noncurrent',
    text: removeNoncurrentText,
    values: [numberArray(gone.map((row) => row.bucketId)), textArray(gone.map((row) => row.key)), numberArray(gone.map((row) => row.seq))],
  }
}

function writeParts(uploads: readonly UploadState[]): Statement | null {
  const rows: { uploadId: string; part: PartRow }[] = []
  for (const upload of uploads) {
    for (const [partNumber, part] of upload.parts) {
      if (upload.partsBefore.get(partNumber) !== part) rows.push({ uploadId: upload.row.uploadId, part })
    }
  }
  if (rows.length === 0) return null
  return {
    name: 'write_parts',
    text: `INSERT INTO parts (upload_id, part_number, size, etag, checksum_algorithm, checksum_type, checksum_value, last_modified, manifest)
      SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bytea[])
      ON CONFLICT (upload_id, part_number) DO UPDATE SET size = excluded.size, etag = excluded.etag, checksum_algorithm = excluded.checksum_algorithm,
      checksum_type = excluded.checksum_type, checksum_value = excluded.checksum_value, last_modified = excluded.last_modified, manifest = excluded.manifest`,
    values: [
      textArray(rows.map(({ uploadId }) => uploadId)),
      numberArray(rows.map(({ part }) => part.partNumber)),
      numberArray(rows.map(({ part }) => part.size)),
      textArray(rows.map(({ part }) => part.etag)),
      textArray(rows.map(({ part }) => part.checksumAlgorithm)),
      textArray(rows.map(({ part }) => part.checksumType)),
      textArray(rows.map(({ part }) => part.checksumValue)),
      numberArray(rows.map(({ part }) => part.lastModified)),
      bytesArray(rows.map(({ part }) => part.manifest)),
    ],
  }
}

const ended = (upload: UploadState): boolean => upload.stateBefore === 'open' && upload.state !== 'open'

function removeParts(uploads: readonly UploadState[]): Statement | null {
  const gone = uploads.filter((upload) => ended(upload) && upload.partsBefore.size > 0)
  if (gone.length === 0) return null
  return { name: 'remove_parts', text: 'DELETE FROM parts WHERE upload_id = ANY ($1::text[])', values: [textArray(gone.map((upload) => upload.row.uploadId))] }
}

function completeUploads(uploads: readonly UploadState[], now: number): Statement | null {
  const completed = uploads.filter((upload) => ended(upload) && upload.state === 'completed')
  if (completed.length === 0) return null
  return {
    name: 'complete_uploads',
    text: `UPDATE uploads SET state = 'completed', request_hash = ($2::text[])[array_position($1::text[], upload_id)],
      result = ($3::jsonb[])[array_position($1::text[], upload_id)], completed_at = $4::bigint WHERE upload_id = ANY ($1::text[])`,
    values: [
      textArray(completed.map((upload) => upload.row.uploadId)), textArray(completed.map((upload) => upload.requestHash)),
      textArray(completed.map((upload) => upload.result)), now,
    ],
  }
}

function removeUploads(uploads: readonly UploadState[]): Statement | null {
  const aborted = uploads.filter((upload) => ended(upload) && upload.state === 'aborted')
  if (aborted.length === 0) return null
  return { name: 'remove_uploads', text: 'DELETE FROM uploads WHERE upload_id = ANY ($1::text[])', values: [textArray(aborted.map((upload) => upload.row.uploadId))] }
}

/** In the order of the blobs, so that two groups which share the same blobs cannot wait for each other. */
function writeReferences(shared: ReadonlyMap<string, number>): Statement | null {
  if (shared.size === 0) return null
  const sorted = [...shared].sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    name: 'write_references',
    text: `INSERT INTO blob_references (blob, count) SELECT blob, added + 1 FROM unnest($1::bytea[], $2::integer[]) AS k (blob, added)
      ON CONFLICT (blob) DO UPDATE SET count = blob_references.count + excluded.count - 1`,
    values: [hexArray(sorted.map(([blob]) => blob)), numberArray(sorted.map(([, added]) => added))],
  }
}

function writeReleased(released: readonly Extent[], now: number): Statement | null {
  if (released.length === 0) return null
  return {
    name: 'write_released',
    text: `INSERT INTO released_blobs (blob, length, place, released_at)
      SELECT blob, length, place, $4::bigint
      FROM ROWS FROM (unnest($1::bytea[]), unnest($2::bigint[]), jsonb_array_elements($3::jsonb)) AS k (blob, length, place)`,
    // One document of all the places: none of their quotes has to be escaped.
    values: [
      hexArray(released.map(({ blob }) => blob)), numberArray(released.map(({ blobLength }) => blobLength)), JSON.stringify(released.map(({ place }) => place)), now,
    ],
  }
}

interface Usage {
  objects: number
  versions: number
  bytes: number
}

function writeUsage(keys: readonly KeyState[], shard: number): Statement | null {
  const byBucket = new Map<number, Usage>()
  for (const key of keys) {
    const usage = byBucket.get(key.bucketId) ?? { objects: 0, versions: 0, bytes: 0 }
    byBucket.set(key.bucketId, usage)
    count(usage, key.currentBefore, key.noncurrentBefore, -1)
    count(usage, key.current, key.noncurrent, 1)
  }
  const changed = [...byBucket].filter(([, usage]) => usage.objects !== 0 || usage.versions !== 0 || usage.bytes !== 0).sort(([a], [b]) => a - b)
  if (changed.length === 0) return null
  return {
    name: 'write_usage',
    text: `INSERT INTO bucket_usage AS u (bucket_id, shard, objects, versions, bytes)
      SELECT bucket_id, $5::smallint, objects, versions, bytes FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k (bucket_id, objects, versions, bytes)
      ON CONFLICT (bucket_id, shard) DO UPDATE SET objects = u.objects + excluded.objects, versions = u.versions + excluded.versions, bytes = u.bytes + excluded.bytes`,
    values: [
      numberArray(changed.map(([bucketId]) => bucketId)), numberArray(changed.map(([, usage]) => usage.objects)),
      numberArray(changed.map(([, usage]) => usage.versions)), numberArray(changed.map(([, usage]) => usage.bytes)), shard,
    ],
  }
}

function count(usage: Usage, current: VersionRow | null, noncurrent: ReadonlyMap<number, NoncurrentRow>, sign: 1 | -1): void {
  if (current !== null) {
    if (!current.deleteMarker) usage.objects += sign
    usage.versions += sign
    usage.bytes += sign * current.size
  }
  usage.versions += sign * noncurrent.size
  for (const { row } of noncurrent.values()) usage.bytes += sign * row.size
}
