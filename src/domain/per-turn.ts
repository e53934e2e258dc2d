/**
 * Collects what is given in one turn of the event loop, and has it taken up together when that is over: one query for many, and each
 * step of many requests finds its code in the processor's cache, which the whole of one request does not fit.
 */
export function perTurn<Item>(takeUp: (items: readonly Item[]) => void): (item: Item) => void {
  let items: Item[] = []
  const flush = (): void => {
    const taken = items
    items = []
    takeUp(taken)
  }
  return (item) => {
    if (items.push(item) === 1) setImmediate(flush)
  }
}
