import { Worker } from 'node:worker_threads'
import { memoryOf, type Memory } from './processes.ts'

/** Looks at the memory of a server again and again, on a thread of its own: reading it takes milliseconds that answers would wait. */
export interface MemoryWatch {
  reset(): void
  /** The most since the reset; looks once more. */
  peak(): Promise<Memory>
  stop(): Promise<void>
}

export interface WatchData {
  readonly pid: number
  readonly everyMs: number
  /** Server, helpers (bytes), number of helpers. */
  readonly peak: Float64Array<SharedArrayBuffer>
}

/** A look costs Holdfast with its twelve processes 25 ms of a core, a peer of one process 1 ms: not too often. */
const everyMs = 2500

export function watchMemory(pid: number): MemoryWatch {
  const peak = new Float64Array(new SharedArrayBuffer(24))
  const worker = new Worker(new URL('watch-thread.ts', import.meta.url), { workerData: { pid, everyMs, peak } satisfies WatchData })
  return {
    reset: () => void peak.fill(0),
    peak: async () => {
      keepMost(peak, memoryOf(pid))
      return { serverBytes: peak[0] ?? 0, helperBytes: peak[1] ?? 0, helpers: peak[2] ?? 0 }
    },
    stop: async () => void await worker.terminate(),
  }
}

/** Two threads may write at the same time; what is lost then is one look of many. */
export function keepMost(peak: Float64Array, { serverBytes, helperBytes, helpers }: Memory): void {
  if (serverBytes + helperBytes > (peak[0] ?? 0) + (peak[1] ?? 0)) peak.set([serverBytes, helperBytes, helpers])
}
