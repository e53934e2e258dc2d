import { expect, test } from 'vitest'

/** What each file of test/faults/promises exports; a violation says its seed. */
export interface PromiseModule {
  readonly row: string
  readonly promise: string
  readonly method: string
  run(options: { seed: number; seconds: number; say(text: string): void }): Promise<{ cases: number; violations: string[] }>
}

/** `npm run promises` takes the time for more cases. */
const seconds = 2

/** A promise as a test of the everyday suite, for a short time and with another seed each time. HOLDFAST_TEST_SEED names one. `missing`: why this machine cannot. */
export function testShortly({ promise, run }: PromiseModule, missing: string | null = null): void {
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
  test(`${promise} (seed ${seed})`, async ({ skip }) => {
    if (missing !== null) skip(missing)
    const { cases, violations } = await run({ seed, seconds, say: (text) => console.log(`seed ${seed}: ${text}`) })
    expect(violations).toEqual([])
    expect(cases).toBeGreaterThan(0)
  })
}
