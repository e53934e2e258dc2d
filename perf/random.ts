/** Numbers from 0 up to 1 that are the same in each run. */
export function createRandom(seed = 12_345): () => number {
  let state = seed
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Puts the items in another order, in place. */
export function shuffled<T>(items: T[], random = createRandom()): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const kept = items[last] as T
    items[last] = items[other] as T
    items[other] = kept
  }
  return items
}

/**
 * Numbers below `count`, each as often as 1 / rank^0.99, which is how YCSB draws keys: of a million, the first hundred get a third.
 * Ranks are spread over the numbers, so that the popular ones are no neighbours.
 */
export function createZipf(count: number, random = createRandom()): () => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1) ** 0.99
    sums[rank] = sum
  }
  const places = shuffled(Array.from({ length: count }, (_, index) => index), createRandom(99))
  return () => {
    const wanted = random() * sum
    let [low, high] = [0, count - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] ?? 0) < wanted) low = middle + 1
      else high = middle
    }
    return places[low] ?? 0
  }
}
