import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { bucket, fillBucket, fillKey, fillLarge, fillObjects, fillPrefixes, largeKeys, newKeys, newStamp, pageKeys, smallBytes, takeDeletable, type Bench } from './bench.ts'
import type { Profiler } from './inspector.ts'
import type { LoopDelay } from './launch.ts'
import type { Load, LoadResult } from './load.ts'
import { prepareMixed, prepareSaturated } from './mixed.ts'
import { usageOf, type Memory } from './processes.ts'
import { createZipf, shuffled } from './random.ts'
import type { ScenarioName } from './scenario-names.ts'
import { loadBySockets } from './sockets.ts'
import type { MemoryWatch } from './watch.ts'
import { requestBytes } from './wire.ts'
import { loadByWrk } from './wrk.ts'

export { openBench, type Bench } from './bench.ts'

/** One line of the table. */
export interface Row extends LoadResult {
  readonly scenario: ScenarioName
  readonly connections: number
  /** CPU of the server process, and of its helpers (PostgreSQL), for one request. */
  readonly serverCpuMicroseconds: number
  readonly helperCpuMicroseconds: number
  /** The most memory that was seen; null when nobody looked. */
  readonly memory: Memory | null
  /** How late the event loop was; null when the server does not tell. */
  readonly loopDelayMs: LoopDelay | null
}

/** What a rate counts, and how much of it one request is. */
export interface Unit {
  readonly name: 'requests' | 'keys' | 'pages' | 'MB'
  readonly perRequest: number
}

/** The same key again after so many: all requests are signed before the clock starts, and a million would take a minute. */
const readsMax = 200_000
/** More requests than a server can answer, so that PUT meets a new key each time. */
const putsPerSecondMax = 20_000
const mediumPutsPerSecondMax = 3000
/** A server deletes at most so many times as fast as it writes. */
const deletesPerPut = 3
const deleteManySecondsMax = 4
const metaThreads = 12

/** Which scenarios need the objects of 4 KiB. */
export const readsObjects: readonly ScenarioName[] = ['get', 'get-zipf', 'head', 'head-zipf', 'list', 'list-delimiter', 'mixed-800', 'mixed-4000', 'meta', 'saturated']

/** Writes what the reads need and checks that what comes back is what was written. */
export async function fill(bench: Bench, only: readonly ScenarioName[]): Promise<void> {
  if (only.some((name) => readsObjects.includes(name))) await fillObjects(bench)
  if (only.includes('get-large')) await fillLarge(bench)
}

export interface Observers {
  readonly watch?: MemoryWatch
  readonly profiler?: Profiler | null
  readonly profileFile?: string
}

/** Runs one scenario once; with a profiler, writes the profile of just this time. */
export async function measure(bench: Bench, scenario: ScenarioName, connections: number, { watch, profiler = null, profileFile = '' }: Observers = {}): Promise<Row> {
  const run = await prepare(bench, scenario, connections)
  await untilQuiet(bench.server.pid)
  await bench.server.loopDelay()
  watch?.reset()
  await profiler?.start()
  const before = usageOf(bench.server.pid)
  const result = await run()
  const after = usageOf(bench.server.pid)
  await profiler?.stop(profileFile)
  const loopDelayMs = await bench.server.loopDelay()
  const memory = await watch?.peak() ?? null
  const each = (seconds: number): number => (result.requests === 0 ? 0 : (seconds * 1e6) / result.requests)
  return {
    ...result, scenario, connections, memory, loopDelayMs,
    bytes: isLarge(scenario) ? result.bytes : result.requests * smallBytes,
    serverCpuMicroseconds: each(after.serverSeconds - before.serverSeconds),
    helperCpuMicroseconds: each(after.helperSeconds - before.helperSeconds),
  }
}

const quietMs = 100
const quietCpuSeconds = 0.02
const untilQuietMsMax = 5000

