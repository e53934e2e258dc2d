import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { newWorld, startLoad } from '../../support/load.ts'
import { newBucket } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { brokenPromises } from '../../support/verify.ts'
import { deleteEverything, garbageBytes, sweepsNothingWrong } from '../garbage.ts'
import { randomOf, type Random } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'crash at each step'
export const promise = 'Wherever between two steps of a write, a sweep or a compaction the process dies: acknowledged is there, the rest is whole or absent, and no byte of it stays'
export const method = 'the process kills itself at the k-th time that it comes to a step (`failpoint` in src), under a mixed load; then the ledger is compared, and at the end everything is deleted and swept'
export const weight = 3

/** A step, and what of: all that `failpoint` is called with in src. */
const steps: readonly (readonly [step: string, of: string, atMax: number])[] = [
  ['segment created', '', 1], ['group appended', '', 30], ['group synced', '', 30], ['group durable', '', 30],
  ['record carried', '', 30], ['carried synced', '', 3],
  ['file written', 'blobs/', 8], ['file synced', 'blobs/', 8], ['file named', 'blobs/', 8], ['file durable', 'blobs/', 8],
  ['before COMMIT', 'put;', 40], ['after COMMIT', 'put;', 40], ['before COMMIT', 'delete;', 10], ['after COMMIT', 'delete;', 10],
  ['upload created', '', 3], ['before COMMIT', 'put-part;', 3], ['after COMMIT', 'put-part;', 3], ['before COMMIT', 'complete;', 3], ['after COMMIT', 'complete;', 3],
  ['dead removed', 'file', 5], ['dead removed', 'segment', 20], ['dead noted', 'some', 2], ['dead forgotten', '', 2],
  ['file written', '.notes', 2], ['file synced', '.notes', 2], ['file named', '.notes', 2], ['file durable', '.notes', 2],
  ['records copied', '', 2], ['records relocated', '', 2], ['move noted', '', 1], ['segment removed', '', 2],
]

/** These come only to segments that nobody appends to any more. */
const ofSegments = new Set(['records copied', 'records relocated', 'move noted', 'segment removed'])
const loadOptions = { clients: 10, largeBytesMax: 500_000 }

/** How long a load may take to come to a step. Sweeps and compactions come only when there is something for them. */
const reachMs = 12_000
const patience = 3

const preload = path.join(import.meta.dirname, '..', 'failpoints', 'preload.ts')

/** One case is one death at a step. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const folder = await mkdtemp(path.join(tmpdir(), 'holdfast-failpoint-'))
  const file = path.join(folder, 'armed')
  const met = new Map<string, number>()
  const missed = new Map<string, number>()
  const violations: string[] = []
  const server = await startServer({
    env: { NODE_OPTIONS: `--import=${pathToFileURL(preload).href}`, FAILPOINT_FILE: file, HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' },
  })
  const world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
  try {
    for (let queue = shuffled(random), round = 0; (round < 3 || Date.now() < end) && violations.length < 10; round++, queue = queue.length > 1 ? queue.slice(1) : shuffled(random)) {
      const [step, of, atMax] = queue[0] as (typeof steps)[number]
      if (ofSegments.has(step)) await leaveSegment(server, () => startLoad(world, loadOptions))
      const name = of === '' ? step : `${step} (${of})`
      await writeFile(file, `${step}\n${of}\n${1 + Math.floor(random() * atMax)}`)
      const died = await loadUntilDead(server, () => startLoad(world, loadOptions))
      await rm(file, { force: true })
      // It may have come there just now.
      const dead = died || await Promise.race([server.exited().then(() => true), sleep(200, false)])
      if (!dead) {
        missed.set(name, (missed.get(name) ?? 0) + 1)
        continue
      }
      met.set(name, (met.get(name) ?? 0) + 1)
      // Half of the time its PostgreSQL dies with it.
      if (random() < 0.5) await server.killPostgres()
      await server.restart()
      violations.push(...(await brokenPromises(world)).map((text) => `seed ${seed}, died at ${name}: ${text}`))
      world.wrong.length = 0
    }
    const never = [...missed].filter(([name, times]) => times >= patience && !met.has(name))
    violations.push(...never.map(([name]) => `seed ${seed}: no load came to the step ${name}`))
    const cases = [...met.values()].reduce((sum, times) => sum + times, 0)
    say(`${cases} deaths at ${met.size} of ${steps.length} steps, ${world.ledger.acknowledged} acknowledged writes${missed.size === 0 ? '' : `; not met in time: ${[...missed.keys()].join(', ')}`}`)
    if (violations.length === 0) {
      violations.push(...(await sweepsNothingWrong(server)).map((text) => `seed ${seed}, after all: ${text}`))
      await deleteEverything(server, [world.bucket, world.versionedBucket])
      const garbage = await garbageBytes(server)
      if (garbage !== '') violations.push(`seed ${seed}: after everything was deleted and swept there is ${garbage}`)
    }
    return { cases, violations }
  } finally {
    await server.remove()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Each step once, in a random order: a short run sees others than the next one. */
function shuffled(random: Random): (typeof steps)[number][] {
  return steps.map((step) => ({ step, place: random() })).sort((a, b) => a.place - b.place).map(({ step }) => step)
}

/** Leaves a segment behind that the next load makes mostly dead, by writing the same keys. */
async function leaveSegment(server: TestServer, start: () => ReturnType<typeof startLoad>): Promise<void> {
  const load = start()
  await sleep(1500)
  await load.stop()
  await server.stop()
  await server.restart()
}

async function loadUntilDead(server: TestServer, start: () => ReturnType<typeof startLoad>): Promise<boolean> {
  const load = start()
  const timer = new AbortController()
  const died = await Promise.race([server.exited().then(() => true), sleep(reachMs, false, { signal: timer.signal }).catch(() => false)])
  timer.abort()
  await load.stop()
  return died
}
