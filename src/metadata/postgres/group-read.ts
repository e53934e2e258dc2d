import type { VersioningStatus } from '../../domain/model.ts'
import { parseVersionId } from '../../versioning/versions.ts'
import type { Command, PutCommand, SharedSource } from '../store.ts'
import { numberArray, textArray } from './arrays.ts'
import type { Statement } from './connect.ts'
import type { GroupState, KeyState, NoncurrentRow, PartRow, UploadRow } from './group-state.ts'
import { KeyMap } from './key-map.ts'
import { keyList, lookedUp, lookUp, ofKey } from './look-up.ts'
import { bucketLock, keyLock, partLock, uploadLock, type LockSet } from './locks.ts'
import { versionColumns, versionRow, type VersionRow, type WireRow } from './rows.ts'

/** What a group of commands must lock and read before it can be planned. */
export interface GroupNeeds {
  readonly locks: LockSet
  readonly buckets: Set<number>
  readonly keys: KeyMap<KeyNeed>
  readonly uploads: Set<string>
  /** Uploads of which every part is needed. */
  readonly wholeUploads: Set<string>
  readonly parts: { readonly uploadId: string; readonly partNumber: number }[]
  sequence: number
  /** Nothing but deletes of whatever is current: where versions are not kept, the look at the rows can remove them. */
  readonly removals: boolean
}

interface KeyNeed {
  readonly bucketId: number
  readonly key: string
  readonly seqs: Set<number>
  commands: number
  /** A removal of the current version promotes the newest one below. */
  promotes: boolean
}

/** A command, or as much of a put as says what it needs. */
export type Needing = Command | Pick<PutCommand, 'kind' | 'bucketId' | 'key' | 'sharedFrom'>

export function needsOf(commands: readonly Needing[]): GroupNeeds {
  const needs: GroupNeeds = {
    locks: { exclusive: [], shared: [] }, buckets: new Set(), keys: new KeyMap(), uploads: new Set(), wholeUploads: new Set(), parts: [], sequence: 0,
    removals: commands.every(isRemoval),
  }
  for (const command of commands) addNeeds(needs, command)
  return needs
}

const isRemoval = (command: Needing): boolean => command.kind === 'delete' && command.versionId === undefined && Object.keys(command.when).length === 0

function addNeeds(needs: GroupNeeds, command: Needing): void {
  if (!needs.buckets.has(command.bucketId)) needs.locks.shared.push(bucketLock(command.bucketId))
  needs.buckets.add(command.bucketId)
  switch (command.kind) {
    case 'put':
    case 'delete':
    case 'complete':
      needKey(needs, command.bucketId, command.key)
      needs.sequence++
      break
    case 'put-tags':
      needKey(needs, command.bucketId, command.key)
      break
    case 'put-part':
      needs.uploads.add(command.uploadId)
      needs.parts.push({ uploadId: command.uploadId, partNumber: command.part.partNumber })
      needs.locks.shared.push(uploadLock(command.uploadId))
      needs.locks.exclusive.push(partLock(command.uploadId, command.part.partNumber))
      break
    case 'abort':
  }
  if (command.kind === 'complete' || command.kind === 'abort') {
    needs.uploads.add(command.uploadId)
    needs.wholeUploads.add(command.uploadId)
    needs.locks.exclusive.push(uploadLock(command.uploadId))
  }
  if ((command.kind === 'delete' || command.kind === 'put-tags') && command.versionId !== undefined) needVersion(needs, command, command.versionId)
  if ((command.kind === 'put' || command.kind === 'put-part') && command.sharedFrom !== undefined) needSource(needs, command.sharedFrom)
}

function needKey(needs: GroupNeeds, bucketId: number, key: string): KeyNeed {
  needs.locks.exclusive.push(keyLock(bucketId, key))
  const need = readKey(needs, bucketId, key)
  need.commands++
  return need
}

function readKey(needs: GroupNeeds, bucketId: number, key: string): KeyNeed {
  const found = needs.keys.get(bucketId, key)
  if (found !== undefined) return found
  const need: KeyNeed = { bucketId, key, seqs: new Set(), commands: 0, promotes: false }
  needs.keys.set(bucketId, key, need)
  return need
}

