/**
 * What was used lately, within a bound. By the clock algorithm: a look-up marks its entry, and where room is needed a hand goes around
 * and takes away what is not marked since it was there last. A list in the order of use would have to be mended at each look-up, in
 * three places of memory that nothing else needs: that took as long as all the rest of a look-up. By numbers, because V8 looks for a string
 * in its own table first. They are hashes: whoever asks compares what it gets with what it wants.
 */
export interface LatelyUsed<Value> {
  get(hash: number): Value | undefined
  /**
   * Whether `set` is worth its price. Once it is full, what comes for the first time is only noted: of ten million that are asked for
   * evenly each would push out another before it is asked for again, and cost the collector a place in its old generation.
   */
  wants(hash: number, bytes: number): boolean
  /** In the place of what had this hash. `bytes`: what it costs to remember; more than the bound is not remembered. */
  set(hash: number, value: Value, bytes: number): void
  delete(hash: number): void
  clear(): void
}

/** Hashes that came once; a later one with the same last bits takes the place of an earlier one. A power of two; 512 KiB. */
const notedMax = 2 ** 17

interface Entry<Value> {
  readonly value: Value
  readonly bytes: number
  /** On the clock of `now`. */
  readonly since: number
  used: boolean
}

/** An entry is forgotten `lifeMs` after it was set, however often it is used. */
export function createLatelyUsed<Value>({ bytesMax, lifeMs, now = () => performance.now() }: { bytesMax: number; lifeMs: number; now?: () => number }): LatelyUsed<Value> {
  const entries = new Map<number, Entry<Value>>()
  // An iterator of a Map goes on past what is deleted, and meets what is added.
  let hand = entries.entries()
  let bytes = 0
  /** Made when it is full for the first time. */
  let noted: Int32Array | null = null

  /** Whether it came before. */
  function cameBefore(hash: number): boolean {
    noted ??= new Int32Array(notedMax)
    const place = hash & (notedMax - 1)
    if (noted[place] === hash) return true
    noted[place] = hash
    return false
  }

  function forget(hash: number): void {
    const entry = entries.get(hash)
    if (entry === undefined) return
    bytes -= entry.bytes
    entries.delete(hash)
  }

  function makeRoom(): void {
    while (bytes > bytesMax) {
      const step = hand.next()
      if (step.done === true) {
        hand = entries.entries()
        continue
      }
      const [hash, entry] = step.value
      if (entry.used && now() - entry.since < lifeMs) entry.used = false
      else forget(hash)
    }
  }

  return {
    get(hash) {
      const entry = entries.get(hash)
      if (entry === undefined) return undefined
      if (now() - entry.since < lifeMs) {
        entry.used = true
        return entry.value
      }
      forget(hash)
      return undefined
    },
    wants: (hash, cost) => bytes + cost <= bytesMax || cameBefore(hash),
    set(hash, value, cost) {
      forget(hash)
      if (cost > bytesMax) return
      entries.set(hash, { value, bytes: cost, since: now(), used: false })
      bytes += cost
      makeRoom()
    },
    delete: forget,
    clear() {
      entries.clear()
      hand = entries.entries()
      bytes = 0
    },
  }
}
