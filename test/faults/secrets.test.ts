import { expect, test } from 'vitest'
import { promise, run } from './promises/secrets.ts'

const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)

test(`${promise} (seed ${seed})`, async () => {
  const { cases, violations } = await run({ seed, seconds: process.env['HOLDFAST_TEST_PATIENT'] === '1' ? 20 : 4, say: (text) => console.log(text) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(100)
})
