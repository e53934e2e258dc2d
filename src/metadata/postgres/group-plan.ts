import { randomFillSync } from 'node:crypto'
import { evaluateDelete, evaluateWrite } from '../../domain/conditions.ts'
import type { VersionContent, VersioningStatus } from '../../domain/model.ts'
import { parseVersionId, planDelete, planDeleteVersion, planPut, type CurrentFate, type PutPlan, type Standing } from '../../versioning/versions.ts'
import type { DeleteCommand, DeleteResult, PutCommand, PutResult, PutTagsCommand, PutTagsResult, SharedSource } from '../store.ts'
import {
  addReferences, keyState, newestNoncurrent, noncurrentNull, takeSequence, type BucketState, type GroupState, type KeyState, type NoncurrentRow,
} from './group-state.ts'
import { extentsOf, newVersionRow, objectOf, tagsText, versionIdOfRow, type VersionRow } from './rows.ts'

export function planPutCommand(state: GroupState, command: PutCommand): PutResult {
  const bucket = state.buckets.get(command.bucketId)
  if (bucket === undefined) return { ok: false, code: 'NoSuchBucket' }
  const { versioning } = bucket
  const key = keyState(state, command.bucketId, command.key)
  const refused = evaluateWrite(command.when, visible(key.current))
  if (refused !== null) return { ok: false, ...refused }
  if (command.sharedFrom !== undefined && !sourceIsThere(state, command.sharedFrom)) return { ok: false, code: 'SourceGone' }
  // The new references come first: a copy onto itself releases the same blobs that it keeps.
  addReferences(state, command.content.manifest, command.sharedFrom !== undefined)
  const row = makeCurrent(state, key, bucket, command.ownerAccountId, command.content)
  if (command.carried) state.carried.push({ ...command.carried, seq: row.seq })
  return { ok: true, version: objectOf(row, true, command.content), versioning }
}

/** The version that a copy takes its bytes from must exist when the copy is committed. */
export function sourceIsThere(state: GroupState, source: SharedSource): boolean {
  const key = state.keys.get(source.bucketId, source.key)
  return key !== undefined && (key.current?.seq === source.seq || key.noncurrent.has(source.seq))
}

/** Writes a new current version (a delete marker when `content` is null) by the bucket's versioning status. */
export function makeCurrent(state: GroupState, key: KeyState, bucket: BucketState, owner: string, content: VersionContent | null): VersionRow {
  const plan = planPut(bucket.versioning, standing(key.current), noncurrentNull(key) !== null)
  return applyPut(state, key, bucket, plan, owner, content)
}

function applyPut(
  state: GroupState, key: KeyState, bucket: BucketState, plan: PutPlan, owner: string, content: VersionContent | null,
): VersionRow {
  const row = newVersionRow({
    bucketId: key.bucketId, key: key.key, seq: takeSequence(state), nonce: plan.isNull ? null : randomNonce(), lastModified: state.now,
    owner: owner === bucket.accountId ? null : owner, content, before: bucket.versioning === 'off' ? undefined : key.current,
  })
  const replaced = plan.removeNoncurrentNull ? noncurrentNull(key) : null
  if (replaced !== null) removeNoncurrent(state, key, replaced)
  retire(state, key, plan.current, row.seq)
  key.current = row
  return row
}

function retire(state: GroupState, key: KeyState, fate: CurrentFate, seq: number): void {
  const { current } = key
  if (current === null || fate === 'none' || fate === 'keep') return
  if (fate === 'demote') key.noncurrent.set(current.seq, { row: current, noncurrentSeq: seq })
  else release(state, current)
}

export function planDeleteCommand(state: GroupState, command: DeleteCommand): DeleteResult {
  const bucket = state.buckets.get(command.bucketId)
  if (bucket === undefined) return { ok: false, code: 'NoSuchBucket' }
  const { versioning } = bucket
  const key = keyState(state, command.bucketId, command.key)
  if (command.versionId !== undefined) return planVersionDelete(state, command, key, command.versionId, versioning)
  const refused = evaluateDelete(command.when, target(key.current))
  if (refused !== null) return { ok: false, ...refused }
  const plan = planDelete(versioning, standing(key.current), noncurrentNull(key) !== null)
  if (plan.kind === 'nothing') return { ok: true, versionId: null, deleteMarker: false, versioning }
  if (plan.kind === 'remove-current') {
    removeCurrent(state, key, plan.promote)
    return { ok: true, versionId: null, deleteMarker: false, versioning }
  }
  const marker = applyPut(state, key, bucket, plan.put, command.ownerAccountId, null)
  return { ok: true, versionId: versionIdOfRow(marker), deleteMarker: true, versioning }
}

