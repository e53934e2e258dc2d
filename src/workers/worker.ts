import { fdatasyncSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { createHasher } from '../checksums/algorithms.ts'
import { failpoint } from '../domain/failpoint.ts'
import type { ChecksumAlgorithm } from '../domain/model.ts'
import { ioFailure, syncFolder, SyncError, writeFully } from '../storage/backend.ts'
import type { IoFailure } from '../storage/backend.ts'
import { serveLane } from './lanes.ts'
import type { LaneEnd } from './lanes.ts'
import { sealBodies } from './seal.ts'
import type { BatchBodies, Sealed } from './seal.ts'

export { serveReads } from './readers.ts'
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
  /** Sealed: the records are whole already. */
  readonly bodies: BatchBodies | Sealed
}

export interface BatchOutcome extends Sealed {
  /** Bytes that the segment grew by, the head included; nothing was written when all bodies were refused. */
  readonly written: number
  readonly failure: IoFailure | null
  /** How long the sync took; 0 without one. */
  readonly syncSeconds: number
}

/** Writes the groups of one lane, as long as it lasts. */
export const serveBatches = (lane: LaneEnd): void => serveLane(lane, batch)

/** Hashes a group of bodies, closes the gaps of refused ones, appends the rest with one write and one fdatasync. */
export function batch(task: BatchTask): BatchOutcome {
  const { bodies } = task
  const buffer = Buffer.from(task.buffer)
  const sealed = 'end' in bodies ? bodies : sealBodies({ ...task, bodies }, buffer)
  if (sealed.end === task.headBytes) return { written: 0, failure: null, syncSeconds: 0, ...sealed }
  let began = 0
  try {
    writeFully(task.fd, buffer.subarray(0, sealed.end), task.at)
    failpoint?.('group appended')
    began = performance.now()
    if (task.synced) sync(task.fd)
    failpoint?.('group synced')
    if (task.synced && task.newIn !== null) syncFolder(task.newIn)
    failpoint?.('group durable')
  } catch (error) {
    return { written: 0, failure: ioFailure(error), syncSeconds: 0, ...sealed }
  }
  return { written: sealed.end, failure: null, syncSeconds: (performance.now() - began) / 1000, ...sealed }
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
