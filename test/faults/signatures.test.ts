import { expect, test } from 'vitest'
import { botocoreMissing } from './hostile/signers.ts'
import { promise, run } from './promises/signatures.ts'

/** CI takes the time for more requests. */
const patient = process.env['HOLDFAST_TEST_PATIENT'] === '1'
const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)

test(`${promise} (seed ${seed})`, async ({ skip }) => {
  const missing = await botocoreMissing({ url: 'http://127.0.0.1:1', accessKeyId: 'x', secretAccessKey: 'x' })
  if (missing !== null) skip(missing)
  const { cases, violations } = await run({ seed, seconds: patient ? 40 : 4, say: (text) => console.log(text) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(1000)
})
