import type { DeleteConditions, WriteConditions } from './model.ts'

/**
 * Conditions of reads and writes, as pure rules. ETags are compared strongly and without quotes; times by the second,
 * because HTTP dates have no fractions.
 */

/** Conditions of a read or of a copy's source: ETag lists as `protocol/headers.ts` decodes them, times in epoch ms. */
export interface ReadConditions {
  readonly ifMatch?: EtagList
  readonly ifNoneMatch?: EtagList
  readonly ifModifiedSince?: number
  readonly ifUnmodifiedSince?: number
}

/** `*`, or ETags without quotes. */
export type EtagList = '*' | readonly string[]

/** What a condition is held against. `lastModified` in epoch ms. */
export interface Validators {
  readonly etag: string
  readonly lastModified: number
}

export type ReadOutcome = 'ok' | 'not-modified' | 'precondition-failed'

const matches = (list: EtagList, etag: string): boolean => list === '*' || list.includes(etag)
const seconds = (ms: number): number => Math.floor(ms / 1000)

/** If-None-Match alone is compared weakly (RFC 9110, 13.1.2): a proxy that compressed the answer has marked its ETag as weak. */
const withoutWeakMark = (tag: string): string => /^W\/"(.*)"$/.exec(tag)?.[1] ?? tag

/**
 * RFC 9110, 13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since. A header that is
 * shadowed by a stronger one is not looked at.
 */
export function evaluateRead(conditions: ReadConditions, current: Validators): ReadOutcome {
  if (conditions.ifMatch !== undefined) {
    if (!matches(conditions.ifMatch, current.etag)) return 'precondition-failed'
  } else if (conditions.ifUnmodifiedSince !== undefined && seconds(current.lastModified) > seconds(conditions.ifUnmodifiedSince)) {
    return 'precondition-failed'
  }
  if (conditions.ifNoneMatch !== undefined) {
    const list = conditions.ifNoneMatch
    if (matches(list === '*' ? list : list.map(withoutWeakMark), current.etag)) return 'not-modified'
  } else if (conditions.ifModifiedSince !== undefined && seconds(current.lastModified) <= seconds(conditions.ifModifiedSince)) {
    return 'not-modified'
  }
  return 'ok'
}

/**
 * If-Range: whether the Range of a read still means this object; a client that resumes a download gets the whole object when it
 * has changed. An ETag is compared strongly, a time exactly (RFC 9110, 13.1.5).
 */
export function rangeHolds(ifRange: { readonly etag: string } | { readonly lastModified: number } | undefined, current: Validators): boolean {
  if (ifRange === undefined) return true
  return 'etag' in ifRange ? ifRange.etag === current.etag : seconds(ifRange.lastModified) === seconds(current.lastModified)
}

/** The x-amz-copy-source-if-* headers follow the same order, but every failure is 412. Source: CopyObject's API reference. */
export function evaluateCopySource(conditions: ReadConditions, source: Validators): 'ok' | 'precondition-failed' {
  return evaluateRead(conditions, source) === 'ok' ? 'ok' : 'precondition-failed'
}

/** The committer answers this as its `Refused` result. */
export interface ConditionRefusal {
  readonly code: 'NoSuchKey' | 'PreconditionFailed'
  readonly condition?: 'If-Match' | 'If-None-Match' | 'x-amz-if-match-last-modified-time' | 'x-amz-if-match-size'
}

/**
 * Conditions of a write against the current object; null when there is none or a delete marker is current.
 * If-Match without an object is NoSuchKey, not 412. Source: Amazon S3 user guide, "Conditional writes".
 */
export function evaluateWrite(when: WriteConditions, current: { readonly etag: string } | null): ConditionRefusal | null {
  if (when.ifNoneMatch !== undefined && current && (when.ifNoneMatch === '*' || when.ifNoneMatch === current.etag)) {
    return { code: 'PreconditionFailed', condition: 'If-None-Match' }
  }
  if (when.ifMatch === undefined) return null
  if (!current) return { code: 'NoSuchKey' }
  return when.ifMatch === '*' || when.ifMatch === current.etag ? null : { code: 'PreconditionFailed', condition: 'If-Match' }
}

/**
 * Conditions of a delete against the current version of the key, null when there is none. If-Match needs an object:
 * NoSuchKey when there is nothing, PreconditionFailed when a delete marker is current. Time (by the second) and size hold
 * where there is no object, because then nothing that the client did not know of is deleted.
 * Source: Amazon S3 user guide, "How to perform conditional deletes"; DeleteObject's API reference.
 */
export function evaluateDelete(
  when: DeleteConditions, current: { readonly etag: string; readonly lastModified: number; readonly size: number } | 'delete-marker' | null,
): ConditionRefusal | null {
  if (current === null || current === 'delete-marker') {
    if (when.ifMatch === undefined) return null
    return current === null ? { code: 'NoSuchKey' } : { code: 'PreconditionFailed', condition: 'If-Match' }
  }
  if (when.ifMatch !== undefined && when.ifMatch !== '*' && when.ifMatch !== current.etag) {
    return { code: 'PreconditionFailed', condition: 'If-Match' }
  }
  if (when.ifMatchLastModified !== undefined && seconds(when.ifMatchLastModified) !== seconds(current.lastModified)) {
    return { code: 'PreconditionFailed', condition: 'x-amz-if-match-last-modified-time' }
  }
  if (when.ifMatchSize !== undefined && when.ifMatchSize !== current.size) return { code: 'PreconditionFailed', condition: 'x-amz-if-match-size' }
  return null
}
