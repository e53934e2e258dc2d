import { explore } from '../journal/explore.ts'
import { record, type Recording } from '../journal/recording.ts'
import { randomOf, type Random } from '../journal/states.ts'
import { restartsOnCrashStates } from '../journal/restarts.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'power cut'
export const promise = 'Every acknowledged object reads back byte for byte, nothing is half there, and the next sweep frees exactly the garbage'
export const method = 'the disk as POSIX allows it after each system call of a recorded workload, opened with the recovery code'
/** Ten thousand states take some minutes. */
export const weight = 13

/** A short run looks at a few hundred states of a small recording. */
const shortSeconds = 60
/** One recording for so many seconds: each has other sizes and another order. */
const recordingSeconds = 240

export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const short = seconds < shortSeconds
  const violations: string[] = []
  let cases = 0
  do {
    const recording = await record({ random, rounds: short ? 1 : 3, say })
    try {
      const found = await onePart(recording, random, short ? end : Math.min(end, Date.now() + recordingSeconds * 1000), short, say)
      cases += found.cases
      violations.push(...found.violations)
    } finally {
      await recording.remove()
    }
  } while (violations.length === 0 && Date.now() + 60_000 < end)
  return { cases, violations: violations.map((text) => `seed ${seed}: ${text}`) }
}

async function onePart(recording: Recording, random: Random, end: number, short: boolean, say: (text: string) => void): Promise<{ cases: number; violations: string[] }> {
  const began = Date.now()
  // However long the recording took on a busy machine, something is looked at.
  const until = Math.max(end, began + 8000)
  const { states, places, sweeps, violations } = await explore(recording, { random, until, statesMin: 60, statesMax: short ? 400 : 1_000_000, sweepEvery: 20 })
  const took = (Date.now() - began) / 1000
  say(`${states} distinct states at ${places} places, ${sweeps} of them swept, in ${took.toFixed(0)} s: ${(states / took).toFixed(0)} states/s`)
  const restarts = violations.length > 0 ? [] : await restartsOnCrashStates(recording, random, short ? 1 : 4)
  return { cases: states, violations: [...violations, ...restarts] }
}
