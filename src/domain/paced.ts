/**
 * Spreads work that arrives at once over several turns of the event loop, so that others get in between, and lets each piece come to
 * its end before the next begins, so that what the pieces make does not live at the same time. Resolves when the piece of this weight
 * may go on: pieces go in the order in which they came, and a turn takes no more of them once they weigh `weightMax` together.
 */
export function paced(weightMax: number): (weight: number) => Promise<void> {
  const waiting: { readonly weight: number; readonly go: () => void }[] = []

  function turn(): void {
    for (let taken = 0; taken < weightMax;) {
      const first = waiting.shift()
      if (first === undefined) return
      taken += first.weight
      // What follows upon a promise is done before the next immediate.
      setImmediate(first.go)
    }
    if (waiting.length > 0) setImmediate(turn)
  }

  return (weight) => new Promise((go) => {
    if (waiting.push({ weight, go }) === 1) setImmediate(turn)
  })
}