function needVersion(needs: GroupNeeds, command: { readonly kind: string; readonly bucketId: number; readonly key: string }, versionId: string): void {
  const need = readKey(needs, command.bucketId, command.key)
  const id = parseVersionId(versionId)
  if (id !== undefined && id !== 'null') need.seqs.add(id.seq)
  need.promotes ||= command.kind === 'delete'
}

/** The source of a copy only has to stay as it is: copies of one source may run side by side. */
function needSource(needs: GroupNeeds, source: SharedSource): void {
  needs.locks.shared.push(keyLock(source.bucketId, source.key))
  readKey(needs, source.bucketId, source.key).seqs.add(source.seq)
}

type Fill = (state: GroupState, rows: readonly WireRow[]) => void

/** One read of the group: the statement, and how its rows get into the state. */
export interface GroupRead {
  readonly statement: Statement
  readonly fill: Fill
}

const columns = (table: string): string => versionColumns.map((column) => `${table}.${column}`).join(', ')

/**
 * What the plans of a group need, read in its first round trip behind BEGIN and the locks. Each statement has a snapshot of its own,
 * taken when the locks are held. `versioned` is needed only where a bucket of the group keeps versions, or ever did: a group that
 * does not expect that reads it in a round trip of its own once it has seen one.
 */
export function groupReads(needs: GroupNeeds): { readonly always: readonly GroupRead[]; readonly versioned: readonly GroupRead[] } {
  const keys = needs.keys.values()
  const { always, versioned } = keys.length > 0 ? keyReads(keys, needs) : { always: [], versioned: [] }
  return {
    always: [
      { statement: { name: 'buckets', text: 'SELECT id, versioning, account_id FROM buckets WHERE id = ANY ($1::integer[])', values: [numberArray([...needs.buckets])] }, fill: fillBuckets },
      ...always,
      ...needs.uploads.size > 0 ? uploadReads(needs) : [],
      // A deletion makes a version where versions are kept only.
      transactionRead(needs.removals ? 0 : needs.sequence),
    ],
    versioned: needs.removals ? [...versioned, transactionRead(needs.sequence)] : versioned,
  }
}

/** The transaction's id, which tells after a lost connection whether it was committed, and numbers of the version sequence. */
const transactionRead = (count: number): GroupRead => ({
  statement: {
    name: 'transaction',
    text: `SELECT pg_current_xact_id()::text, (SELECT array_to_string(array_agg(nextval('version_sequence')), ',') FROM generate_series(1, $1::integer))`,
    values: [count],
  },
  fill: fillTransaction,
})

function fillTransaction(state: GroupState, rows: readonly WireRow[]): void {
  const [id, sequence] = rows[0] ?? []
  state.transactionId = id ?? null
  if (sequence) state.sequence.push(...sequence.split(',').map(Number))
}

/** Whether any bucket of the group keeps versions, or ever did; asked once for each statement. */
const keepsVersions = `EXISTS (SELECT FROM buckets WHERE id = ANY ($3::integer[]) AND versioning <> 'off')`

const currentText = `SELECT ${columns('o')} FROM ${keyList}, ${lookUp('objects', 'o', ofKey('objects'))}`
const removeCurrentText = `DELETE FROM objects WHERE NOT ${keepsVersions} AND ${lookedUp('objects', keyList, ofKey('v'))} RETURNING ${columns('objects')}`

/** A key has one null version at most, and one delete marker at most that is current: each has an index of its own. */
const special = (condition: string): string => `SELECT ${columns('n')}, n.noncurrent_seq
  FROM ${keyList}, ${lookUp('noncurrent_versions', 'n', `${ofKey('noncurrent_versions')} AND ${condition}`)} WHERE ${keepsVersions}`

const specialText = `${special('nonce IS NULL')} UNION ALL ${special('noncurrent_seq IS NULL')}`
const namedText = `SELECT ${columns('n')}, n.noncurrent_seq FROM unnest($1::integer[], $2::text[], $3::bigint[]) AS k (bucket_id, key, seq),
  ${lookUp('noncurrent_versions', 'n', `${ofKey('noncurrent_versions')} AND noncurrent_versions.seq = k.seq`)}`
