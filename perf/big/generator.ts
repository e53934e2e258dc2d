import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openLoop, type OpenLoopResult } from '../open-loop.ts'
import { inTurn, runBurst, runFlood, type FloodResult } from './flood.ts'

/**
 * Load from a process of its own: whoever measures the one client should not wait for what the others send. Forked with a job as
 * its first message; says `ready` when its connections are open (burst), begins at `go`, sends the result and ends.
 */
export interface WireRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT'
  readonly path: string
  readonly bodyBytes: number
}

export interface Job {
  /** flood: each connection sends its next request after the answer. burst: all send one at the same moment. open: at a fixed rate. */
  readonly kind: 'flood' | 'burst' | 'open'
  readonly host: string
  readonly port: number
  readonly connections: number
  /** Sent in turn, from the beginning again when they are used up. */
  readonly requests: readonly WireRequest[]
  readonly seconds: number
  /** Of kind open. */
  readonly perSecond?: number
}

export interface Wire {
  readonly isHead: boolean
  readonly head: Buffer
  /** Null when it is part of `head` already, or there is none. */
  readonly body: Buffer | null
}

export type JobResult = FloodResult | OpenLoopResult

/** Starts the process and gives its result. */
export async function generate<Result extends JobResult>(job: Job): Promise<Result> {
  const child = fork(fileURLToPath(import.meta.url), ['generator'], { serialization: 'advanced', stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.once('message', (result) => resolve(result as Result))
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`The generator ended with ${code}`)))
    child.send(job)
  })
}

/** Node raises the soft limit to the hard one by itself; children have it from us. */
export function assertFiles(needed: number): void {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? '0'
  if (hard !== 'unlimited' && Number(hard) < needed) throw new Error(`${needed} open files are needed, ${hard} are allowed: raise the hard limit (ulimit -Hn ${needed})`)
}

async function work(job: Job): Promise<JobResult> {
  const bodies = new Map<number, Buffer>()
  const wires = job.requests.map((request) => wireOf(job, request, bodies))
  if (job.kind === 'flood') return runFlood({ ...job, next: inTurn(wires) })
  if (job.kind === 'burst') return runBurst({ ...job, wires })
  const whole = wires.map(({ head, body }) => (body === null ? head : Buffer.concat([head, body])))
  return openLoop({ ...job, perSecond: job.perSecond ?? 1, request: (index) => whole[index % whole.length] ?? Buffer.alloc(0) })
}

function wireOf({ host, port }: Job, { method, path, bodyBytes }: WireRequest, bodies: Map<number, Buffer>): Wire {
  const head = Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n${method === 'PUT' ? `Content-Length: ${bodyBytes}\r\n` : ''}\r\n`, 'latin1')
  const isHead = method === 'HEAD'
  if (bodyBytes === 0) return { isHead, head, body: null }
  const body = bodies.get(bodyBytes) ?? randomBytes(bodyBytes)
  bodies.set(bodyBytes, body)
  // A small body leaves with its head in one write; a large one is not copied for each request.
  return bodyBytes <= 65_536 ? { isHead, head: Buffer.concat([head, body]), body: null } : { isHead, head, body }
}

if (process.argv[2] === 'generator') {
  process.once('message', (job) => {
    void work(job as Job).then((result) => process.send?.(result, undefined, undefined, () => process.exit(0)))
  })
}
