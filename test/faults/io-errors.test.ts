import { expect, test } from 'vitest'
import { journalMissing } from './journal/library.ts'
import { run } from './promises/io-errors.ts'

/** CI takes the time for more states. */
const patient = process.env['HOLDFAST_TEST_PATIENT'] === '1'

test('a failed or short write, sync, rename or open never becomes a 200, a failed sync is not retried, and reads go on', async ({ skip }) => {
  const missing = await journalMissing()
  if (missing !== null) skip(missing)
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
  const { cases, violations } = await run({ seed, seconds: patient ? 20 : 3, say: (text) => console.log(`seed ${seed}: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(0)
})