const newestText = `SELECT ${columns('n')}, n.noncurrent_seq FROM unnest($1::integer[], $2::text[], $3::integer[]) AS k (bucket_id, key, count),
  LATERAL (SELECT * FROM noncurrent_versions v WHERE ${ofKey('v')} AND v.noncurrent_seq IS NOT NULL ORDER BY v.seq DESC LIMIT k.count) n`
const currentVersionedText = `${currentText} WHERE ${keepsVersions}`

function keyReads(keys: readonly KeyNeed[], { buckets, removals }: GroupNeeds): { always: GroupRead[]; versioned: GroupRead[] } {
  const names = [numberArray(keys.map((need) => need.bucketId)), textArray(keys.map((need) => need.key))]
  const namesAndBuckets = [...names, numberArray([...buckets])]
  const special: GroupRead = { statement: { name: 'noncurrent_special', text: specialText, values: namesAndBuckets }, fill: fillNoncurrent }
  if (removals) {
    return {
      always: [{ statement: { name: 'remove_current', text: removeCurrentText, values: namesAndBuckets }, fill: fillRemoved }],
      versioned: [{ statement: { name: 'current_versioned', text: currentVersionedText, values: namesAndBuckets }, fill: fillCurrent }, special],
    }
  }
  const reads: GroupRead[] = [{ statement: { name: 'current', text: currentText, values: names }, fill: fillCurrent }]
  const named = keys.flatMap((need) => [...need.seqs].map((seq) => ({ need, seq })))
  if (named.length > 0) {
    reads.push({
      statement: {
        name: 'noncurrent_named',
        text: namedText,
        values: [numberArray(named.map(({ need }) => need.bucketId)), textArray(named.map(({ need }) => need.key)), numberArray(named.map(({ seq }) => seq))],
      },
      fill: fillNoncurrent,
    })
  }
  const promoting = keys.filter((need) => need.promotes)
  if (promoting.length > 0) {
    reads.push({
      statement: {
        name: 'noncurrent_newest',
        text: newestText,
        // Each command takes away one version at most: one more than that leaves the one to promote.
        values: [
          numberArray(promoting.map((need) => need.bucketId)), textArray(promoting.map((need) => need.key)), numberArray(promoting.map((need) => need.commands + 1)),
        ],
      },
      fill: fillNoncurrent,
    })
  }
  return { always: reads, versioned: [special] }
}

export const uploadColumns =
  'upload_id, bucket_id, key, initiated_at, initiator_id, initiator_name, owner_account_id, metadata, tags, checksum_algorithm, checksum_type'
const partColumns = 'p.upload_id, p.part_number, p.size, p.etag, p.checksum_algorithm, p.checksum_type, p.checksum_value, p.last_modified, p.manifest'

function uploadReads(needs: GroupNeeds): GroupRead[] {
  const reads: GroupRead[] = [{
    statement: { name: 'uploads', text: `SELECT ${uploadColumns}, state, request_hash, result FROM uploads WHERE upload_id = ANY ($1::text[])`, values: [textArray([...needs.uploads])] },
    fill: fillUploads,
  }]
  if (needs.parts.length > 0) {
    reads.push({
      statement: {
        name: 'parts_named',
        text: `SELECT ${partColumns} FROM unnest($1::text[], $2::integer[]) AS k (upload_id, part_number),
          ${lookUp('parts', 'p', 'parts.upload_id = k.upload_id AND parts.part_number = k.part_number')}`,
        values: [textArray(needs.parts.map((part) => part.uploadId)), numberArray(needs.parts.map((part) => part.partNumber))],
      },
      fill: fillParts,
    })
  }
  if (needs.wholeUploads.size > 0) {
    reads.push({
      statement: { name: 'parts_all', text: `SELECT ${partColumns} FROM parts p WHERE p.upload_id = ANY ($1::text[])`, values: [textArray([...needs.wholeUploads])] },
      fill: fillParts,
    })
  }
  return reads
}

