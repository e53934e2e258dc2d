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

/**
 * Starts the threads of small groups; those of large bodies start with the first such body, which waits some 50 ms for them: a server
 * that has yet to see one is ready earlier and smaller.
 */
export function createPool(options: PoolOptions = {}): WorkerPool {
  const batches = new Piscina({ filename, name: 'serveBatches', minThreads: segmentLanes, maxThreads: segmentLanes, maxQueue: segmentLanes * 2 })
  const batchesLoaded = allLoaded(batches)
  const lanes = createLanes(batches, segmentLanes)
  let made: LargeBodies | null = null
  const large = (): LargeBodies => (made ??= startLargeBodies(Math.max(1, options.uploadThreads ?? availableParallelism())))
  return {
    batch: (task) => lanes.run(task),
    upload: (task) => large().run('upload', task),
    digest: (task) => large().run('digest', task),
    read: (block, buffer) => large().read(block, buffer),
    pools: () => [
      { name: 'batch', threads: batches.threads, queued: lanes.queued, running: lanes.running },
      made?.state() ?? { name: 'upload', threads: [], queued: 0, running: 0 },
    ],
    async close() {
      // To end a thread while it loads the native checksums aborts the whole process (their start takes that for a bug of its own).
      await Promise.race([Promise.all([batchesLoaded, made?.loaded]), sleep(loadMsMax)])
      lanes.end()
      await Promise.all([batches.close(), made?.close()])
    },
  }
}

type Tasks = { readonly upload: Omit<UploadTask, 'port'>; readonly digest: Omit<DigestTask, 'port'> }
type Outcomes = { readonly upload: UploadOutcome; readonly digest: Record<string, string> }

interface LargeBodies {
  /** A task of one body; `port` is this thread's end. */
  run<Name extends keyof Tasks>(name: Name, task: Tasks[Name]): { readonly port: MessagePort; readonly outcome: Promise<Outcomes[Name]> }
  read: WorkerPool['read']
  state(): ReturnType<WorkerPool['pools']>[number]
  readonly loaded: Promise<unknown>
  close(): Promise<void>
}

function startLargeBodies(count: number): LargeBodies {
  const uploads = new Piscina({
    filename, name: 'upload', minThreads: count, maxThreads: count,
    concurrentTasksPerWorker: 1 + Math.ceil(uploadsMax / count), maxQueue: uploadsMax,
    // The server's large young generation is for requests; these threads make a few objects for each slab.
    resourceLimits: { maxYoungGenerationSizeMb: youngMiBOfUploads },
    // A thread that waits in Atomics between tasks does not see its ports.
    atomics: 'async',
  })
  const loaded = allLoaded(uploads)
  const readers = createReaders(uploads, count)
  let bodies = 0
  return {
    run(name, task) {
      const { port1, port2 } = new MessageChannel()
      bodies += 1
      const outcome = (uploads.run(withPort({ ...task, port: port2 }), { name }) as Promise<Outcomes[typeof name]>).finally(() => {
        bodies -= 1
        port1.close()
      })
      return { port: port1, outcome }
    },
    read: (block, buffer) => readers.read(block, buffer),
    state: () => ({ name: 'upload', threads: uploads.threads, queued: uploads.queueSize, running: bodies - uploads.queueSize }),
    loaded,
    async close() {
      readers.end()
      await uploads.close()
    },
  }
}

const allLoaded = (pool: Piscina): Promise<unknown> => Promise.all(pool.threads.map(hasLoaded))

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
