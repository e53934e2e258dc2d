import type { VersionContent, VersioningStatus } from '../../src/domain/model.ts'

/**
 * What S3 says of versions, as plainly as it can be written: for each key a list of versions, newest first. Ids are the real ones,
 * learnt from the answers.
 */
export interface ModelVersion {
  versionId: string
  /** Null: a delete marker. */
  content: VersionContent | null
}

export interface Model {
  versioning: VersioningStatus
  keys: Map<string, ModelVersion[]>
}

export const emptyModel = (): Model => ({ versioning: 'off', keys: new Map() })

const versionsOf = (model: Model, key: string): ModelVersion[] => {
  const found = model.keys.get(key) ?? []
  model.keys.set(key, found)
  return found
}

/** Source: Amazon S3 user guide, "Adding objects to versioning-enabled buckets" and "... versioning-suspended buckets". */
export function modelPut(model: Model, key: string, content: VersionContent | null, versionId: string): void {
  const versions = versionsOf(model, key)
  if (model.versioning !== 'enabled') removeVersion(versions, 'null')
  versions.unshift({ versionId, content })
}

/** Source: Amazon S3 user guide, "Deleting object versions from a versioning-enabled bucket" and "... suspended". */
export function modelDelete(model: Model, key: string, versionId: string | undefined, made: string | null): void {
  if (versionId !== undefined) removeVersion(versionsOf(model, key), versionId)
  else if (model.versioning === 'off') versionsOf(model, key).splice(0, 1)
  else modelPut(model, key, null, made ?? '')
}

export function modelVersion(model: Model, key: string, versionId: string | undefined): ModelVersion | undefined {
  const versions = versionsOf(model, key)
  return versionId === undefined ? versions[0] : versions.find((version) => version.versionId === versionId)
}

function removeVersion(versions: ModelVersion[], versionId: string): void {
  const at = versions.findIndex((version) => version.versionId === versionId)
  if (at >= 0) versions.splice(at, 1)
}
