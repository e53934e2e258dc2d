import { blockBytes, readBuffersMax } from '../domain/limits.ts'

/**
 * The buffers of all readers of large bodies: a fixed number, recycled, handed out in the order of asking.
 */
export interface ReadBuffers {
  /** A buffer of one block; waits for its turn. */
  acquire(): Promise<Uint8Array>
  /** A buffer to read ahead with, only while few are in use. */
  spare(): Uint8Array | null
  release(buffer: Uint8Array): void
  /** Whether so many readers are at work that reading ahead, and on other threads, gains nothing. */
  busy(): boolean
}

/** More in use than this keep the main thread busy: two readers have two each, one that is sent and one that is read ahead. */
const fewBuffersMax = 4
/** Buffers kept when nobody reads. */
const idleBuffersMax = 16

export function createReadBuffers(buffersMax: number = readBuffersMax): ReadBuffers {
  const free: Uint8Array[] = []
  const waiting: ((buffer: Uint8Array) => void)[] = []
  let made = 0

  function fresh(): Uint8Array {
    const recycled = free.pop()
    if (recycled !== undefined) return recycled
    made += 1
    return new Uint8Array(blockBytes)
  }

  const busy = (): boolean => made - free.length > fewBuffersMax

  return {
    acquire() {
      if (free.length > 0 || made < buffersMax) return Promise.resolve(fresh())
      return new Promise((resolve) => void waiting.push(resolve))
    },
    spare: () => (!busy() && made < buffersMax ? fresh() : null),
    busy,
    release(buffer) {
      const next = waiting.shift()
      if (next !== undefined) next(buffer)
      else if (free.length < idleBuffersMax) free.push(buffer)
      else made -= 1
    },
  }
}
