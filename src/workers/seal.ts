import { recordBytes, recordHeaderBytes, sealRecord } from '../storage/backend.ts'
import { createDigester } from './digester.ts'
import type { ChunkMark, Digested, DigestEnd, DigestPlan, Refusal } from './digester.ts'

/**
 * The bodies of a group, a column for each property: the copy that crosses threads names a property once and not once a body.
 * What most bodies lack is sparse.
 */
export interface BatchBodies {
  /** Ids of 32 hex digits, one behind the other. */
  readonly blobs: string
  readonly lengths: readonly number[]
  readonly keyBytes: readonly number[]
  readonly bucketIds: readonly number[]
  /** The same object for bodies of the same plan is copied once. */
  readonly plans: readonly DigestPlan[]
  /** By place in the columns; bodies of which nothing was announced are not in it. */
  readonly announced: ReadonlyMap<number, Announced>
}

export interface Announced {
  readonly end: DigestEnd
  readonly marks: readonly ChunkMark[]
}

/** Answers to the bodies of a group. A refused body has an empty entry in both lists. */
export interface Sealed {
  /** Where the last record ends in the buffer. */
  readonly end: number
  /** Offset of each body's record in the segment, -1 for a refused one. */
  readonly at: readonly number[]
  /** Hex, with a space between two bodies. */
  readonly md5s: string
  /** Base64, with a space between two bodies. */
  readonly checksums: string
  /** By place in the columns. */
  readonly refusals: ReadonlyMap<number, Refusal>
}

const blobDigits = 32
const nothingAnnounced: Announced = { end: { checksums: [], trailer: null }, marks: [] }

/**
 * Digests each body of a group that lies in `buffer` as records without headers, one right behind the other; closes the gaps of refused
 * ones, and makes whole records of the rest. `headBytes` precede the first one, `base` is where the buffer's first byte belongs in the segment.
 */
export function sealBodies({ bodies, headBytes, at: base }: { readonly bodies: BatchBodies; readonly headBytes: number; readonly at: number }, buffer: Buffer): Sealed {
  const at: number[] = []
  const md5s: string[] = []
  const checksums: string[] = []
  const refusals = new Map<number, Refusal>()
  let start = headBytes
  let end = headBytes
  bodies.plans.forEach((plan, index) => {
    const length = bodies.lengths[index] ?? 0
    const keyBytes = bodies.keyBytes[index] ?? 0
    const from = start
    const bytes = recordBytes(length, keyBytes)
    start += bytes
    const digested = digestBody(plan, buffer.subarray(from + recordHeaderBytes, from + recordHeaderBytes + length), bodies.announced.get(index) ?? nothingAnnounced)
    at.push(digested.ok ? base + end : -1)
    md5s.push(digested.ok ? digested.md5 : '')
    checksums.push(digested.ok ? digested.checksum : '')
    if (!digested.ok) return void refusals.set(index, digested.refusal)
    if (from !== end) buffer.copyWithin(end, from, from + bytes)
    const blob = bodies.blobs.slice(index * blobDigits, (index + 1) * blobDigits)
    sealRecord(buffer.subarray(end, end + bytes), { blob, length, keyBytes, bucketId: bodies.bucketIds[index] ?? 0 })
    end += bytes
  })
  return { end, at, md5s: md5s.join(' '), checksums: checksums.join(' '), refusals }
}

function digestBody(plan: DigestPlan, bytes: Uint8Array, announced: Announced): Digested {
  const digester = createDigester(plan)
  const refusal = digester.update(bytes, announced.marks)
  return refusal === null ? digester.finish(announced.end) : { ok: false, refusal }
}
