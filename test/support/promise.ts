import { expect, test } from 'vitest'
import type { RowModule } from '../faults/promises/runner/promise.ts'

export interface ShortRun {
  /** `npm run promises` takes the time for more cases. Default: 2. */
  readonly seconds?: number
  /** Of CI, which waits for more. Default: the same. */
  readonly patientSeconds?: number
  /** So many at least, however slow the machine is: `run` has to see to it. Default: 1. */
  readonly casesMin?: number
  /** Why this machine cannot; null when it can. */
  readonly missing?: () => Promise<string | null>
}

/** CI waits for more cases, and for the server's own timers, which are minutes; an everyday run does not. */
export const patient = process.env['HOLDFAST_TEST_PATIENT'] === '1'

/** One for each run; HOLDFAST_TEST_SEED repeats one. */
export const testSeed = (): number => Number(process.env['HOLDFAST_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))

/** A promise as a test of the everyday suite, for a short time and with another seed each time. */
export function testShortly({ promise, run }: Pick<RowModule, 'promise' | 'run'>, options: ShortRun = {}): void {
  const { seconds = 2, patientSeconds = seconds, casesMin = 1 } = options
  const seed = testSeed()
  test(`${promise} (seed ${seed})`, async ({ skip }) => {
    const missing = await options.missing?.() ?? null
    if (missing !== null) skip(missing)
    const { cases, violations } = await run({ seed, seconds: patient ? patientSeconds : seconds, say: (text) => console.log(`seed ${seed}: ${text}`) })
    expect(violations).toEqual([])
    expect(cases).toBeGreaterThanOrEqual(casesMin)
  })
}