/** Requests that the load before left behind are still worked on: 64 pages of a listing take half a second. */
export async function untilQuiet(pid: number): Promise<void> {
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

/** The rate is the schedule's, so that it says nothing. */
export function isOpenLoop(scenario: ScenarioName): boolean {
  return scenario === 'mixed-800' || scenario === 'mixed-4000'
}

export function unitOf({ scenario, bytes, requests }: Pick<Row, 'scenario' | 'bytes' | 'requests'>): Unit {
  if (isLarge(scenario)) return { name: 'MB', perRequest: requests === 0 ? 0 : bytes / requests / 1e6 }
  if (scenario === 'list' || scenario === 'delete-many') return { name: 'keys', perRequest: pageKeys }
  return { name: scenario === 'list-delimiter' ? 'pages' : 'requests', perRequest: 1 }
}

/** Signs everything; gives the function that sends it. */
async function prepare(bench: Bench, scenario: ScenarioName, connections: number): Promise<() => Promise<LoadResult>> {
  const { signer, host, port } = bench.server
  const base = { host, port, connections, seconds: bench.seconds, body: null, once: false }
  const byWrk = (load: Load, threads = 1) => () => (bench.wrk ? loadByWrk(load, Math.min(threads, load.connections)) : loadBySockets(load))
  const reads = (method: 'GET' | 'HEAD', indexes: readonly number[]): Load => ({ ...base, method, paths: indexes.map((index) => signer.path(method, fillBucket, fillKey(bench, index))) })
  switch (scenario) {
    case 'put':
      return puts(bench, connections, bench.bodies.small, putsPerSecondMax)
    case 'put-128k':
      return puts(bench, connections, bench.bodies.medium, mediumPutsPerSecondMax)
    case 'get':
      return byWrk(reads('GET', allIndexes(bench)))
    case 'get-zipf':
      return byWrk(reads('GET', zipfIndexes(bench)))
    case 'head': {
      const load = reads('HEAD', allIndexes(bench))
      return () => loadBySockets(load)
    }
    case 'head-zipf': {
      const load = reads('HEAD', zipfIndexes(bench))
      return () => loadBySockets(load)
    }
    case 'list': {
      // Pages from all over the bucket, each a full one.
      const starts = shuffled(Array.from({ length: bench.objects - pageKeys - 1 }, (_, index) => index)).slice(0, 2000)
      const paths = starts.map((start) => signer.path('GET', fillBucket, '', { 'list-type': '2', 'max-keys': String(pageKeys), 'prefix': 'object/', 'start-after': fillKey(bench, start) }))
      return byWrk({ ...base, method: 'GET', paths })
    }
    case 'list-delimiter': {
      // The whole page of prefixes, so that what it has to pass over is the whole bucket.
      const paths = [signer.path('GET', fillBucket, '', { 'list-type': '2', 'max-keys': String(fillPrefixes), 'prefix': 'object/', 'delimiter': '/' })]
      return byWrk({ ...base, method: 'GET', paths })
    }
    case 'delete': {
      const keys = await takeDeletable(bench, Math.ceil(bench.seconds * bench.putsPerSecond * deletesPerPut))
      return byWrk({ ...base, method: 'DELETE', paths: keys.map((key) => signer.path('DELETE', bucket, key)), once: true })
    }
    case 'delete-many':
      return deleteMany(bench, connections)
    case 'mixed-800':
      return prepareMixed(bench, 800, connections)
    case 'mixed-4000':
      return prepareMixed(bench, 4000, connections)
    case 'meta': {
      // What applications ask that have no use for the bytes: tags, attributes, whether anything is below a prefix.
      const headers = { 'x-amz-object-attributes': 'ETag,ObjectSize' }
      const paths = allIndexes(bench).map((index, at) => {
        const key = fillKey(bench, index)
        if (at % 3 === 0) return signer.path('GET', fillBucket, key, { tagging: '' }, headers)
        if (at % 3 === 1) return signer.path('GET', fillBucket, key, { attributes: '' }, headers)
        return signer.path('GET', fillBucket, '', { 'list-type': '2', 'max-keys': '1', 'prefix': key }, headers)
      })
      return byWrk({ ...base, method: 'GET', paths, headers }, metaThreads)
    }
    case 'saturated':
      return prepareSaturated(bench, connections)
    case 'put-large': {
      const load: Load = { ...base, method: 'PUT', paths: largeKeys.map((key) => signer.path('PUT', bucket, key)), body: bench.bodies.large, stamp: newStamp() }
      return () => loadBySockets(load)
    }
    case 'get-large': {
      const load: Load = { ...base, method: 'GET', paths: largeKeys.map((key) => signer.path('GET', fillBucket, key)) }
      return () => loadBySockets(load)
    }
  }
}

/** Each to a new key. */
function puts(bench: Bench, connections: number, body: Buffer, perSecondMax: number): () => Promise<LoadResult> {
  const { signer, host, port } = bench.server
  const keys = newKeys(bench, Math.ceil(bench.seconds * Math.min(perSecondMax, 3000 * connections)))
  const load: Load = { host, port, method: 'PUT', paths: keys.map((key) => signer.path('PUT', bucket, key)), body, connections, seconds: bench.seconds, once: true, stamp: newStamp() }
  return async () => {
    const result = await (bench.wrk ? loadByWrk(load) : loadBySockets(load))
    // The last ones on the way may not have arrived: they are left out, which DELETE does not notice.
    if (body === bench.bodies.small) bench.deletable.push(...keys.slice(0, Math.max(0, result.requests - connections)))
    return result
  }
}

/** DeleteObjects of a thousand keys that are there, until those are used up. */
async function deleteMany(bench: Bench, connections: number): Promise<() => Promise<LoadResult>> {
  const { signer, host, port } = bench.server
  const wanted = Math.ceil(bench.putsPerSecond * Math.min(deleteManySecondsMax, bench.seconds) * 2)
  const taken = await takeDeletable(bench, Math.max(bench.deletable.length, Math.ceil(wanted / pageKeys) * pageKeys))
  const pages = Array.from({ length: Math.max(1, Math.floor(taken.length / pageKeys)) }, (_, page) => taken.slice(page * pageKeys, (page + 1) * pageKeys))
  const path = signer.path('POST', bucket, '', { delete: '' })
  const requests = pages.map((keys) => {
    const body = Buffer.from(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>${keys.map((key) => `<Object><Key>${key}</Key></Object>`).join('')}</Delete>`)
    return requestBytes({ host, port, method: 'POST', path, body, headers: { 'Content-MD5': createHash('md5').update(body).digest('base64') } })
  })
  return () => loadBySockets({ host, port, method: 'POST', paths: [], requests, body: null, connections, seconds: bench.seconds, once: true })
}

const allIndexes = ({ objects }: Bench): number[] => shuffled(Array.from({ length: objects }, (_, index) => index)).slice(0, readsMax)

function zipfIndexes({ objects }: Bench): number[] {
  const draw = createZipf(objects)
  return Array.from({ length: Math.max(20_000, Math.min(readsMax, objects)) }, draw)
}
