import { expect, test } from 'vitest'
import { promise, run } from './promises/rot.ts'

const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)

test(`${promise} (seed ${seed})`, async () => {
  const { cases, violations } = await run({ seed, seconds: process.env['HOLDFAST_TEST_PATIENT'] === '1' ? 10 : 3, say: () => undefined })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(0)
})
