/**
 * Whether what clients saw of one key can have happened in some order: every operation at one moment between its call and its
 * answer. Source: Wing and Gong, "Testing and Verifying Concurrent Objects"; the memory of states that were tried already is Lowe's,
 * "Testing for linearizability".
 */

/** What the key holds: the ETag of a write that no other one has, or null for nothing. */
export type Held = string | null

export interface Operation {
  /** For the report: who did what and what came of it. */
  readonly text: string
  /** Times of one clock. Infinity: no answer came, so that it may happen at any time after its call, or never. */
  readonly called: number
  readonly answered: number
  readonly effect: Effect
}

export interface Effect {
  /** Whether it can change anything; what cannot has its place wherever it fits. */
  readonly changes: boolean
  /** What the key holds behind it; undefined where its answer cannot have been, given what the key held. */
  step(held: Held): Held | undefined
}

export type Verdict =
  | { readonly kind: 'linearizable' }
  | { readonly kind: 'violated'; readonly text: string }
  /** The search was given up. */
  | { readonly kind: 'undecided' }

const triesMax = 3_000_000

export const reads = (seen: Held): Effect => ({ changes: false, step: (held) => (held === seen ? held : undefined) })
export const writes = (next: Held): Effect => ({ changes: true, step: () => next })
/** Only while `holds`: a conditional write that succeeded, or whose answer never came. */
export const writesIf = (holds: (held: Held) => boolean, next: Held): Effect => ({ changes: true, step: (held) => (holds(held) ? next : undefined) })
/** Its answer is possible only while `holds`. */
export const refusedIf = (holds: (held: Held) => boolean): Effect => ({ changes: false, step: (held) => (holds(held) ? held : undefined) })

export function checkHistory(history: readonly Operation[], initial: Held = null): Verdict {
  const operations = history.toSorted((a, b) => a.called - b.called)
  const done = new Uint8Array(operations.length)
  /** Answered ones that have no place yet. */
  let left = operations.filter(({ answered }) => answered !== Infinity).length
  const tried = new Set<string>()
  let tries = 0
  let best = { placed: -1, held: initial, done: new Uint8Array(0) }
  let placed = 0

  /** Those that may come next: called before every unplaced one was answered. */
  function candidates(): number[] {
    const found: number[] = []
    let answeredFirst = Infinity
    for (let index = 0; index < operations.length; index++) {
      const operation = operations[index]
      if (operation === undefined || done[index] === 1) continue
      if (operation.called > answeredFirst) break
      found.push(index)
      answeredFirst = Math.min(answeredFirst, operation.answered)
    }
    return found.filter((index) => (operations[index]?.called ?? 0) <= answeredFirst)
  }

  function search(from: Held): boolean | null {
    const undo: number[] = []
    const held = from
    const place = (index: number): void => {
      done[index] = 1
      placed += 1
      if (operations[index]?.answered !== Infinity) left -= 1
    }
    const take = (index: number): void => {
      done[index] = 0
      placed -= 1
      if (operations[index]?.answered !== Infinity) left += 1
    }
    // What cannot change anything and fits is best placed at once: no order that works is lost by it.
    let next = candidates()
    for (let found = true; found;) {
      const still = next.find((index) => operations[index]?.effect.changes === false && operations[index]?.effect.step(held) === held)
      found = still !== undefined
      if (still === undefined) break
      place(still)
      undo.push(still)
      next = candidates()
    }
    let answer: boolean | null = left === 0
    if (!answer) {
      if (placed > best.placed) best = { placed, held, done: done.slice() }
      const state = `${Buffer.from(done).toString('latin1')}${held}`
      tries += 1
      if (tries > triesMax) answer = null
      else if (!tried.has(state)) {
        tried.add(state)
        for (const index of next) {
          const after = operations[index]?.effect.step(held)
          if (after === undefined) continue
          place(index)
          answer = search(after)
          take(index)
          if (answer !== false) break
        }
      }
    }
    for (const index of undo) take(index)
    return answer
  }

  const answer = search(initial)
  if (answer === true) return { kind: 'linearizable' }
  if (answer === null) return { kind: 'undecided' }
  return { kind: 'violated', text: storyOf(operations, best.done, best.held) }
}

/** What no order explains: the state after the longest order found, and the operations that should have come next. */
function storyOf(operations: readonly Operation[], done: Uint8Array, held: Held): string {
  const open = operations.filter((_, index) => done[index] !== 1)
  const until = Math.min(...open.map(({ answered }) => answered))
  const line = ({ text, called, answered }: Operation): string => `${called.toFixed(2)} to ${answered.toFixed(2)} ${text}`
  const near = operations.filter((operation, index) => done[index] === 1 && operation.answered > until - 50 && operation.called <= until).slice(-12)
  return `the key holds ${held}, and none of these can be next: ${open.filter(({ called }) => called <= until).map(line).join('; ')}. Placed before: ${near.map(line).join('; ')}`
}
