import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startExternalPostgres, type ExternalPostgres } from '../../support/external-postgres.ts'
import { newWorld, type World } from '../../support/load.ts'
import { startProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { signedRequest } from '../../support/raw.ts'
import { newBucket, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { acknowledgesMore, isBack, underLoad, until } from '../../support/under-load.ts'
import { brokenPromises } from '../../support/verify.ts'
import { randomOf, type Random } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'database death'
export const promise = 'No false and no lost 200, whatever happens to the database; 503 with Retry-After meanwhile, and the server goes on by itself'
export const method = 'PostgreSQL crashed, killed, paused, its sessions ended, its connections cut (before and after a COMMIT passed) and all taken, at random moments of a mixed load'

interface Place {
  readonly postgres: ExternalPostgres
  readonly proxy: PostgresProxy
  readonly server: TestServer
  readonly world: World
  readonly random: Random
}

/** Does harm and ends it; answers what was wrong meanwhile. */
const harms: Readonly<Record<string, (place: Place) => Promise<string[]>>> = {
  'a crash': async (place) => {
    await place.postgres.stop('immediate')
    const wrong = await refuses(place)
    await place.postgres.start()
    return wrong
  },
  'kill -9': async ({ postgres }) => {
    await postgres.signal('SIGKILL')
    // Its children end by themselves a moment later; until then a new one refuses the folder.
    await until('PostgreSQL starts again', () => postgres.start().then(() => true, () => false), 60_000, 100)
    return []
  },
  'a pause': async ({ postgres, random }) => {
    await postgres.signal('SIGSTOP')
    await sleep(300 + random() * 1700)
    await postgres.signal('SIGCONT')
    return []
  },
  'connections cut before COMMIT': (place) => cut(place, 'before'),
  'connections cut after COMMIT': (place) => cut(place, 'after'),
  'connections refused': async (place) => {
    place.proxy.away(true)
    await sleep(place.random() * 1500)
    const wrong = await refuses(place)
    place.proxy.away(false)
    return wrong
  },
  'sessions ended': async ({ postgres, random }) => {
    const client = await connected(postgres)
    for (let times = 1 + Math.floor(random() * 3); times > 0; times--) {
      await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = $1', ['client backend'])
      await sleep(random() * 400)
    }
    await client.end()
    return []
  },
  'all connections taken': async (place) => {
    const { postgres, proxy } = place
    const taken: pg.Client[] = []
    proxy.away(true)
    try {
      for (;;) taken.push(await connected(postgres))
    } catch (error) {
      // 53300: too many connections.
      if (!(error instanceof Error && 'code' in error && error.code === '53300')) throw error
    }
    proxy.away(false)
    const wrong = await refuses(place)
    await Promise.all(taken.map((client) => client.end()))
    return taken.length > 0 ? wrong : [...wrong, 'no connection could be taken']
  },
}

/** One case is one harm. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const names = Object.keys(harms)
  const violations: string[] = []
  const postgres = await startExternalPostgres()
  const proxy = await startProxy(postgres.port)
  const url = new URL(postgres.url)
  url.port = String(proxy.port)
  const server = await startServer({ env: { HOLDFAST_DATABASE_URL: url.href } }).catch(async (error: unknown) => {
    await proxy.close()
    await postgres.remove()
    throw error
  })
  try {
    const world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
    const { pid } = server
    let cases = 0
    let slowestMs = 0
    for (; violations.length < 10 && (cases < names.length || Date.now() < end); cases++) {
      const name = names[cases < names.length ? cases : Math.floor(random() * names.length)] ?? ''
      const { wrong, backMs } = await suffer({ postgres, proxy, server, world, random }, name)
      violations.push(...wrong.map((text) => `seed ${seed}, case ${cases + 1}, ${name}: ${text}`))
      slowestMs = Math.max(slowestMs, backMs)
    }
    if (server.pid !== pid) violations.push(`seed ${seed}: the server is another process`)
    say(`${world.ledger.acknowledged} acknowledged writes, ${proxy.cuts()} COMMITs cut; answers ${JSON.stringify(Object.fromEntries(world.answers))}; writes went on after ${(slowestMs / 1000).toFixed(1)} s at most`)
    return { cases, violations }
  } finally {
    await server.remove()
    await proxy.close()
    await postgres.remove()
  }
}

async function suffer(place: Place, name: string): Promise<{ wrong: string[]; backMs: number }> {
  const { server, world, random } = place
  const wrong: string[] = []
  let backMs = 0
  await underLoad(world, async () => {
    await sleep(random() * 500)
    wrong.push(...(await harms[name]?.(place) ?? []))
    const began = Date.now()
    await acknowledgesMore(world, 20)
    backMs = Date.now() - began
  }, { allowed: [503] })
  await isBack(server, [world.bucket, world.versionedBucket])
  wrong.push(...(await brokenPromises(world)))
  world.wrong.length = 0
  const ready = await fetch(`${server.controlUrl}/health/ready`)
  if (ready.status !== 200) wrong.push(`/health/ready answers ${ready.status} after it`)
  if (server.output().includes('nobody foresaw')) wrong.push(`an error that nobody foresaw:\n${server.output().slice(-3000)}`)
  return { wrong, backMs }
}

async function cut({ proxy, world, random }: Place, when: 'before' | 'after'): Promise<string[]> {
  const before = proxy.cuts()
  const count = 1 + Math.floor(random() * 4)
  proxy.cutAtCommit(when, count)
  await until('COMMITs are cut', () => proxy.cuts() >= before + count)
  await acknowledgesMore(world)
  return []
}

/** While the database cannot be reached: 503 that says when to come again, alive but not ready. */
async function refuses({ server, world }: Place): Promise<string[]> {
  const [read, write, ready, live] = await Promise.all([
    signedRequest({ server, path: `/${world.bucket}/any` }), signedRequest({ server, method: 'PUT', path: `/${world.bucket}/never`, body: 'x' }),
    fetch(`${server.controlUrl}/health/ready`), fetch(`${server.controlUrl}/health/live`),
  ])
  return [
    ...[read, write].flatMap((answer) => (outcome(answer) === '503 ServiceUnavailable' && Number(answer.headers['retry-after']) > 0 ? [] : [`without a database: ${outcome(answer)}, Retry-After ${answer.headers['retry-after']}`])),
    ...(ready.status === 503 ? [] : [`without a database /health/ready answers ${ready.status}`]), ...(live.status === 200 ? [] : [`without a database /health/live answers ${live.status}`]),
  ]
}

async function connected(postgres: ExternalPostgres): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: postgres.url })
  // What happens to it besides its queries is what it is there for.
  client.on('error', () => undefined)
  await client.connect()
  return client
}
