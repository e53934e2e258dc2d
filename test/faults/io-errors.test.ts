import { expect, test } from 'vitest'
import { run } from './promises/io-errors.ts'

test('a failed or short write, sync, rename or open never becomes a 200, a failed sync is not retried, and reads go on', async () => {
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
  const { cases, violations } = await run({ seed, seconds: 30, say: (text) => console.log(`seed ${seed}: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(0)
})
