import { LRUCache } from 'lru-cache'
import { openSegmentsMax } from '../domain/limits.ts'
import { closeRead, openToRead } from '../storage/backend.ts'
import type { CacheMeter } from '../telemetry/metrics.ts'

/** Open descriptors of segments by absolute path, so that a small read is one pread. One in use is closed only after its last user. */
export interface Descriptors {
  use<Result>(path: string, work: (fd: number) => Promise<Result>): Promise<Result>
  /** The descriptor when it is open already, for a read that ends before anything else runs; else null. */
  open(path: string): number | null
  /** The file was removed: its descriptor must not keep the space. */
  forget(path: string): void
  close(): void
}

interface Entry {
  readonly opening: Promise<number>
  /** Null until it is open. */
  fd: number | null
  users: number
  gone: boolean
}

export function createDescriptors(max: number = openSegmentsMax, meter: CacheMeter = { hits: 0, misses: 0 }): Descriptors {
  const entries = new LRUCache<string, Entry>({
    max,
    dispose: (entry) => {
      entry.gone = true
      closeUnused(entry)
    },
  })

  function closeUnused(entry: Entry): void {
    if (!entry.gone || entry.users > 0) return
    // A file that never opened has nothing to close.
    entry.opening.then(closeRead, () => undefined)
  }

  async function opened(path: string, entry: Entry): Promise<number> {
    try {
      return entry.fd = await entry.opening
    } catch (error) {
      if (entries.peek(path) === entry) entries.delete(path)
      throw error
    }
  }

  return {
    async use(path, work) {
      let entry = entries.get(path)
      if (entry === undefined) {
        meter.misses += 1
        entry = { opening: openToRead(path), fd: null, users: 0, gone: false }
        entries.set(path, entry)
      }
      entry.users += 1
      try {
        return await work(entry.fd ?? await opened(path, entry))
      } finally {
        entry.users -= 1
        closeUnused(entry)
      }
    },
    open(path) {
      const fd = entries.get(path)?.fd ?? null
      if (fd !== null) meter.hits += 1
      return fd
    },
    forget: (path) => void entries.delete(path),
    close: () => entries.clear(),
  }
}
