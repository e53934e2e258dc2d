import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lastingTemporaryFiles } from '../../support/leftovers.ts'
import { newWorld, type World } from '../../support/load.ts'
import { signalAll } from '../../support/processes.ts'
import { signedRequest } from '../../support/raw.ts'
import { newBucket, outcome } from '../../support/s3.ts'
import { serverProcesses } from '../../support/server-processes.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { acknowledgesMore, isBack, serves, underLoad, until } from '../../support/under-load.ts'
import { brokenPromises } from '../../support/verify.ts'
import { randomOf, type Random } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'process kill'
export const promise = 'Every acknowledged write is there after any process has died at any moment, and one that was not is whole or absent'
export const method = 'kill -9 of the server with its PostgreSQL, of the server alone, of PostgreSQL alone, of one of two server processes, at random moments of a mixed load; all that clients know is compared'
export const weight = 2

const victims = ['the server and its PostgreSQL', 'the server alone', 'PostgreSQL alone', 'one of two server processes', 'the supervisor of two'] as const
type Victim = (typeof victims)[number]

/** A server with what its clients know of it. */
interface Place {
  readonly server: TestServer
  readonly world: World
  /** Deaths of single processes since the last start: too many in a minute would end the server, as they should. */
  deaths: number
}

async function open(processes: number): Promise<Place> {
  const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes), HOLDFAST_SWEEP_GRACE_SECONDS: '2', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  return { server, world: newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled')), deaths: 0 }
}

/** One case is one death. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const violations: string[] = []
  const places: Place[] = []
  const count = new Map<Victim, number>()
  try {
    places.push(await open(1), await open(2))
    const [single, double] = places as [Place, Place]
    for (let round = 0; violations.length < 10 && (round < victims.length || Date.now() < end); round++) {
      const victim = victims[round < victims.length ? round : Math.floor(random() * victims.length)] as Victim
      const broken = await kill(victims.indexOf(victim) < 3 ? single : double, victim, random)
      violations.push(...broken.map((text) => `seed ${seed}, death ${round + 1}, ${victim}: ${text}`))
      count.set(victim, (count.get(victim) ?? 0) + 1)
    }
    const cases = [...count.values()].reduce((sum, each) => sum + each, 0)
    say(`${places.reduce((sum, { world }) => sum + world.ledger.acknowledged, 0)} acknowledged writes, deaths: ${[...count].map(([victim, times]) => `${times} of ${victim}`).join(', ')}`)
    return { cases, violations }
  } finally {
    for (const { server } of places) await server.remove()
  }
}

async function kill(place: Place, victim: Victim, random: Random): Promise<string[]> {
  const { server, world } = place
  const soon = (): Promise<void> => sleep(random() * 900)
  // A database that is away is answered with 503, a process that is gone with nothing at all.
  await underLoad(world, async () => {
    await soon()
    if (victim === 'the server and its PostgreSQL') await server.kill9()
    else if (victim === 'PostgreSQL alone') await killPostgres(place)
    else if (victim === 'one of two server processes') await killOne(place, random)
    else await server.killServer()
  }, victim === 'PostgreSQL alone' ? { allowed: [503] } : {})
  const single = victim === 'PostgreSQL alone' || victim === 'one of two server processes'
  if (single && ++place.deaths % 4 === 0) await server.stop()
  if (!single || place.deaths % 4 === 0) await server.restart()
  await isBack(server, [world.bucket, world.versionedBucket])
  const broken = await brokenPromises(world)
  world.wrong.length = 0
  // Processes that lost their supervisor may have been at work until after the start, which leaves theirs to the next one.
  if (victim === 'the supervisor of two') {
    await server.stop()
    await server.restart()
  }
  const left = await lastingTemporaryFiles(server.dataDir)
  if (left.length > 0) broken.push(`files of a dead process are left: ${left.join(', ')}`)
  if (server.output().includes('nobody foresaw')) broken.push(`an error that nobody foresaw:\n${server.output().slice(-3000)}`)
  return broken
}

async function killPostgres({ server, world }: Place): Promise<void> {
  await server.killPostgres()
  await until('the server has a database again', () => serves(server), 60_000, 100).catch(async (error: Error) => {
    // Whatever the reason was, it will not come back to be looked at.
    const postgresLog = await readFile(path.join(server.dataDir, 'postgres.log'), 'utf8')
    const answer = await signedRequest({ server, path: '/' }).then(outcome, String)
    throw new Error(`${error.message}: now ${answer}; the server said\n${server.output().slice(-700)}\nand PostgreSQL\n${postgresLog.slice(-700)}`)
  })
  await acknowledgesMore(world)
}

async function killOne({ server, world }: Place, random: Random): Promise<void> {
  await until('both processes run', async () => (await serverProcesses(server.pid)).length === 2)
  const processes = await serverProcesses(server.pid)
  const victim = processes[random() < 0.5 ? 0 : 1] ?? 0
  signalAll([victim], 'SIGKILL')
  const ready = await fetch(`${server.controlUrl}/health/ready`)
  if (ready.status !== 200) world.wrong.push(`/health/ready answers ${ready.status} while the other process serves`)
  await acknowledgesMore(world)
  await until('the dead process is replaced', async () => (await serverProcesses(server.pid)).filter((pid) => pid !== victim).length === 2)
  // It is there before it listens.
  await sleep(300)
}
