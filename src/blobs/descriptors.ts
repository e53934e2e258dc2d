import { LRUCache } from 'lru-cache'
import { openSegmentsMax } from '../domain/limits.ts'
import { closeRead, openToRead } from '../storage/backend.ts'

/** Open descriptors of segments, so that a small read is one pread. One in use is closed only after its last user. */
export interface Descriptors {
  use<Result>(path: string, work: (fd: number) => Promise<Result>): Promise<Result>
  /** The file was removed: its descriptor must not keep the space. */
  forget(path: string): void
  close(): void
}

interface Entry {
  readonly fd: Promise<number>
  users: number
  gone: boolean
}

export function createDescriptors(max: number = openSegmentsMax): Descriptors {
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
    entry.fd.then(closeRead, () => undefined)
  }

  return {
    async use(path, work) {
      let entry = entries.get(path)
      if (entry === undefined) {
        entry = { fd: openToRead(path), users: 0, gone: false }
        entries.set(path, entry)
      }
      entry.users += 1
      try {
        return await work(await entry.fd.catch((error: unknown) => {
          entries.delete(path)
          throw error
        }))
      } finally {
        entry.users -= 1
        closeUnused(entry)
      }
    },
    forget: (path) => void entries.delete(path),
    close: () => entries.clear(),
  }
}
