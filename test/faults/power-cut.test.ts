import { expect, test } from 'vitest'
import { run } from './promises/power-cut.ts'

test('after a power cut at any place every acknowledged object is whole, and the sweeper frees exactly the garbage', async () => {
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
  const { cases, violations } = await run({ seed, seconds: 30, say: (text) => console.log(`seed ${seed}: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(50)
})