/** A version that is not there is deleted already: S3 answers as if it had been. */
function planVersionDelete(state: GroupState, command: DeleteCommand, key: KeyState, versionId: string, versioning: VersioningStatus): DeleteResult {
  const named = findVersion(key, versionId)
  const refused = evaluateDelete(command.when, target(named?.row ?? null))
  if (refused !== null) return { ok: false, ...refused }
  const where = named === null ? null : { where: named.noncurrent === null ? 'current' as const : 'noncurrent' as const, isDeleteMarker: named.row.deleteMarker }
  const plan = planDeleteVersion(where, key.noncurrent.size > 0)
  if (plan.kind === 'nothing') return { ok: true, versionId, deleteMarker: false, versioning }
  if (plan.kind === 'remove-current') removeCurrent(state, key, plan.promote)
  else if (named?.noncurrent) removeNoncurrent(state, key, named.noncurrent)
  return { ok: true, versionId, deleteMarker: plan.deleteMarker, versioning }
}

export function planPutTags(state: GroupState, command: PutTagsCommand): PutTagsResult {
  const bucket = state.buckets.get(command.bucketId)
  if (bucket === undefined) return { ok: false, code: 'NoSuchBucket' }
  const { versioning } = bucket
  const key = keyState(state, command.bucketId, command.key)
  const named = command.versionId === undefined ? current(key) : findVersion(key, command.versionId)
  if (named === null) return { ok: false, code: command.versionId === undefined ? 'NoSuchKey' : 'NoSuchVersion' }
  if (named.row.deleteMarker) return { ok: false, code: command.versionId === undefined ? 'NoSuchKey' : 'MethodNotAllowed' }
  const row = { ...named.row, tags: tagsText(command.tags) }
  if (named.noncurrent === null) key.current = row
  else key.noncurrent.set(row.seq, { ...named.noncurrent, row })
  return { ok: true, versionId: versionIdOfRow(row), versioning }
}

interface NamedVersion {
  readonly row: VersionRow
  /** Null when it is the current one. */
  readonly noncurrent: NoncurrentRow | null
}

const current = (key: KeyState): NamedVersion | null => (key.current === null ? null : { row: key.current, noncurrent: null })

function findVersion(key: KeyState, versionId: string): NamedVersion | null {
  const id = parseVersionId(versionId)
  if (id === undefined) return null
  if (id === 'null') {
    if (key.current?.isNull === true) return current(key)
    const noncurrent = noncurrentNull(key)
    return noncurrent === null ? null : { row: noncurrent.row, noncurrent }
  }
  const noncurrent = key.noncurrent.get(id.seq) ?? null
  const row = noncurrent?.row ?? (key.current?.seq === id.seq ? key.current : null)
  return row !== null && versionIdOfRow(row) === versionId ? { row, noncurrent } : null
}

function removeCurrent(state: GroupState, key: KeyState, promote: boolean): void {
  if (key.current !== null) release(state, key.current)
  const next = promote ? newestNoncurrent(key) : null
  key.current = next?.row ?? null
  if (next !== null) key.noncurrent.delete(next.row.seq)
}

function removeNoncurrent(state: GroupState, key: KeyState, noncurrent: NoncurrentRow): void {
  key.noncurrent.delete(noncurrent.row.seq)
  release(state, noncurrent.row)
}

function release(state: GroupState, row: VersionRow): void {
  if (row.manifest !== null) state.released.push(...extentsOf(row.manifest))
}

/** Conditions of writes see objects only: to them a delete marker is nothing. */
export const visible = (row: VersionRow | null): VersionRow | null => (row === null || row.deleteMarker ? null : row)
const target = (row: VersionRow | null): VersionRow | 'delete-marker' | null => (row?.deleteMarker === true ? 'delete-marker' : row)
const standing = (row: VersionRow | null): Standing | null => (row === null ? null : { isNull: row.isNull, isDeleteMarker: row.deleteMarker })

const randomPool = new BigUint64Array(512)
let randomLeft = 0

/** 64 random bits; taken in bulk, because a call to the generator costs more than the bits. */
function randomNonce(): bigint {
  if (randomLeft === 0) {
    randomFillSync(randomPool)
    randomLeft = randomPool.length
  }
  return randomPool[--randomLeft] as bigint
}
