import { evaluateWrite } from '../../domain/conditions.ts'
import type { ChecksumAlgorithm, ChecksumType, Extent, MultipartUpload, Part } from '../../domain/model.ts'
import type { AbortCommand, AbortResult, CompleteCommand, CompletedVersion, CompleteResult, PutPartCommand, PutPartResult } from '../store.ts'
import { makeCurrent, sourceIsThere, visible } from './group-plan.ts'
import { addReferences, keyState, type GroupState, type PartRow, type UploadRow, type UploadState } from './group-state.ts'
import { checksumOf, extentsOf, manifestText, metadataOf, tagsOf, versionIdOfRow } from './rows.ts'

type Named = { readonly bucketId: number; readonly key: string; readonly uploadId: string }

function findUpload(state: GroupState, named: Named): UploadState | null {
  const upload = state.uploads.get(named.uploadId)
  return upload !== undefined && upload.row.bucketId === named.bucketId && upload.row.key === named.key ? upload : null
}

export function planPutPart(state: GroupState, command: PutPartCommand): PutPartResult {
  const upload = findUpload(state, command)
  if (upload === null || upload.state !== 'open') return { ok: false, code: 'NoSuchUpload' }
  if (command.sharedFrom !== undefined && !sourceIsThere(state, command.sharedFrom)) return { ok: false, code: 'SourceGone' }
  const { part } = command
  addReferences(state, part.manifest, command.sharedFrom !== undefined)
  const replaced = upload.parts.get(part.partNumber)
  if (replaced !== undefined) state.released.push(...extentsOf(replaced.manifest))
  upload.parts.set(part.partNumber, {
    partNumber: part.partNumber,
    size: part.size,
    etag: part.etag,
    checksumAlgorithm: part.checksum?.algorithm ?? null,
    checksumType: part.checksum?.type ?? null,
    checksumValue: part.checksum?.value ?? null,
    lastModified: state.now,
    manifest: manifestText(part.manifest),
  })
  return { ok: true, lastModified: state.now }
}

/** Happens once: the upload's row remembers the request and its result. */
export function planComplete(state: GroupState, command: CompleteCommand): CompleteResult {
  const bucket = state.buckets.get(command.bucketId)
  if (bucket === undefined) return { ok: false, code: 'NoSuchBucket' }
  const { versioning } = bucket
  const upload = findUpload(state, command)
  if (upload === null || upload.state === 'aborted') return { ok: false, code: 'NoSuchUpload' }
  if (upload.state === 'completed') {
    if (upload.requestHash !== command.requestHash || upload.result === null) return { ok: false, code: 'NoSuchUpload' }
    return { ok: true, version: JSON.parse(upload.result) as CompletedVersion, versioning, replay: true }
  }
  const key = keyState(state, command.bucketId, command.key)
  const stored = [...upload.parts.values()].sort((a, b) => a.partNumber - b.partNumber).map(partOfRow)
  const planned = command.plan(uploadOfRow(upload.row), stored)
  if ('error' in planned) return { ok: false, code: 'Planned', error: planned.error }
  const refused = evaluateWrite(command.when, visible(key.current))
  if (refused !== null) return { ok: false, ...refused }
  state.released.push(...surplus(stored, planned.content.manifest))
  const row = makeCurrent(state, key, bucket, upload.row.owner, planned.content)
  const version: CompletedVersion = { versionId: versionIdOfRow(row), etag: row.etag, checksum: planned.content.checksum }
  upload.state = 'completed'
  upload.requestHash = command.requestHash
  upload.result = JSON.stringify(version)
  upload.parts.clear()
  return { ok: true, version, versioning, replay: false }
}

export function planAbort(state: GroupState, command: AbortCommand): AbortResult {
  const upload = findUpload(state, command)
  if (upload === null || upload.state !== 'open') return { ok: false, code: 'NoSuchUpload' }
  for (const part of upload.parts.values()) state.released.push(...extentsOf(part.manifest))
  upload.state = 'aborted'
  upload.parts.clear()
  return { ok: true }
}

/** References that the parts hold and the new version does not take over: parts left out, and neighbours that became one extent. */
function surplus(parts: readonly Part[], manifest: readonly Extent[]): Extent[] {
  const kept = new Map<string, number>()
  for (const { blob } of manifest) kept.set(blob, (kept.get(blob) ?? 0) + 1)
  const left: Extent[] = []
  for (const part of parts) {
    for (const extent of part.manifest) {
      const count = kept.get(extent.blob) ?? 0
      if (count === 0) left.push(extent)
      else kept.set(extent.blob, count - 1)
    }
  }
  return left
}

export function uploadOfRow(row: UploadRow): MultipartUpload {
  return {
    uploadId: row.uploadId,
    bucketId: row.bucketId,
    key: row.key,
    initiatedAt: row.initiatedAt,
    initiator: { id: row.initiatorId, displayName: row.initiatorName },
    ownerAccountId: row.owner,
    metadata: metadataOf(row.metadata),
    tags: tagsOf(row.tags),
    storageClass: 'STANDARD',
    checksumAlgorithm: row.checksumAlgorithm as ChecksumAlgorithm | null,
    checksumType: row.checksumType as ChecksumType | null,
  }
}

export function partOfRow(row: PartRow): Part {
  return {
    partNumber: row.partNumber,
    size: row.size,
    etag: row.etag,
    checksum: checksumOf(row.checksumAlgorithm, row.checksumType, row.checksumValue),
    lastModified: row.lastModified,
    manifest: extentsOf(row.manifest),
  }
}
