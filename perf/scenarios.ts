import { createHash, randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Profiler } from './inspector.ts'
import type { Load, LoadResult } from './load.ts'
import type { ScenarioName } from './options.ts'
import { usageOf } from './processes.ts'
import type { Server } from './server.ts'
import { loadBySockets } from './sockets.ts'
import { hasWrk, loadByWrk } from './wrk.ts'

/** One line of the table. */
export interface Row extends LoadResult {
  readonly scenario: ScenarioName
  readonly connections: number
  /** CPU of the server process, and of PostgreSQL, for one request. */
  readonly serverCpuMicroseconds: number
  readonly helperCpuMicroseconds: number
}

export interface Bench {
  readonly server: Server
  readonly seconds: number
  /** Objects for reads. */
  readonly objects: number
  readonly bodies: { readonly small: Buffer; readonly large: Buffer }
  readonly wrk: boolean
  /** What was PUT in this run and may be deleted, oldest first. */
  readonly deletable: string[]
}

const bucket = 'perf'
const fillBucket = 'fill'
const smallBytes = 4096
const largeBytes = 64 * 1024 ** 2
export const pageKeys = 1000
/** More requests than the server can answer, so that PUT meets a new key each time. */
const putsPerSecondMax = 20_000
/** What DELETE at so many connections may use up in a second. */
const deletesPerSecondMax = (connections: number): number => Math.min(15_000, 3000 * connections)

export async function openBench(server: Server, { seconds, objects }: { seconds: number; objects: number }): Promise<Bench> {
  const bench: Bench = {
    server, seconds, objects, wrk: await hasWrk(), deletable: [], bodies: { small: randomBytes(smallBytes), large: randomBytes(largeBytes) },
  }
  await sendAll(bench, [['', bucket], ['', fillBucket]].map(([key = '', name = '']) => server.signer.path('PUT', name, key)), null, 1)
  return bench
}

/** Writes what the reads need and checks that what comes back is what was written. */
export async function fill(bench: Bench, only: readonly ScenarioName[]): Promise<void> {
  if (only.some((name) => name === 'get' || name === 'head' || name === 'list')) {
    await sendAll(bench, fillKeys(bench).map((key) => bench.server.signer.path('PUT', fillBucket, key)), bench.bodies.small, 64)
    for (const key of fillKeys(bench).filter((_, index) => index % 997 === 0)) await check(bench, fillBucket, key, bench.bodies.small)
  }
  if (only.includes('get-large')) {
    await sendAll(bench, largeKeys.map((key) => bench.server.signer.path('PUT', fillBucket, key)), bench.bodies.large, 2)
    await check(bench, fillBucket, largeKeys[0] ?? '', bench.bodies.large)
  }
}

/** Runs one scenario once; with a profiler, writes the profile of just this time. */
export async function measure(bench: Bench, scenario: ScenarioName, connections: number, profiler: Profiler | null = null, profileFile = ''): Promise<Row> {
  const { load, putKeys } = await loadOf(bench, scenario, connections)
  await untilQuiet(bench.server.pid)
  await profiler?.start()
  const before = usageOf(bench.server.pid)
  const result = await (bench.wrk && load.method !== 'HEAD' && !isLarge(scenario) ? loadByWrk(load) : loadBySockets(load))
  const after = usageOf(bench.server.pid)
  await profiler?.stop(profileFile)
  // The last ones on the way may not have arrived: they are left out, which DELETE does not notice.
  bench.deletable.push(...putKeys.slice(0, Math.max(0, result.requests - connections)))
  const each = (seconds: number): number => (result.requests === 0 ? 0 : (seconds * 1e6) / result.requests)
  return {
    ...result, scenario, connections,
    bytes: isLarge(scenario) ? result.bytes : result.requests * smallBytes,
    serverCpuMicroseconds: each(after.serverSeconds - before.serverSeconds),
    helperCpuMicroseconds: each(after.helperSeconds - before.helperSeconds),
  }
}

const quietMs = 100
const quietCpuSeconds = 0.02
const untilQuietMsMax = 5000

/** Requests that the load before left behind are still worked on: 64 pages of a listing take half a second. */
async function untilQuiet(pid: number): Promise<void> {
  const until = performance.now() + untilQuietMsMax
  const used = (): number => {
    const { serverSeconds, helperSeconds } = usageOf(pid)
    return serverSeconds + helperSeconds
  }
  for (let before = used(); performance.now() < until; ) {
    await sleep(quietMs)
    const after = used()
    if (after - before < quietCpuSeconds) return
    before = after
  }
}

export function isLarge(scenario: ScenarioName): boolean {
  return scenario === 'put-large' || scenario === 'get-large'
}

