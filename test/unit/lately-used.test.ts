import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLatelyUsed } from '../../src/metadata/postgres/lately-used.ts'

describe('what was used lately', () => {
  test('is there until it is too old, however often it is asked for', () => {
    const clock = { now: 0 }
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: 30, now: () => clock.now })
    known.set('a', 1, 10)
    for (clock.now = 0; clock.now < 30; clock.now += 10) expect(known.get('a')).toBe(1)
    expect(known.get('a')).toBeUndefined()
    known.set('a', 2, 10)
    expect(known.get('a')).toBe(2)
  })

  test('stays, and what nobody asks for makes room', () => {
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
    for (let each = 0; each < 10; each++) known.set(`old ${each}`, each, 10)
    for (let each = 0; each < 5; each++) known.get(`old ${each}`)
    for (let each = 0; each < 5; each++) known.set(`new ${each}`, each, 10)
    for (let each = 0; each < 5; each++) expect([known.get(`old ${each}`), known.get(`old ${each + 5}`), known.get(`new ${each}`)]).toEqual([each, undefined, each])
  })

  test('is not remembered when it is more than all that fits', () => {
    const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
    known.set('small', 1, 100)
    known.set('large', 2, 101)
    expect([known.get('small'), known.get('large')]).toEqual([1, undefined])
  })

  test('is what was set last, never more than the bound, whatever is done in whatever order', () => {
    const step = fc.record({ call: fc.constantFrom('get', 'set', 'delete', 'clear'), name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'), bytes: fc.integer({ min: 1, max: 40 }) })
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const known = createLatelyUsed<number>({ bytesMax: 100, lifeMs: Infinity })
      const last = new Map<string, { value: number; bytes: number }>()
      for (const [value, { call, name, bytes }] of steps.entries()) {
        if (call === 'set') {
          known.set(name, value, bytes)
          last.set(name, { value, bytes })
          // The hand may take even the newest away, when all are marked.
        } else if (call === 'delete') {
          known.delete(name)
          last.delete(name)
        } else if (call === 'clear') {
          known.clear()
          last.clear()
        } else {
          const got = known.get(name)
          if (got === undefined) last.delete(name)
          else expect(got).toBe(last.get(name)?.value)
        }
      }
      let sum = 0
      for (const [name, { bytes }] of last) sum += known.get(name) === undefined ? 0 : bytes
      expect(sum).toBeLessThanOrEqual(100)
    }))
  })
})
