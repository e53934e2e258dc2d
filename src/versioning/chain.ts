import { createHash } from 'node:crypto'

/**
 * The hash chain of a key's versions: each version's hash covers the one before, so that a version that was changed,
 * dropped or slipped in shows. SHA-256 over a byte string in which every field has its length in front, so that no two
 * versions have the same bytes.
 */
export interface ChainedVersion {
  readonly bucketId: number
  readonly key: string
  readonly seq: number
  readonly versionId: string
  readonly isDeleteMarker: boolean
  /** '' for a delete marker. */
  readonly etag: string
  /** 0 for a delete marker. */
  readonly size: number
  /** Epoch ms. */
  readonly lastModified: number
}

const chainFormat = 'holdfast-chain-1'

/** 32 bytes. `previous` is the hash of the version before of the same key, null for the first. */
export function chainHash(previous: Uint8Array | null, version: ChainedVersion): Uint8Array {
  const hash = createHash('sha256')
  const fields = [
    chainFormat, String(version.bucketId), version.key, String(version.seq), version.versionId,
    version.isDeleteMarker ? 'delete-marker' : 'object', version.etag, String(version.size), String(version.lastModified),
  ]
  hash.update(previous === null ? 'first:' : `${previous.length}:`)
  if (previous !== null) hash.update(previous)
  for (const field of fields) hash.update(`${Buffer.byteLength(field)}:${field}`)
  return hash.digest()
}

export interface ChainLink extends ChainedVersion {
  readonly hash: Uint8Array
  /** As it was stored: the version before may have been deleted for good since. */
  readonly previousHash: Uint8Array | null
}

export type ChainFault =
  /** The version is not what was written. */
  | { readonly kind: 'changed'; readonly versionId: string }
  /** Its predecessor is not the version that the chain shows; no fault when that one was deleted for good. */
  | { readonly kind: 'gap'; readonly versionId: string }

/** Checks the versions of one key, oldest first. Gaps are reported, and are a matter for the caller: deleting a version makes one. */
export function verifyChain(versions: readonly ChainLink[]): ChainFault[] {
  const faults: ChainFault[] = []
  let previous: Uint8Array | null = null
  for (const version of versions) {
    if (!equal(chainHash(version.previousHash, version), version.hash)) faults.push({ kind: 'changed', versionId: version.versionId })
    else if (!equal(version.previousHash, previous)) faults.push({ kind: 'gap', versionId: version.versionId })
    previous = version.hash
  }
  return faults
}

const equal = (a: Uint8Array | null, b: Uint8Array | null): boolean => a === null || b === null ? a === b : Buffer.compare(a, b) === 0
