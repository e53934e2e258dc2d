import { createHash, randomBytes } from 'node:crypto'
import { request } from 'node:http'
import type { Server } from './launch.ts'
import { loadBySockets } from './sockets.ts'
import { stamped } from './wire.ts'
import { hasWrk } from './wrk.ts'

/** What the scenarios of one server in one round share. */
export interface Bench {
  readonly server: Server
  readonly seconds: number
  /** Objects for reads. */
  readonly objects: number
  readonly bodies: { readonly small: Buffer; readonly medium: Buffer; readonly large: Buffer }
  readonly wrk: boolean
  /** Keys are made of it, so that no two rounds write the same. */
  readonly round: string
  /** What was PUT in this run and may be deleted, oldest first. */
  readonly deletable: string[]
  /** Small objects that filling wrote in a second, the last time. */
  putsPerSecond: number
}

export const bucket = 'perf'
export const fillBucket = 'fill'
export const smallBytes = 4096
const mediumBytes = 128 * 1024
const largeBytes = 64 * 1024 ** 2
export const pageKeys = 1000
export const fillPrefixes = 100
/** How many requests are signed before they are sent. */
const batch = 20_000
const checkedEach = 997

export const largeKeys = Array.from({ length: 8 }, (_, index) => `large/${index}`)

/** The same for all servers and rounds of one run. */
const bodies = { small: randomBytes(smallBytes), medium: randomBytes(mediumBytes), large: randomBytes(largeBytes) }

/** The key of 40 bytes below one of a hundred prefixes; in the order of their numbers. */
export function fillKey({ objects }: { readonly objects: number }, index: number): string {
  return `object/${String(Math.floor((index * fillPrefixes) / objects)).padStart(2, '0')}/file-of-the-perf-runs-${String(index).padStart(8, '0')}`
}

/** `fresh`: the data folder has no buckets yet. */
export async function openBench(server: Server, { seconds, objects, round = '0', fresh = true }: { seconds: number; objects: number; round?: string; fresh?: boolean }): Promise<Bench> {
  const bench: Bench = { server, seconds, objects, wrk: await hasWrk(), round, deletable: [], putsPerSecond: 2000, bodies }
  if (fresh) await sendAll(bench, [bucket, fillBucket].map((name) => server.signer.path('PUT', name, '')), null, 1)
  return bench
}

/** Writes the objects that reads need and checks that what comes back is what was written. */
export async function fillObjects(bench: Bench): Promise<void> {
  const startedAt = performance.now()
  for (let from = 0; from < bench.objects; from += batch) {
    const keys = Array.from({ length: Math.min(batch, bench.objects - from) }, (_, index) => fillKey(bench, from + index))
    await sendAll(bench, keys.map((key) => bench.server.signer.path('PUT', fillBucket, key)), bench.bodies.small, 64, fillStamp(from / batch))
  }
  bench.putsPerSecond = (bench.objects * 1000) / (performance.now() - startedAt)
  await checkObjects(bench)
}

export async function checkObjects(bench: Bench): Promise<void> {
  for (let index = 0; index < bench.objects; index += checkedEach * Math.ceil(bench.objects / 50_000)) {
    const body = stamped(bench.bodies.small, fillStamp(Math.floor(index / batch)), index % batch)
    await check(bench, fillBucket, fillKey(bench, index), body)
  }
}

export async function fillLarge(bench: Bench): Promise<void> {
  await sendAll(bench, largeKeys.map((key) => bench.server.signer.path('PUT', fillBucket, key)), bench.bodies.large, 2, fillStamp(0))
  await check(bench, fillBucket, largeKeys[0] ?? '', stamped(bench.bodies.large, fillStamp(0), 0))
}

/** What the bodies of a batch of the fill begin with: known, so that what comes back can be compared. */
const fillStamp = (batchIndex: number): string => `f${batchIndex.toString(16).padStart(7, '0')}`

/** That of any other load. */
export function newStamp(): string {
  return `a${randomBytes(4).toString('hex').slice(1)}`
}

let runs = 0

/** Keys that nobody has used. */
export function newKeys(bench: Bench, count: number): string[] {
  const run = ++runs
  return Array.from({ length: count }, (_, index) => `put/${bench.round}-${run}/${index}`)
}

/** Keys that are there: of earlier PUTs, and new ones when those do not suffice for half of what is wanted. */
export async function takeDeletable(bench: Bench, wanted: number): Promise<string[]> {
  if (bench.deletable.length < wanted / 2) {
    const keys = newKeys(bench, wanted - bench.deletable.length)
    await sendAll(bench, keys.map((key) => bench.server.signer.path('PUT', bucket, key)), bench.bodies.small, 64, newStamp())
    bench.deletable.push(...keys)
  }
  return bench.deletable.splice(0, wanted)
}

/** Sends each request once; throws unless every one is answered by 2xx. */
async function sendAll(bench: Bench, paths: readonly string[], body: Buffer | null, connections: number, stamp?: string): Promise<void> {
  const { host, port } = bench.server
  const result = await loadBySockets({ host, port, method: 'PUT', paths, body: body ?? Buffer.alloc(0), connections, seconds: 1200, once: true, ...stamp === undefined ? {} : { stamp } })
  if (result.requests !== paths.length || result.refused + result.broken > 0) {
    throw new Error(`Filling failed: ${result.requests} of ${paths.length} requests answered, ${result.refused} refused, ${result.broken} connections broken`)
  }
}

/** Throws unless the object is these bytes. */
export async function check(bench: Bench, bucketName: string, key: string, body: Buffer): Promise<void> {
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
