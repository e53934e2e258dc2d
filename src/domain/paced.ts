/**
 * Spreads work that arrives at once over several turns of the event loop, so that others get in between, and lets each piece come to
 * its end before the next begins, so that what the pieces make does not live at the same time. Resolves when the piece of this weight
 * may go on: pieces go in the order in which they came, and a turn takes no more of them once they weigh `weightMax` together.
 */
export function paced(weightMax: number): (weight: number) => Promise<void> {
  let waiting: { readonly weight: number; readonly go: () => void }[] = []
  let turning = false

  function turn(): void {
    let taken = 0
    let count = 0
    for (; count < waiting.length && taken < weightMax; count++) {
      const { weight, go } = waiting[count] as (typeof waiting)[number]
      taken += weight
      // What follows upon a promise is done before the next immediate.
      setImmediate(go)
    }
    waiting = waiting.slice(count)
    turning = waiting.length > 0
    if (turning) setImmediate(turn)
  }

  return (weight) => new Promise((go) => {
    waiting.push({ weight, go })
    if (turning) return
    turning = true
    setImmediate(turn)
  })
}