/** Every key is there from the start, so that a key without rows is known to have none. */
export function emptyState(needs: GroupNeeds): GroupState {
  const keys = new KeyMap<KeyState>()
  for (const { bucketId, key } of needs.keys.values()) {
    keys.set(bucketId, key, { bucketId, key, current: null, currentBefore: null, noncurrent: new Map(), noncurrentBefore: none })
  }
  return { buckets: new Map(), keys, uploads: new Map(), transactionId: null, sequence: [], released: [], carried: [], shared: new Map(), removed: false, now: 0 }
}

/** Of most keys nothing is read but what is current. */
const none: ReadonlyMap<number, NoncurrentRow> = new Map()

/** A key's state before any plan has seen it. */
interface Filling extends Omit<KeyState, 'currentBefore' | 'noncurrentBefore'> {
  currentBefore: VersionRow | null
  noncurrentBefore: Map<number, NoncurrentRow>
}
const filling = (state: GroupState, { bucketId, key }: VersionRow): Filling => state.keys.get(bucketId, key) as Filling

function fillBuckets(state: GroupState, rows: readonly WireRow[]): void {
  for (const row of rows) state.buckets.set(Number(row[0]), { versioning: row[1] as VersioningStatus, accountId: row[2] as string })
}

function fillCurrent(state: GroupState, rows: readonly WireRow[]): void {
  for (const wire of rows) setCurrent(state, versionRow(wire))
}

function setCurrent(state: GroupState, row: VersionRow): void {
  const key = filling(state, row)
  // Two reads may find the same row: the first one stays, here and below, as before and now must be the same object.
  if (key.current !== null) return
  key.current = row
  key.currentBefore = row
}

/** Rows that are gone already, where every command of the group takes its key's away. */
function fillRemoved(state: GroupState, rows: readonly WireRow[]): void {
  fillCurrent(state, rows)
  if (rows.length > 0) state.removed = true
}

function fillNoncurrent(state: GroupState, rows: readonly WireRow[]): void {
  for (const wire of rows) {
    const row = versionRow(wire)
    const stopped = wire[versionColumns.length]
    if (stopped === null || stopped === undefined) {
      setCurrent(state, row)
      continue
    }
    const key = filling(state, row)
    if (key.noncurrent.has(row.seq)) continue
    const noncurrent: NoncurrentRow = { row, noncurrentSeq: Number(stopped) }
    key.noncurrent.set(row.seq, noncurrent)
    if (key.noncurrentBefore === none) key.noncurrentBefore = new Map()
    key.noncurrentBefore.set(row.seq, noncurrent)
  }
}

export function uploadRow(row: WireRow): UploadRow {
  return {
    uploadId: row[0] as string,
    bucketId: Number(row[1]),
    key: row[2] as string,
    initiatedAt: Number(row[3]),
    initiatorId: row[4] as string,
    initiatorName: row[5] as string,
    owner: row[6] as string,
    metadata: row[7] as string | null,
    tags: row[8] as string | null,
    checksumAlgorithm: row[9] as string | null,
    checksumType: row[10] as string | null,
  }
}

function fillUploads(state: GroupState, rows: readonly WireRow[]): void {
  for (const wire of rows) {
    const row = uploadRow(wire)
    const stored = wire[11] as 'open' | 'completed'
    state.uploads.set(row.uploadId, {
      row, state: stored, stateBefore: stored, requestHash: wire[12] as string | null, result: wire[13] as string | null, parts: new Map(), partsBefore: new Map(),
    })
  }
}

function fillParts(state: GroupState, rows: readonly WireRow[]): void {
  for (const wire of rows) {
    const upload = state.uploads.get(wire[0] as string)
    if (upload === undefined) continue
    const part: PartRow = {
      partNumber: Number(wire[1]),
      size: Number(wire[2]),
      etag: wire[3] as string,
      checksumAlgorithm: wire[4] as string | null,
      checksumType: wire[5] as string | null,
      checksumValue: wire[6] as string | null,
      lastModified: Number(wire[7]),
      manifest: wire[8] as string,
    }
    if (upload.parts.has(part.partNumber)) continue
    upload.parts.set(part.partNumber, part);
    (upload.partsBefore as Map<number, PartRow>).set(part.partNumber, part)
  }
}
