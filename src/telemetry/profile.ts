import { createRuntimeMeter, type RuntimeFigures } from './profile-runtime.ts'

/**
 * Door to what a live server tells about itself: figures of the runtime, and profiles on demand. It promises:
 * - Nothing is sampled by a timer while nobody asks; profiles are bounded in time and one of a kind at a time.
 * - Requests and answers are plain data, so that they can cross to another process of the same server.
 */

export type ProfileRequest =
  /** `reset` starts the figures anew; the answer is what they were until then. */
  | { readonly kind: 'runtime'; readonly reset: boolean }

export type ProfileAnswer =
  | { readonly ok: true; readonly kind: 'runtime'; readonly runtime: RuntimeFigures }
  /** `status` is HTTP's; `error` says what to do instead. */
  | { readonly ok: false; readonly status: 400 | 409 | 500 | 503; readonly error: string }

/** One server process that can be asked; itself, or another one behind a channel. */
export interface ProfileTarget {
  /** What `process=` in a query names. */
  readonly name: string
  /** Never rejects for what an operator asked wrongly: such answers are not `ok`. */
  run(request: ProfileRequest): Promise<ProfileAnswer>
}

export interface ProfileOptions {
  readonly name: string
  readonly pools: () => readonly ThreadPool[]
}

/** Threads of one kind, and what waits for them. */
export interface ThreadPool {
  readonly name: string
  readonly threads: readonly unknown[]
  readonly queued: number
  readonly running: number
}

export interface OwnProfiles extends ProfileTarget {
  close(): void
}

/** This process. Begins to count at once; `close` ends that. */
export function createProfiles({ name, pools }: ProfileOptions): OwnProfiles {
  const meter = createRuntimeMeter(pools)
  return {
    name,
    async run(request) {
      return { ok: true, kind: 'runtime', runtime: meter.read(request.reset) }
    },
    close: () => meter.close(),
  }
}
