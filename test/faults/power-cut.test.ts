import { expect, test } from 'vitest'
import { journalMissing } from './journal/library.ts'
import { run } from './promises/power-cut.ts'

/** CI takes the time for more states. */
const patient = process.env['HOLDFAST_TEST_PATIENT'] === '1'

test('after a power cut at any place every acknowledged object is whole, and the sweeper frees exactly the garbage', async ({ skip }) => {
  const missing = await journalMissing()
  if (missing !== null) skip(missing)
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
  const { cases, violations } = await run({ seed, seconds: patient ? 20 : 3, say: (text) => console.log(`seed ${seed}: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(patient ? 50 : 0)
})
