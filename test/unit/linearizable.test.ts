import { describe, expect, test } from 'vitest'
import { checkHistory, reads, refusedIf, writes, writesIf, type Effect, type Held, type Operation } from '../faults/consistency/linearizable.ts'
import { randomOf } from '../faults/journal/states.ts'

/** The judge of recorded histories is judged first. */

const op = (called: number, answered: number, effect: Effect, text = ''): Operation => ({ called, answered, effect, text })
const put = (called: number, answered: number, value: Held): Operation => op(called, answered, writes(value), `put ${value}`)
const get = (called: number, answered: number, value: Held): Operation => op(called, answered, reads(value), `get ${value}`)
const kindOf = (...history: Operation[]): string => checkHistory(history).kind

describe('linearizable is', () => {
  test.each<[string, Operation[]]>([
    ['nothing at all', []],
    ['one after the other', [put(1, 2, 'a'), get(3, 4, 'a'), put(5, 6, null), get(7, 8, null)]],
    ['a read beside a write that sees the old state', [put(1, 2, 'a'), put(3, 9, 'b'), get(4, 5, 'a'), get(6, 7, 'b')]],
    ['two writes at once, seen in either order', [put(1, 9, 'a'), put(1, 9, 'b'), get(10, 11, 'a')]],
    ['a write without an answer that happened late', [put(1, Infinity, 'a'), put(2, 3, 'b'), get(4, 5, 'b'), get(6, 7, 'a')]],
    ['a write without an answer that never happened', [put(1, Infinity, 'a'), get(2, 3, null), get(4, 5, null)]],
    ['a conditional write without an answer', [put(1, 2, 'a'), op(3, Infinity, writesIf((held) => held === 'a', 'b')), get(4, 5, 'a'), get(6, 7, 'b')]],
    ['a refusal that was true for a moment', [put(1, 9, 'a'), op(2, 3, refusedIf((held) => held !== null)), put(4, 8, null), get(10, 11, null)]],
  ])('%s', (_, history) => expect(checkHistory(history)).toEqual({ kind: 'linearizable' }))
})

describe('violated is', () => {
  test.each<[string, Operation[]]>([
    ['a stale read', [put(1, 2, 'a'), put(3, 4, 'b'), get(5, 6, 'a')]],
    ['a lost write', [put(1, 2, 'a'), get(3, 4, null)]],
    ['a read of what nobody wrote', [put(1, 2, 'a'), get(3, 4, 'z')]],
    ['old after new', [put(1, 2, 'a'), put(3, 9, 'b'), get(4, 5, 'b'), get(6, 7, 'a')]],
    ['two readers that disagree on the order', [put(1, 9, 'a'), put(1, 9, 'b'), get(2, 3, 'a'), get(4, 5, 'b'), get(6, 7, 'a')]],
    ['a write without an answer before its call', [get(1, 2, 'a'), put(3, Infinity, 'a')]],
    ['a write without an answer that happened twice', [put(1, Infinity, 'a'), put(2, 3, 'b'), get(4, 5, 'a'), put(6, 7, 'c'), get(8, 9, 'a')]],
    ['two that both were the first', [op(1, 9, writesIf((held) => held === null, 'a')), op(1, 9, writesIf((held) => held === null, 'b'))]],
    ['a deleted one that comes back', [put(1, 2, 'a'), put(3, 4, null), get(5, 6, null), get(7, 8, 'a')]],
    ['a refusal that was never true', [put(1, 2, 'a'), op(3, 4, refusedIf((held) => held === null))]],
  ])('%s', (_, history) => expect(kindOf(...history)).toBe('violated'))

  test('told by what cannot come next', () => {
    const verdict = checkHistory([put(1, 2, 'a'), put(3, 4, 'b'), get(5, 6, 'a')])
    expect(verdict.kind === 'violated' ? verdict.text : '').toMatch(/the key holds b, .*get a/)
  })
})

/** A register of six clients with real moments of effect; some answers are lost. */
function simulated(seed: number, length: number): Operation[] {
  const random = randomOf(seed)
  const steps = Array.from({ length }, (_, index) => ({ index, at: index * 10 + random() * 8 }))
  let held: Held = null
  return steps.map(({ index, at }) => {
    const called = at - random() * 40
    const answered = at + random() * 40
    const kind = random()
    if (kind < 0.5) return get(called, answered, held)
    const lost = random() < 0.05
    const happens = !lost || random() < 0.5
    const value: Held = kind < 0.6 ? null : `v${index}`
    if (happens) held = value
    return put(called, lost ? Infinity : answered, value)
  })
}

test('random histories of a real register are linearizable; with one read changed to an older value most are not', () => {
  let caught = 0
  for (let seed = 1; seed <= 60; seed++) {
    const history = simulated(seed, 150)
    expect(checkHistory(history), `seed ${seed}`).toEqual({ kind: 'linearizable' })
    const from = 100
    const at = history.findIndex((operation, index) => index > from && operation.text.startsWith('get v'))
    if (at < 0) continue
    const old = history.slice(0, 40).find(({ text }) => text.startsWith('put v'))?.text.slice(4) ?? 'v0'
    caught += Number(kindOf(...history.map((operation, index) => (index === at ? get(operation.called, operation.answered, old) : operation))) === 'violated')
  }
  expect(caught).toBeGreaterThan(50)
})
