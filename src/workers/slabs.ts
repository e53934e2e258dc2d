import { blockBytes, uploadSlabsMax } from '../domain/limits.ts'

/** One block of the memory that all threads see. */
export interface Slab {
  readonly index: number
  readonly bytes: Uint8Array
}

/** One who fills slabs. */
export interface SlabHolder {
  /** Hands over the slab that was waited for. */
  take(slab: Slab): void
  /** Others wait and this slab fills slowly: send it on its way, however little is in it. */
  flush(): void
}

/**
 * The slabs of all large uploads: a fixed number, recycled, handed out in the order of asking. An upload that fills its slab
 * slowly gives it up when others wait, so that slow clients cannot keep the fast ones out. Whoever holds a slab is the only one to
 * write to it; a thread only reads it, between the message that names it and the answer.
 */
export interface Slabs {
  /** Slab n is block n of it. It begins on a page, as writes past the page cache need it. */
  readonly memory: SharedArrayBuffer
  /** A slab at once, or null: then `holder.take` is called later, unless `cancel` comes first. */
  ask(holder: SlabHolder): Slab | null
  cancel(holder: SlabHolder): void
  give(slab: Slab): void
  /** Marks who holds a slab with bytes in it. */
  filling(holder: SlabHolder, yes: boolean): void
}

/** A slab that takes longer to fill is sent early while others wait. Shorter, and slabs would travel nearly empty. */
const slowFillMs = 100

export function createSlabs(slabsMax: number = uploadSlabsMax): Slabs {
  // Growable, because only such memory is sure to begin on a page. A page that was never used takes no room.
  const memory = new SharedArrayBuffer(slabsMax * blockBytes, { maxByteLength: slabsMax * blockBytes })
  /** The one that was used last is the next: it is in the processor's cache, and what a burst did not need is never touched. */
  const free: Slab[] = []
  const waiting = new Set<SlabHolder>()
  const holders = new Map<SlabHolder, number>()
  let hurry: NodeJS.Timeout | null = null
  let made = 0

  function serve(): void {
    for (const holder of waiting) {
      if (free.length === 0 && made >= slabsMax) return
      waiting.delete(holder)
      holder.take(fresh())
    }
  }

  /** Runs while someone waits. */
  function flushSlow(): void {
    if (waiting.size === 0 && hurry !== null) {
      clearInterval(hurry)
      hurry = null
      return
    }
    const before = performance.now() - slowFillMs
    for (const [holder, since] of holders) if (since < before) holder.flush()
  }

  function fresh(): Slab {
    const recycled = free.pop()
    if (recycled !== undefined) return recycled
    const index = made
    made += 1
    return { index, bytes: new Uint8Array(memory, index * blockBytes, blockBytes) }
  }

  return {
    memory,
    ask(holder) {
      if (waiting.size === 0 && (free.length > 0 || made < slabsMax)) return fresh()
      waiting.add(holder)
      hurry ??= setInterval(flushSlow, slowFillMs / 2)
      return null
    },
    cancel(holder) {
      waiting.delete(holder)
      holders.delete(holder)
    },
    give(slab) {
      free.push(slab)
      serve()
    },
    filling(holder, yes) {
      if (yes) holders.set(holder, performance.now())
      else holders.delete(holder)
    },
  }
}
