/**
 * What was used lately, within a bound. By the clock algorithm: a look-up marks its entry, and where room is needed a hand goes around
 * and takes away what is not marked since it was there last. A list in the order of use would have to be mended at each look-up, in
 * three places of memory that nothing else needs: that took as long as all the rest of a look-up. By numbers, because V8 looks for a string
 * in its own table first. They are hashes: whoever asks compares what it gets with what it wants.
 */
export interface LatelyUsed<Value> {
  get(hash: number): Value | undefined
  /** In the place of what had this hash. `bytes`: what it costs to remember; more than the bound is not remembered. */
  set(hash: number, value: Value, bytes: number): void
  delete(hash: number): void
  clear(): void
}

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
