import type { MessagePort } from 'node:worker_threads'
import { blockBytes } from '../domain/limits.ts'
import { blobPath, crc32c, durably, encodeFooter, ioFailure, openStraight, writeFully } from '../storage/backend.ts'
import type { ChecksumAlgorithm } from '../domain/model.ts'
import type { IoFailure, StraightFile } from '../storage/backend.ts'
import { createDigester } from './digester.ts'
import type { ChunkMark, Digested, DigestEnd, DigestPlan } from './digester.ts'

export interface UploadTask {
  readonly port: MessagePort
  /** The slabs of all uploads; the messages name blocks of it. */
  readonly memory: SharedArrayBuffer
  readonly root: string
  readonly tmp: string
  readonly blob: string
  readonly bucketId: number
  readonly key: string
  readonly plan: DigestPlan
  /** The one of its checksums that the main thread computes; null: none. */
  readonly elsewhere: ChecksumAlgorithm | null
  /** False under HOLDFAST_DURABILITY=relaxed: the file is written but not synced. */
  readonly synced: boolean
}

/** What the main thread sends: bytes in order, then the end; or that the upload is given up. */
export type UploadMessage =
  | { readonly kind: 'bytes'; readonly slab: number; readonly length: number; readonly marks: readonly ChunkMark[] }
  | { readonly kind: 'end'; readonly end: DigestEnd; readonly marks: readonly ChunkMark[] }
  | { readonly kind: 'abort' }

/** `syncSeconds`: from the last byte that was written to the durable name of the file. */
export type UploadOutcome = (Digested & { readonly syncSeconds?: number }) | { readonly ok: false; readonly failure: IoFailure } | { readonly ok: false; readonly aborted: true }

/**
 * One large upload: slabs are named over the port, digested, written and named back as acknowledgement; at the end the block table
 * is written and the file gets its name. An empty body leaves no file.
 */
export async function upload(task: UploadTask): Promise<UploadOutcome> {
  let outcome: UploadOutcome = { ok: false, aborted: true }
  let writtenAt = 0
  try {
    await durably({ root: task.root, tmp: task.tmp, path: blobPath(task.blob), synced: task.synced }, async (fd, temporary) => {
      const file = openStraight(fd, temporary)
      const received = await receive(task, file).finally(() => file.close())
      outcome = received.outcome
      if (!received.outcome.ok || received.length === 0) return false
      const footer = { blob: task.blob, length: received.length, bucketId: task.bucketId, key: task.key, blocks: Uint32Array.from(received.blocks) }
      writeFully(fd, encodeFooter(footer), received.length)
      writtenAt = performance.now()
      return true
    })
    return writtenAt === 0 ? outcome : { ...outcome, syncSeconds: (performance.now() - writtenAt) / 1000 }
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
function receive(task: UploadTask, file: StraightFile): Promise<Received> {
  const { port } = task
  const digester = createDigester(task.plan, task.elsewhere)
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
      const bytes = new Uint8Array(task.memory, message.slab * blockBytes, message.length)
      const written = file.write(bytes, length)
      length += bytes.length
      writes.add(written)
      const refusal = digester.update(bytes, message.marks)
      if (refusal !== null) return stop({ ok: false, refusal })
      blocks.update(bytes)
      written.then(
        () => {
          if (stopped) return
          writes.delete(written)
          port.postMessage(message.slab)
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
