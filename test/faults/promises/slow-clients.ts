import http from 'node:http'
import { signedRequest, type RawResponse } from '../../support/raw.ts'
import { bucketName } from '../../support/s3.ts'
import { memoryBytes } from '../../support/processes.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { noiseBuffer } from '../../support/tools.ts'
import { readerEvery, slowCrowd, slownesses, type Slowness } from '../hostile/slow.ts'
import { randomOf } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'slow clients'
export const promise = 'Ten thousand idle and slow connections do not keep a good client waiting, and each is ended by its limit'
export const method = 'silent, idle, dripping and hardly reading connections of six kinds beside one client that puts and gets'
/** Of a full run it has the minute from which on the crowd is complete. */
export const weight = 3

/** Shorter runs look at a small crowd, and do not wait for its end. */
const fullSeconds = 60
const crowdMany = 10_000
const crowdFew = 300
/** When the last of a kind is gone: the limit (30 to 75 s), the time between two looks at it, and what a machine that others use as well adds. */
const endMsMax: Readonly<Record<Slowness, number>> = { silent: 95_000, head: 95_000, idle: 110_000, body: 95_000, expect: 95_000, reader: 95_000 }
/** p99 may double, and this much is the machine's own noise. */
const noiseMs = 40

/** A case is one connection of the crowd, or one request of the good client. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const full = seconds >= fullSeconds
  const count = full ? crowdMany : crowdFew
  const server = await startServer()
  const violations: string[] = []
  try {
    const bucket = bucketName()
    await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
    await signedRequest({ server, method: 'PUT', path: `/${bucket}/large`, body: noiseBuffer(40 * 1024 ** 2, 'large') })
    await signedRequest({ server, method: 'PUT', path: `/${bucket}/middle`, body: noiseBuffer(1024 ** 2, 'middle') })
    const good = goodClient(server, bucket, randomOf(seed))
    const alone = await good.work(Math.max(1500, Math.min(10_000, seconds * 150)))
    const memoryAlone = await memoryBytes(server.pid, 'VmRSS')
    const crowd = await slowCrowd({ server, bucket, largeKey: 'large' }, count)
    try {
      const there = crowd.open()
      // First the system's own buffers of those that read nothing are filled, with gigabytes: meanwhile the good client has to wait, but not in vain.
      const coming = await good.work(full ? 10_000 : 500)
      const beside = await good.work(full ? 15_000 : Math.max(1500, seconds * 400))
      const memoryBeside = await memoryBytes(server.pid, 'VmRSS')
      say(`${count} slow connections: p50 ${alone.p50.toFixed(1)} -> ${beside.p50.toFixed(1)} ms, p99 ${alone.p99.toFixed(1)} -> ${beside.p99.toFixed(1)} ms, longest ${alone.max.toFixed(0)} -> ${beside.max.toFixed(0)} ms, ${beside.requests} requests; while they came p99 ${coming.p99.toFixed(0)} ms, longest ${coming.max.toFixed(0)} ms; memory ${(memoryAlone / 1e6).toFixed(0)} -> ${(memoryBeside / 1e6).toFixed(0)} MB`)
      violations.push(...alone.failures, ...coming.failures, ...beside.failures)
      for (const kind of slownesses) if (there[kind] < count / (kind === 'reader' ? readerEvery : slownesses.length) * 0.9) violations.push(`only ${there[kind]} connections of the kind ${kind} were made`)
      if (full && beside.p99 > 2 * alone.p99 + noiseMs) violations.push(`p99 rose from ${alone.p99.toFixed(1)} to ${beside.p99.toFixed(1)} ms`)
      if (full) violations.push(...(await untilEnded(crowd, good, say)))
      return { cases: count + alone.requests + coming.requests + beside.requests, violations: violations.map((text) => `seed ${seed}: ${text}`) }
    } finally {
      crowd.close()
    }
  } finally {
    await server.remove()
  }
}

async function untilEnded(crowd: Awaited<ReturnType<typeof slowCrowd>>, good: ReturnType<typeof goodClient>, say: (text: string) => void): Promise<string[]> {
  const violations: string[] = []
  const last = Math.max(...Object.values(endMsMax))
  for (const until = Date.now() + last; Date.now() < until && Object.values(crowd.open()).some((open) => open > 0);) violations.push(...(await good.work(2000)).failures)
  const open = crowd.open()
  for (const kind of slownesses) {
    const times = crowd.ended[kind].toSorted((a, b) => a - b)
    say(`${kind}: ended after ${((times[0] ?? 0) / 1000).toFixed(0)} to ${((times.at(-1) ?? 0) / 1000).toFixed(0)} s`)
    if (open[kind] > 0) violations.push(`${open[kind]} connections of the kind ${kind} are never ended`)
    else if ((times.at(-1) ?? 0) > endMsMax[kind]) violations.push(`a connection of the kind ${kind} was ended only after ${times.at(-1)} ms`)
  }
  return violations
}

interface Worked {
  readonly requests: number
  readonly failures: readonly string[]
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Nobody waits so long for a small answer. */
const answerMsMax = 20_000
const late = (): Promise<Error> => new Promise((resolve) => {
  setTimeout(() => resolve(new Error(`no answer in ${answerMsMax} ms`)), answerMsMax).unref()
})

/** One after the other on connections of its own: small and larger puts and gets. */
function goodClient(server: TestServer, bucket: string, random: () => number): { work(ms: number): Promise<Worked> } {
  const agent = new http.Agent({ keepAlive: true })
  const send = (verb: string, path: string, body?: Buffer): Promise<RawResponse> => signedRequest({ server, method: verb, path: `/${bucket}/${path}`, agent, ...(body === undefined ? {} : { body }) })
  const small = noiseBuffer(4096, 'small')
  const larger = noiseBuffer(100_000, 'larger')
  return {
    async work(ms) {
      const times: number[] = []
      const failures: string[] = []
      for (const until = Date.now() + ms; Date.now() < until && failures.length < 5;) {
        const began = performance.now()
        const which = Math.floor(random() * 10)
        const [verb, key, body, expected] = which < 4 ? ['PUT', 'good', small, 0] as const : which < 5 ? ['PUT', 'good', larger, 0] as const : which < 8 ? ['HEAD', 'middle', undefined, 0] as const : ['GET', 'middle', undefined, 1024 ** 2] as const
        const answer = await Promise.race([send(verb, key, body).catch((error: Error) => error), late()])
        times.push(performance.now() - began)
        if (answer instanceof Error) failures.push(`the good client's ${verb} ${key}: ${answer.message}`)
        else if (answer.status !== 200 || answer.body.length !== expected) failures.push(`the good client's ${verb} ${key}: ${answer.status} ${answer.text.slice(0, 200)}`)
      }
      const sorted = times.toSorted((a, b) => a - b)
      const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
      return { requests: times.length, failures, p50: at(0.5), p99: at(0.99), max: at(1) }
    },
  }
}