const largeKeys = Array.from({ length: 8 }, (_, index) => `large/${index}`)
const fillKeys = (bench: Bench): string[] => Array.from({ length: bench.objects }, (_, index) => `object/${String(index).padStart(8, '0')}`)

let runs = 0

async function loadOf(bench: Bench, scenario: ScenarioName, connections: number): Promise<{ load: Load; putKeys: string[] }> {
  const { signer, host, port } = bench.server
  const base = { host, port, connections, seconds: bench.seconds, body: null, once: false }
  switch (scenario) {
    case 'put': {
      runs++
      const putKeys = Array.from({ length: Math.ceil(bench.seconds * Math.min(putsPerSecondMax, 3000 * connections)) }, (_, index) => `put/${runs}/${index}`)
      const paths = putKeys.map((key) => signer.path('PUT', bucket, key))
      return { load: { ...base, method: 'PUT', paths, body: bench.bodies.small, once: true }, putKeys }
    }
    case 'get':
      return { load: { ...base, method: 'GET', paths: shuffled(fillKeys(bench)).map((key) => signer.path('GET', fillBucket, key)) }, putKeys: [] }
    case 'head':
      return { load: { ...base, method: 'HEAD', paths: shuffled(fillKeys(bench)).map((key) => signer.path('HEAD', fillBucket, key)) }, putKeys: [] }
    case 'list': {
      // Pages from all over the bucket, each a full one.
      const starts = shuffled(fillKeys(bench).slice(0, -pageKeys - 1)).slice(0, 2000)
      const paths = starts.map((start) => signer.path('GET', fillBucket, '', { 'list-type': '2', 'max-keys': String(pageKeys), 'prefix': 'object/', 'start-after': start }))
      return { load: { ...base, method: 'GET', paths }, putKeys: [] }
    }
    case 'delete': {
      const wanted = Math.ceil(bench.seconds * deletesPerSecondMax(connections))
      const keys = await takeDeletable(bench, wanted)
      return { load: { ...base, method: 'DELETE', paths: keys.map((key) => signer.path('DELETE', bucket, key)), once: true }, putKeys: [] }
    }
    case 'put-large':
      return { load: { ...base, method: 'PUT', paths: largeKeys.map((key) => signer.path('PUT', bucket, key)), body: bench.bodies.large }, putKeys: [] }
    case 'get-large':
      return { load: { ...base, method: 'GET', paths: largeKeys.map((key) => signer.path('GET', fillBucket, key)) }, putKeys: [] }
  }
}

/** Keys that are there: of earlier PUTs, and new ones when those do not suffice for half of what is wanted. */
async function takeDeletable(bench: Bench, wanted: number): Promise<string[]> {
  if (bench.deletable.length < wanted / 2) {
    runs++
    const keys = Array.from({ length: wanted - bench.deletable.length }, (_, index) => `put/${runs}/${index}`)
    await sendAll(bench, keys.map((key) => bench.server.signer.path('PUT', bucket, key)), bench.bodies.small, 64)
    bench.deletable.push(...keys)
  }
  return bench.deletable.splice(0, wanted)
}

/** Sends each request once; throws unless every one is answered by 2xx. */
async function sendAll(bench: Bench, paths: readonly string[], body: Buffer | null, connections: number): Promise<void> {
  const { host, port } = bench.server
  const result = await loadBySockets({ host, port, method: 'PUT', paths, body: body ?? Buffer.alloc(0), connections, seconds: 600, once: true })
  if (result.requests !== paths.length || result.refused + result.broken > 0) {
    throw new Error(`Filling failed: ${result.requests} of ${paths.length} requests answered, ${result.refused} refused, ${result.broken} connections broken`)
  }
}

/** Throws unless the object is these bytes. */
async function check(bench: Bench, bucketName: string, key: string, body: Buffer): Promise<void> {
  const { host, port, signer } = bench.server
  const hash = createHash('sha256')
  const status = await new Promise<number>((resolve, reject) => {
    request({ host, port, path: signer.path('GET', bucketName, key), agent: false }, (response) => {
      response.on('data', (chunk: Buffer) => hash.update(chunk))
      response.on('end', () => resolve(response.statusCode ?? 0))
      response.on('error', reject)
    }).on('error', reject).end()
  })
  if (status !== 200 || hash.digest('hex') !== createHash('sha256').update(body).digest('hex')) throw new Error(`${key} came back with status ${status} or other bytes`)
}

/** The same order in each run. */
function shuffled<T>(items: T[]): T[] {
  let seed = 12_345
  for (let last = items.length - 1; last > 0; last--) {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    const other = seed % (last + 1)
    const kept = items[last] as T
    items[last] = items[other] as T
    items[other] = kept
  }
  return items
}
