import { fdatasyncSync, write, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import type { MessagePort } from 'node:worker_threads'
import { createHasher } from '../checksums/algorithms.ts'
import { blockBytes } from '../domain/limits.ts'
import type { ChecksumAlgorithm } from '../domain/model.ts'
import { crc32c, durably, encodeFooter, ioFailure, recordBytes, sealRecord, syncFolder, SyncError, blobPath, recordHeaderBytes } from '../storage/backend.ts'
import type { IoFailure } from '../storage/backend.ts'
import { createDigester } from './digester.ts'
import type { ChunkMark, Digested, DigestEnd, DigestPlan, Refusal } from './digester.ts'

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

function writeFully(fd: number, bytes: Uint8Array, at: number): void {
  let done = 0
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}

const writeAt = promisify(write)

async function writeLater(fd: number, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await writeAt(fd, bytes, done, bytes.length - done, at + done)).bytesWritten
}

/** Hashes a group of bodies, closes the gaps of refused ones, appends the rest with one write and one fdatasync. */
export function batch(task: BatchTask): BatchOutcome {
  const buffer = Buffer.from(task.buffer)
  const { end, ...answers } = sealBodies(task, buffer)
  if (end === task.headBytes) return { written: 0, failure: null, ...answers }
  try {
    writeFully(task.fd, buffer.subarray(0, end), task.at)
    if (task.synced) sync(task.fd)
    if (task.synced && task.newIn !== null) syncFolder(task.newIn)
  } catch (error) {
    return { written: 0, failure: ioFailure(error), ...answers }
  }
  return { written: end, failure: null, ...answers }
}

/** Digests each body and makes a record of the good ones; `end` is where the last record ends in the buffer. */
function sealBodies({ bodies, headBytes, at: base }: BatchTask, buffer: Buffer): Omit<BatchOutcome, 'written' | 'failure'> & { end: number } {
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

export interface UploadTask {
  readonly port: MessagePort
  readonly root: string
  readonly tmp: string
  readonly blob: string
  readonly bucketId: number
  readonly key: string
  readonly plan: DigestPlan
  /** False under HOLDFAST_DURABILITY=relaxed: the file is written but not synced. */
  readonly synced: boolean
}

/** What the main thread sends: bytes in order, then the end; or that the upload is given up. */
export type UploadMessage =
  | { readonly kind: 'bytes'; readonly slab: Uint8Array<ArrayBuffer>; readonly length: number; readonly marks: readonly ChunkMark[] }
  | { readonly kind: 'end'; readonly end: DigestEnd; readonly marks: readonly ChunkMark[] }
  | { readonly kind: 'abort' }

export type UploadOutcome = Digested | { readonly ok: false; readonly failure: IoFailure } | { readonly ok: false; readonly aborted: true }

/**
 * One large upload: slabs come over the port, are digested, written and sent back as acknowledgement; at the end the block table
 * is written and the file gets its name. An empty body leaves no file.
 */
export async function upload(task: UploadTask): Promise<UploadOutcome> {
  let outcome: UploadOutcome = { ok: false, aborted: true }
  try {
    await durably({ root: task.root, tmp: task.tmp, path: blobPath(task.blob), synced: task.synced }, async (fd) => {
      const received = await receive(task, fd)
      outcome = received.outcome
      if (!received.outcome.ok || received.length === 0) return false
      const footer = { blob: task.blob, length: received.length, bucketId: task.bucketId, key: task.key, blocks: Uint32Array.from(received.blocks) }
      writeFully(fd, encodeFooter(footer), received.length)
      return true
    })
    return outcome
  } catch (error) {
    return { ok: false, failure: ioFailure(error) }
  } finally {
    task.port.close()
  }
}

interface Received {
  readonly outcome: UploadOutcome
  readonly length: number
  readonly blocks: readonly number[]
}

/**
 * Takes the messages of one upload until its end, a refusal, a failed write or an abort. A slab is written by the I/O pool while
 * this thread digests it; it goes back when both are done.
 */
function receive(task: UploadTask, fd: number): Promise<Received> {
  const { port } = task
  const digester = createDigester(task.plan)
  const blocks = createBlockSums()
  const writes = new Set<Promise<void>>()
  let length = 0
  return new Promise((resolve) => {
    let stopped = false
    function stop(outcome: UploadOutcome): void {
      if (stopped) return
      stopped = true
      port.removeAllListeners('message').removeAllListeners('close')
      // The file is not touched any more only when the writes in flight have ended.
      void Promise.allSettled(writes).then((results) => {
        const failed = results.find((result) => result.status === 'rejected')
        resolve({ outcome: outcome.ok && failed !== undefined ? { ok: false, failure: ioFailure(failed.reason) } : outcome, length, blocks: blocks.finish() })
      })
    }
    function take(message: UploadMessage & { kind: 'bytes' }): void {
      const bytes = message.slab.subarray(0, message.length)
      const written = writeLater(fd, bytes, length)
      length += bytes.length
      writes.add(written)
      const refusal = digester.update(bytes, message.marks)
      if (refusal !== null) return stop({ ok: false, refusal })
      blocks.update(bytes)
      written.then(
        () => {
          if (stopped) return
          writes.delete(written)
          port.postMessage(message.slab, [message.slab.buffer])
        },
        (error: unknown) => stop({ ok: false, failure: ioFailure(error) }),
      )
    }
    function handle(message: UploadMessage): void {
      if (message.kind === 'bytes') return take(message)
      if (message.kind === 'abort') return stop({ ok: false, aborted: true })
      const refusal = digester.update(new Uint8Array(0), message.marks)
      stop(refusal === null ? digester.finish(message.end) : { ok: false, refusal })
    }
    port.on('message', (message: UploadMessage) => {
      // An error thrown here would end the thread and every upload on it.
      try {
        if (!stopped) handle(message)
      } catch (error) {
        stop({ ok: false, failure: ioFailure(error) })
      }
    })
    // The other side of the port is gone with its upload.
    port.on('close', () => stop({ ok: false, aborted: true }))
  })
}

/** Running CRC32C of each block, whatever the sizes of the pieces. */
function createBlockSums() {
  const sums: number[] = []
  let current = 0
  let filled = 0
  return {
    update(bytes: Uint8Array): void {
      for (let from = 0; from < bytes.length; ) {
        const piece = bytes.subarray(from, from + blockBytes - filled)
        current = crc32c(piece, current)
        filled += piece.length
        from += piece.length
        if (filled < blockBytes) continue
        sums.push(current)
        current = 0
        filled = 0
      }
    },
    finish(): number[] {
      if (filled > 0) sums.push(current)
      return sums
    },
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
