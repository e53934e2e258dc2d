import { afterAll, expect } from 'vitest'
import { answersBy } from './raw.ts'

/** Behind each file of the project `processes`: both server processes have answered, each a good part. */
afterAll(() => {
  const all = [...answersBy.values()].reduce((sum, count) => sum + count, 0)
  expect(all).toBeGreaterThan(50)
  expect(answersBy.size).toBe(2)
  expect(Math.min(...answersBy.values())).toBeGreaterThan(all / 5)
})
