import { fdatasyncSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { createHasher } from '../checksums/algorithms.ts'
import { failpoint } from '../domain/failpoint.ts'
import type { ChecksumAlgorithm } from '../domain/model.ts'
import { ioFailure, recordBytes, recordHeaderBytes, sealRecord, syncFolder, SyncError, writeFully } from '../storage/backend.ts'
import type { IoFailure } from '../storage/backend.ts'
import { createDigester } from './digester.ts'
import type { ChunkMark, Digested, DigestEnd, DigestPlan, Refusal } from './digester.ts'
import { serveLane } from './lanes.ts'
import type { LaneEnd } from './lanes.ts'

export { upload } from './upload.ts'
export type { UploadMessage, UploadOutcome, UploadTask } from './upload.ts'

/** A group of small bodies, laid out in `buffer` as records whose headers are not written yet, one right behind the other. */
export interface BatchTask {
  readonly buffer: SharedArrayBuffer
  /** Descriptor of the segment: descriptors belong to the process, not to a thread. */
  readonly fd: number
  /** Offset in the segment at which the buffer's first byte belongs. */
  readonly at: number
  /** Bytes at the buffer's start that precede the first record: the segment's header, or none. */
  readonly headBytes: number
  /** Folder to sync, when the segment's file is new. */
  readonly newIn: string | null
  /** False under HOLDFAST_DURABILITY=relaxed: the group is written but not synced. */
  readonly synced: boolean
  readonly bodies: BatchBodies
}

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
export interface BatchOutcome {
  /** Bytes that the segment grew by, the head included; nothing was written when all bodies were refused. */
  readonly written: number
  readonly failure: IoFailure | null
  /** How long the sync took; 0 without one. */
  readonly syncSeconds: number
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

/** Writes the groups of one lane, as long as it lasts. */
export const serveBatches = (lane: LaneEnd): void => serveLane(lane, batch)

/** Hashes a group of bodies, closes the gaps of refused ones, appends the rest with one write and one fdatasync. */
export function batch(task: BatchTask): BatchOutcome {
  const buffer = Buffer.from(task.buffer)
  const { end, ...answers } = sealBodies(task, buffer)
  if (end === task.headBytes) return { written: 0, failure: null, syncSeconds: 0, ...answers }
  let began = 0
  try {
    writeFully(task.fd, buffer.subarray(0, end), task.at)
    failpoint?.('group appended')
    began = performance.now()
    if (task.synced) sync(task.fd)
    failpoint?.('group synced')
    if (task.synced && task.newIn !== null) syncFolder(task.newIn)
    failpoint?.('group durable')
  } catch (error) {
    return { written: 0, failure: ioFailure(error), syncSeconds: 0, ...answers }
  }
  return { written: end, failure: null, syncSeconds: (performance.now() - began) / 1000, ...answers }
}

/** Digests each body and makes a record of the good ones; `end` is where the last record ends in the buffer. */
function sealBodies({ bodies, headBytes, at: base }: BatchTask, buffer: Buffer): Omit<BatchOutcome, 'written' | 'failure' | 'syncSeconds'> & { end: number } {
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

function sync(fd: number): void {
  try {
    fdatasyncSync(fd)
  } catch (error) {
    throw new SyncError(error)
  }
}

export interface DigestTask {
  readonly port: MessagePort
  readonly algorithms: readonly (ChecksumAlgorithm | 'MD5')[]
}

/** Hashes what comes over the port, one message at a time, until null. Resolves with base64 by algorithm. */
export function digest(task: DigestTask): Promise<Record<string, string>> {
  const hashers = task.algorithms.map((algorithm) => ({ algorithm, hasher: createHasher(algorithm) }))
  return new Promise((resolve) => {
    task.port.on('message', (bytes: Uint8Array | null) => {
      for (const { hasher } of hashers) if (bytes !== null) hasher.update(bytes)
      if (bytes !== null) task.port.postMessage(null, [])
      else resolve(Object.fromEntries(hashers.map(({ algorithm, hasher }) => [algorithm, hasher.digestBase64()])))
    })
    task.port.on('close', () => resolve({}))
  })
}
