import { expect, test } from 'vitest'
import { promise, run } from './promises/full-disk.ts'

const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)

test(`${promise} (seed ${seed})`, async () => {
  const { cases, violations } = await run({ seed, seconds: 1, say: (text) => console.log(`full disk: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(0)
})
