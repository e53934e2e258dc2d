import { randomOf } from '../journal/states.ts'
import { openPatient, type Patient } from '../journal/patient.ts'
import type { Fault, FaultyOp } from '../journal/control.ts'
import type { StepKind } from '../journal/workload.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'I/O errors'
export const promise = 'A failed or short write, sync, rename or open never becomes a 200; a failed sync is not retried, its drive takes no more writes, reads go on'
export const method = 'one call made to fail at a time, at a random place of a random workload; then what is durable by the journal is opened'

const errorCalls: readonly FaultyOp[] = ['sync', 'write', 'open', 'rename', 'mkdir', 'unlink', 'truncate']

interface Ailment {
  readonly name: string
  readonly fault: Omit<Fault, 'at'>
  /** Whether no answer may change by it. */
  readonly harmless: boolean
  /** Whether the drive is not to be trusted any more, once a client's write has met it. */
  readonly suspect: boolean
}

const ailments: readonly Ailment[] = [
  ...errorCalls.map((call) => ({ name: `EIO of ${call}`, fault: { calls: [call], kind: { error: 'EIO' } as const }, harmless: false, suspect: call === 'sync' || call === 'write' })),
  { name: 'EIO of sync', fault: { calls: ['sync'], kind: { error: 'EIO' } }, harmless: false, suspect: true },
  { name: 'EIO of two syncs', fault: { calls: ['sync'], kind: { error: 'EIO' }, times: 2 }, harmless: false, suspect: true },
  ...(['write', 'sync', 'open', 'rename', 'mkdir'] as const).map((call) => ({ name: `ENOSPC of ${call}`, fault: { calls: [call], kind: { error: 'ENOSPC' } as const }, harmless: false, suspect: false })),
  { name: 'short writes', fault: { calls: ['write'], kind: 'short', times: 4 }, harmless: true, suspect: false },
  { name: 'slow calls', fault: { calls: ['write', 'sync', 'rename', 'open'], kind: { delayMs: 60 }, times: 4 }, harmless: true, suspect: false },
]

/** Met in every run, however short: the calls of a small and of a large body in a fresh process, one by one. */
const always: readonly (readonly [name: string, at: number, kind: StepKind])[] = [
  ['EIO of sync', 1, 'small'], ['EIO of sync', 2, 'small'], ['EIO of sync', 1, 'large'], ['EIO of sync', 2, 'large'], ['EIO of write', 1, 'small'],
  ['EIO of rename', 1, 'large'], ['ENOSPC of write', 1, 'small'], ['ENOSPC of sync', 1, 'large'], ['short writes', 1, 'large'],
]

export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const until = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const violations: string[] = []
  const met = new Map<string, number>()
  const below = (limit: number): number => Math.floor(random() * limit)
  const patient = await openPatient(random)
  try {
    for (const error of ['ENOSPC', 'EIO'] as const) {
      met.set(`${error} of the reserve's sync`, 1)
      violations.push(...(await reserveIll(patient, error)).map((text) => `seed ${seed}, ${error} of the reserve's sync: ${text}`))
    }
    for (let round = 0; violations.length < 10 && (round < always.length || Date.now() < until); round++) {
      const [name, place, kind] = always[round] ?? []
      const sweeping = kind === undefined && below(6) === 0
      const ailment = ailments.find((each) => each.name === name) ?? ailments[below(ailments.length)]
      if (ailment === undefined) break
      const found = kind !== undefined ? await workIll(patient, ailment, false, place ?? 1, kind) : below(12) === 0 ? await startIll(patient, ailment, 1 + below(12)) : await workIll(patient, ailment, sweeping, 1 + below(sweeping ? 4 : 6))
      if (found === null) continue
      met.set(ailment.name, (met.get(ailment.name) ?? 0) + 1)
      violations.push(...found.map((text) => `seed ${seed}, ${ailment.name} in round ${round}${sweeping ? ' while sweeping' : ''}: ${text}`))
    }
  } finally {
    await patient.remove()
  }
  const cases = [...met.values()].reduce((sum, count) => sum + count, 0)
  say(`${cases} faults met: ${[...met].map(([name, count]) => `${count} ${name}`).join(', ')}`)
  return { cases, violations }
}

/** Something fails while clients write; null when nobody met it. */
async function workIll(patient: Patient, { fault, harmless, suspect }: Ailment, sweeping: boolean, at: number, kind?: StepKind): Promise<string[] | null> {
  await patient.be(sweeping)
  const broken: string[] = []
  patient.control.arm({ ...fault, at, path: '/drive/' })
  for (let step = 0; step < 12 && patient.control.counts().fired === 0; step++) {
    broken.push(...(await patient.work(harmless, kind)))
    if (sweeping) await patient.sweep()
  }
  // What follows a failure must not take it for a success.
  for (let step = 0; step < 2; step++) broken.push(...(await patient.work(harmless)))
  const met = patient.control.counts().fired > 0
  patient.control.disarm()
  broken.push(...(await patient.unreadable()), ...(await patient.undurable()), ...patient.syncsTriedAgain())
  if (met && suspect && !sweeping && (await patient.writes()) !== 503) broken.push('the drive takes writes after it failed')
  // Whatever state the failure has left behind ends with the process.
  if (met && !harmless) broken.push(...(await patient.restart()))
  return met ? broken : broken.length > 0 ? broken : null
}

/** What a fresh segment has laid out for later bodies is not known to be durable: none of them may rest on it. */
async function reserveIll(patient: Patient, error: 'EIO' | 'ENOSPC'): Promise<string[]> {
  await patient.stop()
  // The first sync is that of the first body's group.
  patient.control.arm({ calls: ['sync'], at: 2, path: '/drive/segments/', kind: { error } })
  const broken = await patient.restart()
  for (let step = 0; step < 3; step++) broken.push(...(await patient.work(false, 'small')))
  if (patient.control.counts().fired === 0) broken.push('the fault was not met')
  patient.control.disarm()
  broken.push(...(await patient.unreadable()), ...(await patient.undurable()), ...(await patient.restart()))
  return broken
}

/** Something fails while the server starts: it starts all the same or says why not, and starts once it is over. */
async function startIll(patient: Patient, { fault }: Ailment, at: number): Promise<string[] | null> {
  await patient.stop()
  patient.control.arm({ ...fault, at })
  const broken = await patient.tryStart()
  const met = patient.control.counts().fired > 0
  patient.control.disarm()
  broken.push(...(await patient.restart()), ...(await patient.undurable()))
  return met ? broken : broken.length > 0 ? broken : null
}
