import { expect, test } from 'vitest'
import { testSeed } from '../support/promise.ts'
import { rows, run } from '../faults/promises/sweeper.ts'

const seed = testSeed()

test(`${rows.map(({ promise }) => promise).join('. ')} (seed ${seed})`, async () => {
  const found = await run({ seed, seconds: 8, say: (text) => console.log(`sweeper: ${text}`) })
  for (const { row } of rows) {
    expect(found[row]?.violations, row).toEqual([])
    expect(found[row]?.cases, row).toBeGreaterThan(0)
  }
})
