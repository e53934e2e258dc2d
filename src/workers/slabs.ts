import { blockBytes, uploadSlabsMax } from '../domain/limits.ts'

export type Slab = Uint8Array<ArrayBuffer>

/** One who fills slabs. */
export interface SlabHolder {
  /** Hands over the slab that was waited for. */
  take(slab: Slab): void
  /** Others wait and this slab fills slowly: send it on its way, however little is in it. */
  flush(): void
}

/**
 * The slabs of all large uploads: a fixed number, recycled, handed out in the order of asking. An upload that fills its slab
 * slowly gives it up when others wait, so that slow clients cannot keep the fast ones out.
 */
export interface Slabs {
  /** A slab at once, or null: then `holder.take` is called later, unless `cancel` comes first. */
  ask(holder: SlabHolder): Slab | null
  cancel(holder: SlabHolder): void
  give(slab: Slab): void
  /** Slabs that will not come back: their thread ended the upload early. */
  lost(count: number): void
  /** Marks who holds a slab with bytes in it. */
  filling(holder: SlabHolder, yes: boolean): void
}

/** Slabs kept when nobody needs them. */
const idleSlabsMax = 16
/** A slab that takes longer to fill is sent early while others wait. Shorter, and slabs would travel nearly empty. */
const slowFillMs = 100

export function createSlabs(slabsMax: number = uploadSlabsMax): Slabs {
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
    made += 1
    // Of its own memory, because a pooled Buffer cannot be transferred; not zeroed, because only what was filled is ever looked at.
    return Buffer.allocUnsafeSlow(blockBytes)
  }

  return {
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
      if (waiting.size === 0 && free.length >= idleSlabsMax) made -= 1
      else free.push(slab)
      serve()
    },
    lost(count) {
      made -= count
      serve()
    },
    filling(holder, yes) {
      if (yes) holders.set(holder, performance.now())
      else holders.delete(holder)
    },
  }
}
