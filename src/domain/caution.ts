/** Whether something is still done in a way that is worth it only while it is quick. */
export interface Caution {
  /** False for a while after it was slow. `now`: as of `performance.now()`. */
  allows(now: number): boolean
  /** To be called with how long each took. */
  took(ms: number, slow: boolean, now: number): void
}

/** Two that were slow in a row (one alone may be the scheduler's doing) forbid the following ones, for `times` as long as both took and at most `msMax`. */
export function createCaution(times: number, msMax: number): Caution {
  let lastSlowMs = 0
  let until = 0
  return {
    allows: (now) => now >= until,
    took(ms, slow, now) {
      if (slow && lastSlowMs > 0) until = now + Math.min((lastSlowMs + ms) * times, msMax)
      lastSlowMs = slow ? ms : 0
    },
  }
}
