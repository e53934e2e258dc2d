import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLatelyUsed } from '../../src/metadata/postgres/lately-used.ts'

describe('what was used lately', () => {
  test('is there until it is too old, however often it is asked for', () => {
    const clock = { now: 0 }
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: 30, now: () => clock.now })
    known.set(7, 1, 10)
    for (clock.now = 0; clock.now < 30; clock.now += 10) expect(known.get(7)).toBe(1)
    expect(known.get(7)).toBeUndefined()
    known.set(7, 2, 10)
    expect(known.get(7)).toBe(2)
  })

  test('stays, and what nobody asks for makes room', () => {
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
    for (let each = 0; each < 10; each++) known.set(each, each, 10)
    for (let each = 0; each < 5; each++) known.get(each)
    for (let each = 0; each < 5; each++) known.set(each + 10, each, 10)
    for (let each = 0; each < 5; each++) expect([known.get(each), known.get(each + 5), known.get(each + 10)]).toEqual([each, undefined, each])
  })

  test('once it is full, wants what came before and not what comes for the first time', () => {
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
    for (let each = 0; each < 10; each++) {
      expect(known.wants(each, 10)).toBe(true)
      known.set(each, each, 10)
    }
    expect([known.wants(-11, 10), known.wants(-12, 10), known.wants(-11, 10), known.wants(-12, 10)]).toEqual([false, false, true, true])
    known.delete(3)
    expect(known.wants(13, 10)).toBe(true)
  })

  test('is not remembered when it is more than all that fits', () => {
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
    known.set(1, 1, 100)
    known.set(2, 2, 101)
    expect([known.get(1), known.get(2)]).toEqual([1, undefined])
  })

  test('is what was set last, never more than the bound, whatever is done in whatever order', () => {
    const step = fc.record({ call: fc.constantFrom('get', 'set', 'delete', 'clear'), hash: fc.integer({ min: -3, max: 3 }), bytes: fc.integer({ min: 1, max: 40 }) })
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
      const last = new Map<number, { value: number; bytes: number }>()
      for (const [value, { call, hash, bytes }] of steps.entries()) {
        if (call === 'set') {
          known.set(hash, value, bytes)
          last.set(hash, { value, bytes })
          // The hand may take even the newest away, when all are marked.
        } else if (call === 'delete') {
          known.delete(hash)
          last.delete(hash)
        } else if (call === 'clear') {
          known.clear()
          last.clear()
        } else {
          const got = known.get(hash)
          if (got === undefined) last.delete(hash)
          else expect(got).toBe(last.get(hash)?.value)
        }
      }
      let sum = 0
      for (const [hash, { bytes }] of last) sum += known.get(hash) === undefined ? 0 : bytes
      expect(sum).toBeLessThanOrEqual(100)
    }))
  })
})
