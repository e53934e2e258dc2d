import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import type { MessagePort, Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { segmentLanes, uploadsMax } from '../domain/limits.ts'
import type { Block } from '../storage/backend.ts'
import { createLanes } from './lanes.ts'
import { createReaders } from './readers.ts'
import { withPort } from './transfer.ts'
import type { BatchOutcome, BatchTask, DigestTask, UploadOutcome, UploadTask } from './worker.ts'

/**
 * Door of the worker threads. It promises:
 * - Bodies are never written on the main thread, nor hashed there, but for a lone small one that nothing else waits behind, and one checksum of a
 *   lone large one.
 * - Blocks of large bodies are read and verified by the threads that hash and write such bodies.
 * - One upload stays on one thread; its slabs come back over its port, each as the acknowledgement of its bytes.
 * - Small groups have threads of their own, so that they never wait behind large bodies.
 * - Nothing is queued here without bound: callers hold what bounds it (lanes, slabs, uploads).
 */
export interface WorkerPool {
  batch(task: BatchTask): Promise<BatchOutcome>
  /** `port` is this thread's end; it is closed when the outcome is there. */
  upload(task: Omit<UploadTask, 'port'>): { readonly port: MessagePort; readonly outcome: Promise<UploadOutcome> }
  /** Hashes what is posted to the port: bytes, each answered by null, then null for the end. Base64 by algorithm. */
  digest(task: Omit<DigestTask, 'port'>): { readonly port: MessagePort; readonly outcome: Promise<Record<string, string>> }
  /** Reads and verifies a block of a large body into the first bytes of `buffer`, which is shared between threads; see `readers.ts`. */
  read(block: Block, buffer: Uint8Array): Promise<Uint8Array>
  /** What runs and what waits, and the threads themselves for a profiler. */
  pools(): readonly { readonly name: string; readonly threads: readonly Worker[]; readonly queued: number; readonly running: number }[]
  /** Waits for running tasks, then ends the threads. */
  close(): Promise<void>
}

export interface PoolOptions {
  /** Threads for large bodies. Default: one for each core. */
  readonly uploadThreads?: number
}

const youngMiBOfUploads = 4

const loadMsMax = 5000

const filename = new URL('./worker.ts', import.meta.url).href

/** Starts the worker threads. */
export function createPool(options: PoolOptions = {}): WorkerPool {
  const uploadThreads = Math.max(1, options.uploadThreads ?? availableParallelism())
  const batches = new Piscina({ filename, name: 'serveBatches', minThreads: segmentLanes, maxThreads: segmentLanes, maxQueue: segmentLanes * 2 })
  const uploads = new Piscina({
    filename, name: 'upload', minThreads: uploadThreads, maxThreads: uploadThreads,
    concurrentTasksPerWorker: 1 + Math.ceil(uploadsMax / uploadThreads), maxQueue: uploadsMax,
    // The server's large young generation is for requests; these threads make a few objects for each slab.
    resourceLimits: { maxYoungGenerationSizeMb: youngMiBOfUploads },
    // A thread that waits in Atomics between tasks does not see its ports.
    atomics: 'async',
  })
  let bodies = 0
  const counted = <Outcome>(outcome: Promise<Outcome>): Promise<Outcome> => {
    bodies += 1
    return outcome.finally(() => (bodies -= 1))
  }
  const loaded = Promise.all([batches, uploads].flatMap((pool) => pool.threads.map(hasLoaded)))
  const lanes = createLanes(batches, segmentLanes)
  const readers = createReaders(uploads, uploadThreads)
  return {
    batch: (task) => lanes.run(task),
    upload(task) {
      const { port1, port2 } = new MessageChannel()
      const outcome = counted(uploads.run({ ...task, port: port2 }, withPort(port2)) as Promise<UploadOutcome>)
      return { port: port1, outcome: outcome.finally(() => port1.close()) }
    },
    digest(task) {
      const { port1, port2 } = new MessageChannel()
      return { port: port1, outcome: counted(uploads.run({ ...task, port: port2 }, { name: 'digest', ...withPort(port2) }) as Promise<Record<string, string>>) }
    },
    read: (block, buffer) => readers.read(block, buffer),
    pools: () => [
      { name: 'batch', threads: batches.threads, queued: lanes.queued, running: lanes.running },
      { name: 'upload', threads: uploads.threads, queued: uploads.queueSize, running: bodies - uploads.queueSize },
    ],
    async close() {
      // To end a thread while it loads the native checksums aborts the whole process (their start takes that for a bug of its own).
      await Promise.race([loaded, sleep(loadMsMax)])
      lanes.end()
      readers.end()
      await Promise.all([batches.close(), uploads.close()])
    },
  }
}

/** Resolves with a thread's first message, which the package sends once the thread has loaded its program, or with its end. */
function hasLoaded(thread: Worker): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ['message', 'exit']) thread.once(event, () => resolve())
  })
}

/** A pool whose threads start with the first task. */
export function createLazyPool(create: () => WorkerPool): WorkerPool {
  let made: WorkerPool | null = null
  const pool = (): WorkerPool => (made ??= create())
  return {
    batch: (task) => pool().batch(task),
    upload: (task) => pool().upload(task),
    digest: (task) => pool().digest(task),
    read: (block, buffer) => pool().read(block, buffer),
    pools: () => made?.pools() ?? [],
    close: async () => made?.close(),
  }
}
