import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { Figure } from '../figure.ts'
import type { LoadResult } from '../load.ts'
import { memoryOf, usageOf } from '../processes.ts'
import type { Server } from '../server.ts'
import { loadBySockets } from '../sockets.ts'

/** What the big scenarios share. Everything has a default, so that any of them runs without options. */
export interface BigOptions {
  /** Folder below which data folders are made; null: the system's temporary one. */
  readonly dir: string | null
  /** The largest number of objects (growth: 10^7, start: 10^6). */
  readonly largest?: number
  /** How long a load runs where the time is the point. */
  readonly loadSeconds?: number
  /** A data folder of `growth` that is kept, and used again by the next run. */
  readonly reuse?: string
  /** Only fills that folder. */
  readonly fillOnly?: boolean
  /** Connections that upload at once. */
  readonly uploaders?: number
  /** Large uploads at once, and the bytes of each. */
  readonly uploads?: number
  readonly uploadBytes?: number
}

export interface Big {
  readonly name: string
  run(options: BigOptions): Promise<Figure[]>
}

export const smallBytes = 4096
export const smallBody = randomBytes(smallBytes)

export interface Figures {
  readonly all: Figure[]
  add(name: string, unit: string, value: number, better: Figure['better']): void
}

/** Collects figures and says each one at once: a run takes minutes. */
export function createFigures(scenario: string): Figures {
  const all: Figure[] = []
  return {
    all,
    add(name, unit, value, better) {
      all.push({ name: `${scenario}: ${name}`, unit, value, better })
      say(`${scenario}: ${name.padEnd(64)} ${shown(value).padStart(12)} ${unit}`)
    },
  }
}

export const say = (text: string): void => void process.stdout.write(`${text}\n`)
const shown = (value: number): string => (Math.abs(value) >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3))

export interface Reply {
  readonly status: number
  readonly body: Buffer
  /** With its quotes; '' when there is none. */
  readonly etag: string
  readonly ms: number
}

/** One request on a connection of its own, with its whole answer. */
export function ask({ host, port }: { host: string; port: number }, method: string, target: string, body?: Buffer): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    const asked = request({ host, port, path: target, method, agent: false, headers: body === undefined ? {} : { 'content-length': body.length } }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks), etag: response.headers.etag ?? '', ms: performance.now() - startedAt }))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

/** The same; throws unless the answer is 2xx. */
export async function must(server: Server, method: string, bucket: string, key: string, query: Readonly<Record<string, string>> = {}, body?: Buffer): Promise<Reply> {
  const reply = await ask(server, method, server.signer.path(method, bucket, key, query), body)
  // A long operation sends 200 first and says afterwards that it failed.
  if (reply.status > 299 || reply.body.includes('<Error>')) throw new Error(`${method} ${bucket}/${key}: ${reply.status} ${reply.body.toString().slice(0, 500)}`)
  return reply
}

/** Sends each request once; throws unless every one is answered by 2xx. */
export async function sendAll(server: Server, method: 'GET' | 'HEAD' | 'PUT' | 'DELETE', paths: readonly string[], connections: number, body: Buffer | null = null): Promise<LoadResult> {
  const result = await loadBySockets({ host: server.host, port: server.port, method, paths, body, connections, seconds: 600, once: true })
  if (result.requests !== paths.length || result.refused + result.broken > 0) {
    throw new Error(`${method}: ${result.requests} of ${paths.length} requests answered, ${result.refused} refused, ${result.broken} connections broken`)
  }
  return result
}

/** Of the object of this number in a bucket that `fill` made. */
export const keyOf = (index: number): string => `object/${String(index).padStart(8, '0')}`

/** Makes a bucket with so many small objects in it. */
export async function fill(server: Server, bucket: string, objects: number): Promise<void> {
  await must(server, 'PUT', bucket, '')
  await sendAll(server, 'PUT', Array.from({ length: objects }, (_, index) => server.signer.path('PUT', bucket, keyOf(index))), 64, smallBody)
}

export interface Cost {
  readonly result: LoadResult
  /** Of the server with its threads, and of PostgreSQL, for one request. */
  readonly serverMicroseconds: number
  readonly helperMicroseconds: number
}

export async function costOf(server: Server, load: () => Promise<LoadResult>): Promise<Cost> {
  await untilQuiet(server.pid)
  const before = usageOf(server.pid)
  const result = await load()
  const after = usageOf(server.pid)
  return {
    result,
    serverMicroseconds: ((after.serverSeconds - before.serverSeconds) * 1e6) / result.requests,
    helperMicroseconds: ((after.helperSeconds - before.helperSeconds) * 1e6) / result.requests,
  }
}

const quietMs = 200
const quietSeconds = 0.02

/** Until the server has done what the load before left behind; gives up after `limitMs`. */
export async function untilQuiet(pid: number, limitMs = 5000): Promise<void> {
  const used = (): number => {
    const { serverSeconds, helperSeconds } = usageOf(pid)
    return serverSeconds + helperSeconds
  }
  const until = performance.now() + limitMs
  for (let before = used(); performance.now() < until;) {
    await sleep(quietMs)
    const after = used()
    if (after - before < quietSeconds) return
    before = after
  }
}

export interface MemoryWatch {
  /** The most that was seen, in bytes: the server, its helpers, both at one time. */
  readonly most: { server: number; helpers: number; all: number }
  stop(): void
}

/** Looks at the memory of all processes every `everyMs`. */
export function watchMemory(pid: number, everyMs = 500): MemoryWatch {
  const most = { server: 0, helpers: 0, all: 0 }
  const look = (): void => {
    const { serverBytes, helperBytes } = memoryOf(pid)
    if (serverBytes + helperBytes <= most.all) return
    Object.assign(most, { server: serverBytes, helpers: helperBytes, all: serverBytes + helperBytes })
  }
  look()
  const timer = setInterval(look, everyMs)
  return { most, stop: () => clearInterval(timer) }
}

export const megabytes = (bytes: number): number => bytes / 1e6

/** The embedded database of a data folder whose server runs. */
export async function withDatabase<Result>(dataDir: string, use: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ host: path.join(dataDir, 'postgres-socket'), port: 5432, user: 'holdfast', database: 'holdfast' })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/** The same numbers in each run. */
export function createRandom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

export const powerName = (count: number): string => {
  const power = Math.round(Math.log10(count))
  return 10 ** power === count ? `10^${power}` : String(count)
}
