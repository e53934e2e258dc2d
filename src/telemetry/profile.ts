import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import { cpuSampleMs, snapshotPieceChars, snapshotProblem } from './profile-limits.ts'
import { createRuntimeMeter, type RuntimeFigures } from './profile-runtime.ts'
import { presentable, threadsOf, within, type Profiled } from './profile-threads.ts'

/**
 * Door to what a live server tells about itself: figures of the runtime, and profiles on demand. It promises:
 * - Nothing is sampled by a timer while nobody asks; profiles are bounded in time, and one of a kind runs at a time.
 * - A thread that is stuck is named in the answer and holds nothing up.
 * - CPU profiles and samplings of allocations hold names of functions, and paths below the installation; nothing of memory's contents.
 *   A heap snapshot is memory's contents, keys and bodies included.
 * - Requests and answers are plain data, so that they can cross to another process of the same server.
 */

export { profilePage } from './profile-page.ts'
export { profileSecondsDefault, profileSecondsMax } from './profile-limits.ts'

export type ProfileRequest =
  /** `reset` starts the figures anew; the answer is what they were until then. */
  | { readonly kind: 'runtime'; readonly reset: boolean }
  /** `thread` is `main`, `batch-0`, `upload-1` ... or `all`; those of a pool are there once it has started. */
  | { readonly kind: 'cpu' | 'allocations'; readonly seconds: number; readonly thread: string }
  /** The snapshot goes to `write`, as JSON in pieces. */
  | { readonly kind: 'heap'; readonly thread: string }

export interface ThreadProfile {
  readonly thread: string
  /** V8's JSON: of a `.cpuprofile` or of a `.heapprofile`. */
  readonly profile: string
}

export type ProfileAnswer =
  | { readonly ok: true; readonly kind: 'runtime'; readonly runtime: RuntimeFigures }
  /** `silent`: threads that did not answer in time and so have no profile. */
  | { readonly ok: true; readonly kind: 'profile'; readonly threads: readonly ThreadProfile[]; readonly silent: readonly string[] }
  | { readonly ok: true; readonly kind: 'heap' }
  /** `status` is HTTP's; `error` says what to do instead. */
  | { readonly ok: false; readonly status: 400 | 409 | 503; readonly error: string }

/** One server process that can be asked; itself, or another one behind a channel. */
export interface ProfileTarget {
  /** What `process=` in a query names. */
  readonly name: string
  /**
   * Never rejects for what an operator asked wrongly: such answers are not `ok`. `signal` ends it early, with an answer that nobody
   * reads. `write` takes the pieces of a heap snapshot and resolves when it wants the next; its rejection ends the snapshot.
   */
  run(request: ProfileRequest, live: { readonly signal: AbortSignal; readonly write: (piece: string) => Promise<void> }): Promise<ProfileAnswer>
}

export interface ProfileOptions {
  readonly name: string
  readonly pools: () => readonly ThreadPool[]
}

/** Threads of one kind, and what waits for them. */
export interface ThreadPool {
  readonly name: string
  readonly threads: readonly Worker[]
  readonly queued: number
  readonly running: number
}

export interface OwnProfiles extends ProfileTarget {
  /** Ends what runs, with the answer that the server stops. */
  close(): void
}

type Failed = ProfileAnswer & { readonly ok: false }
const failed = (status: Failed['status'], error: string): Failed => ({ ok: false, status, error })

/** This process. Begins to count at once; `close` ends that. */
export function createProfiles({ name, pools }: ProfileOptions): OwnProfiles {
  const meter = createRuntimeMeter(pools)
  const stopping = new AbortController()
  const running = new Map<ProfileRequest['kind'], number>()

  /** Runs `work` unless one of its kind is under way. */
  async function alone(kind: ProfileRequest['kind'], seconds: number, work: () => Promise<ProfileAnswer>): Promise<ProfileAnswer> {
    const ends = running.get(kind)
    if (ends !== undefined) {
      const left = Math.max(1, Math.ceil((ends - performance.now()) / 1000))
      return failed(409, `Only one profile of a kind runs at a time: the one that runs ends in about ${left} s. Ask again then.`)
    }
    running.set(kind, performance.now() + seconds * 1000)
    try {
      return await work()
    } finally {
      running.delete(kind)
    }
  }

  function chosen(thread: string): readonly Profiled[] | Failed {
    const all = threadsOf(pools())
    const found = thread === 'all' ? all : all.filter((each) => each.name === thread)
    return found.length > 0 ? found : failed(400, `thread must be one of: all, ${all.map((each) => each.name).join(', ')}.`)
  }

  async function sample(request: ProfileRequest & { kind: 'cpu' | 'allocations' }, threads: readonly Profiled[], signal: AbortSignal): Promise<ProfileAnswer> {
    // The workers first: the main thread stands still for a moment while V8 lists its functions.
    const started = await Promise.all(threads.toReversed().map(async (thread) => {
      const begun = request.kind === 'cpu' ? thread.cpu(threads.length === 1 ? cpuSampleMs.alone : cpuSampleMs.together) : thread.allocations()
      const stop = await within(begun, (late) => void late().catch(String))
      return { name: thread.name, stop }
    }))
    const ended = AbortSignal.any([signal, stopping.signal])
    await sleep(request.seconds * 1000, undefined, { signal: ended, ref: false }).catch(String)
    const stopped = await Promise.all(started.toReversed().map(async ({ name: thread, stop }) => ({ thread, profile: stop === null ? null : await within(stop()) })))
    if (ended.aborted) return failed(503, 'The server is stopping.')
    const profiles = stopped.flatMap(({ thread, profile }) => (profile === null ? [] : [{ thread, profile: presentable(profile) }]))
    const silent = stopped.filter(({ profile }) => profile === null).map(({ thread }) => thread)
    if (profiles.length === 0) return failed(503, `The thread ${silent.join(', ')} did not answer: it is busy in one long system call or has ended. Ask again.`)
    return { ok: true, kind: 'profile', threads: profiles, silent }
  }

  async function snapshot([thread, another]: readonly Profiled[], write: (piece: string) => Promise<void>): Promise<ProfileAnswer> {
    if (thread === undefined || another !== undefined) return failed(400, 'A heap snapshot is of one thread: say which.')
    const statistics = await within(thread.heapStatistics())
    const problem = statistics === null ? `The thread ${thread.name} did not answer. Ask again.` : snapshotProblem(statistics.used_heap_size)
    if (problem !== null) return failed(503, problem)
    const stream = await within(thread.snapshot(), (late) => void late.destroy())
    if (stream === null) return failed(503, `The thread ${thread.name} did not answer. Ask again.`)
    // A writer that gave up throws, which ends the loop and so frees the snapshot.
    for await (const text of stream.setEncoding('utf8') as AsyncIterable<string>) {
      for (let from = 0; from < text.length; from += snapshotPieceChars) await write(text.slice(from, from + snapshotPieceChars))
    }
    return { ok: true, kind: 'heap' }
  }

  return {
    name,
    async run(request, { signal, write }) {
      if (request.kind === 'runtime') return { ok: true, kind: 'runtime', runtime: meter.read(request.reset, [...running.keys()]) }
      const threads = chosen(request.thread)
      if ('ok' in threads) return threads
      return request.kind === 'heap' ? alone('heap', 1, () => snapshot(threads, write)) : alone(request.kind, request.seconds, () => sample(request, threads, signal))
    },
    close() {
      stopping.abort()
      meter.close()
    },
  }
}
