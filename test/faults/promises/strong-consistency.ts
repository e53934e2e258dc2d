import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, lastLook, newRound } from '../consistency/clients.ts'
import { checkHistory } from '../consistency/linearizable.ts'
import { randomOf, type Random } from '../journal/states.ts'
import { familyOf, signalAll } from '../../support/processes.ts'
import { signedRequest } from '../../support/raw.ts'
import { newBucket } from '../../support/s3.ts'
import { serverProcesses } from '../../support/server-processes.ts'
import { startServer, type TestServer } from '../../support/server.ts'

export const row = 'strong consistency'
export const promise = 'Puts, conditional puts and deletes, reads, ranges and listings of a key are linearizable, also through deaths and pauses of the server and of PostgreSQL'
export const method = 'histories of concurrent clients, each key judged by a search for an order that explains all answers; one and two server processes'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const clientsAtOnce = 7
const keysAtOnce = 3
/** A history that is short is judged in milliseconds; the next round has fresh keys. */
const operationsPerRound = 400
/** However short the time is. */
const roundsMin = 2

type Trouble = (server: TestServer, random: Random) => Promise<void>

/** What happens in the middle of a round. */
const troubles: Readonly<Record<string, Trouble>> = {
  nothing: () => Promise.resolve(),
  'kill of all': async (server) => {
    await server.kill9()
    await server.restart()
  },
  'kill of PostgreSQL': async (server) => {
    await server.killPostgres()
    await answersAgain(server)
  },
  'pause of PostgreSQL': async (server, random) => {
    const postmaster = Number((await readFile(join(server.dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0])
    await pause(await familyOf(postmaster), 200 + random() * 1000)
  },
  'kill of the server': async (server) => {
    await server.killServer()
    await server.restart()
  },
}

/** Only where several processes serve. A server ends on purpose when its processes die again and again, so deaths are few. */
const troublesOfProcesses: Readonly<Record<string, Trouble>> = {
  'pause of a process': async (server, random) => pause((await serverProcesses(server.pid)).slice(0, 1), 200 + random() * 1000),
  'kill of a process': async (server) => {
    const [victim] = await serverProcesses(server.pid)
    if (victim !== undefined) signalAll([victim], 'SIGKILL')
    await answersAgain(server)
  },
}

function shuffled<T>(all: readonly T[], random: Random): T[] {
  return all.map((value) => ({ value, at: random() })).sort((a, b) => a.at - b.at).map(({ value }) => value)
}

async function pause(pids: readonly number[], ms: number): Promise<void> {
  signalAll(pids, 'SIGSTOP')
  await sleep(ms)
  signalAll(pids, 'SIGCONT')
}

async function answersAgain(server: TestServer): Promise<void> {
  await sleep(200)
  for (const until = Date.now() + 30_000; Date.now() < until; await sleep(50)) {
    if (await signedRequest({ server, path: '/' }).then(({ status }) => status === 200, () => false)) return
  }
  throw new Error(`the server does not answer any more:\n${server.output().slice(-4000)}`)
}

/** One case is the history of one key. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const total = { cases: 0, operations: 0, undecided: 0, unknown: 0 }
  const violations: string[] = []
  const met = new Map<string, number>()
  for (const processes of [1, 2]) {
    const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes), HOLDFAST_SWEEP_GRACE_SECONDS: '5', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
    try {
      const buckets = [await newBucket(server.client), await newBucket(server.client, 'Enabled')]
      const kinds = shuffled(Object.entries({ ...troubles, ...(processes > 1 ? troublesOfProcesses : {}) }), random)
      const until = Date.now() + (seconds * 1000) / 2
      let deaths = 0
      for (let turn = 0; violations.length < 5 && (turn < roundsMin || Date.now() < until); turn++) {
        const [name, trouble] = kinds[turn % kinds.length] ?? ['nothing', troubles['nothing'] as Trouble]
        const killing = name === 'kill of a process'
        if (killing && deaths++ % 4 === 3) {
          await server.stop()
          await server.restart()
        }
        met.set(name, (met.get(name) ?? 0) + 1)
        const versioned = turn % 2 === 1
        const round = newRound(server, buckets[Number(versioned)] ?? '', versioned, Array.from({ length: keysAtOnce }, (_, index) => `p${processes}t${turn}/${index}`))
        const found = await oneRound(server, round, random, trouble)
        for (const history of round.histories.values()) {
          total.cases += 1
          total.operations += history.length
          total.unknown += history.filter(({ answered }) => answered === Infinity).length
        }
        total.undecided += found.undecided
        violations.push(...found.violations.map((text) => `seed ${seed}, ${processes} processes, turn ${turn}, ${name}: ${text}`))
      }
    } finally {
      await server.remove()
    }
  }
  say(`${total.operations} operations in ${total.cases} histories, ${total.unknown} of unknown outcome, ${total.undecided} histories not decided; ${[...met].map(([name, count]) => `${count} ${name}`).join(', ')}`)
  return { cases: total.cases, violations }
}

async function oneRound(server: TestServer, round: ReturnType<typeof newRound>, random: Random, trouble: Trouble): Promise<{ violations: string[]; undecided: number }> {
  let over = false
  const done = (): number => [...round.histories.values()].reduce((sum, history) => sum + history.length, 0)
  const going = (): boolean => !over
  const running = Array.from({ length: clientsAtOnce }, (_, index) => client(round, randomOf(Math.floor(random() * 2 ** 31)), `c${index}`, going))
  const reaches = async (count: number): Promise<void> => {
    for (const until = Date.now() + 20_000; done() < count && Date.now() < until;) await sleep(2)
  }
  try {
    await reaches(operationsPerRound * (0.2 + 0.4 * random()))
    const before = done()
    await trouble(server, random)
    // A while of its own behind the trouble, but not so long that nobody can judge it.
    await reaches(Math.max(operationsPerRound, Math.min(before, operationsPerRound) + 100))
  } catch (error) {
    // A server that does not come back breaks the promise, and what it said is the way to the cause.
    return { violations: [String(error)], undecided: 0 }
  } finally {
    over = true
    await Promise.all(running)
  }
  await lastLook(round, random)
  const violations = [...round.wrong]
  let undecided = 0
  for (const [key, history] of round.histories) {
    const verdict = checkHistory(history)
    if (verdict.kind === 'violated') violations.push(`${key} is not linearizable: ${verdict.text}`)
    if (verdict.kind === 'undecided') undecided += 1
  }
  return { violations, undecided }
}
