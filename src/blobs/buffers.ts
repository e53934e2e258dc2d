import { blockBytes, readBuffersMax, readBufferWaitMs } from '../domain/limits.ts'

/**
 * The buffers of all readers of large bodies: a fixed number, recycled, handed out in the order of asking.
 */
export interface ReadBuffers {
  /** A buffer of one block; waits for its turn. Null when nobody gives one back: clients that take hardly anything have them all. */
  acquire(): Promise<Uint8Array | null>
  /** Calls with a buffer of one block that is there for reading it alone, and is never in the hands of a client. */
  briefly<T>(use: (buffer: Uint8Array) => Promise<T>): Promise<T>
  /** A buffer to read ahead with, only while few are in use. */
  spare(): Uint8Array | null
  release(buffer: Uint8Array): void
}

/** Buffers kept when nobody reads. */
const idleBuffersMax = 16
/** More in use than this have enough to read already: eight readers have two each, one that is sent and one that is read ahead. */
const aheadBuffersMax = idleBuffersMax
/** Kept apart for `briefly`. */
const briefBuffersMax = 2
/** How long nobody waits any more after a wait that was in vain. */
const stuckMs = 10_000

export function createReadBuffers(buffersMax: number = readBuffersMax): ReadBuffers {
  const free: Uint8Array[] = []
  const waiting: { readonly since: number; readonly take: (buffer: Uint8Array | null) => void }[] = []
  let made = 0
  let patience: NodeJS.Timeout | null = null
  let returnedAt = 0
  let stuckUntil = 0
  const brief = createQueue(briefBuffersMax)

  function fresh(): Uint8Array {
    const recycled = free.pop()
    if (recycled !== undefined) return recycled
    made += 1
    return sharedBlock()
  }

  /** The first of them has waited for as long as anybody should, and what it could not have the others cannot have either. */
  function giveUp(): void {
    const now = performance.now()
    const left = (waiting[0]?.since ?? now) + readBufferWaitMs - now
    // Where turns go round it is another one that is the first by now.
    patience = left > 1 && waiting.length > 0 ? setTimeout(giveUp, left) : null
    if (patience !== null) return
    stuckUntil = now + stuckMs
    for (const next of waiting.splice(0)) next.take(null)
  }

  return {
    acquire() {
      if (free.length > 0 || made < buffersMax) return Promise.resolve(fresh())
      const now = performance.now()
      if (now < stuckUntil) {
        if (now - returnedAt > readBufferWaitMs) stuckUntil = now + stuckMs
        return Promise.resolve(null)
      }
      patience ??= setTimeout(giveUp, readBufferWaitMs)
      return new Promise((resolve) => void waiting.push({ since: now, take: resolve }))
    },
    briefly: (use) => brief(use),
    spare: () => (made - free.length < aheadBuffersMax && made < buffersMax ? fresh() : null),
    release(buffer) {
      returnedAt = performance.now()
      const next = waiting.shift()
      if (waiting.length === 0 && patience !== null) {
        clearTimeout(patience)
        patience = null
      }
      if (next !== undefined) next.take(buffer)
      else if (free.length < idleBuffersMax) free.push(buffer)
      else made -= 1
    },
  }
}

/** Other threads fill it. */
const sharedBlock = (): Uint8Array => new Uint8Array(new SharedArrayBuffer(blockBytes))

/** Hands few buffers around, each for as long as the call takes. */
function createQueue(buffersMax: number): <T>(use: (buffer: Uint8Array) => Promise<T>) => Promise<T> {
  const free: Uint8Array[] = []
  const waiting: ((buffer: Uint8Array) => void)[] = []
  let made = 0
  return async (use) => {
    if (free.length === 0 && made < buffersMax) {
      made += 1
      free.push(sharedBlock())
    }
    const buffer = free.pop() ?? (await new Promise<Uint8Array>((resolve) => void waiting.push(resolve)))
    try {
      return await use(buffer)
    } finally {
      // The latest first: a crowd that takes hardly anything is never done, and who came behind it would wait for all of it.
      const next = waiting.pop()
      if (next === undefined) free.push(buffer)
      else next(buffer)
    }
  }
}
