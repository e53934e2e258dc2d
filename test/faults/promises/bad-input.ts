import { lastingTemporaryFiles } from '../../support/leftovers.ts'
import { fsckReport } from '../../support/holdfast.ts'
import { memoryBytes } from '../../support/processes.ts'
import { signedRequest } from '../../support/raw.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { attacksOf, runBatch } from '../hostile/fuzz.ts'
import { oddMeanings } from '../hostile/meanings.ts'
import { smuggling } from '../hostile/smuggling.ts'
import { openWire } from '../hostile/wire.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'bad input cannot hurt'
export const promise = 'Whatever comes gets its S3 error: no 5xx, no crash, no hang, bounded memory, nothing stored by a refused request, no request hidden in another, no key that means another'
export const method = 'good requests changed before and behind their signature, byte by byte and chunk by chunk; hidden requests; odd keys through every document'
export const weight = 14

/** A shorter run has smaller batches, and a quarter of the odd names. */
const shortSeconds = 10
/** A turn of the loop that takes so long is no matter of a busy machine. The goal is 100 ms, which the report shows. */
const turnMsMax = 3000
const delayP999MsMax = 500
/** What a run may add to the memory that the server has behind its first batch. */
const memoryBytesMax = 400 * 1024 ** 2

interface Runtime {
  readonly eventLoopDelayMs: Readonly<Record<'p99' | 'p999' | 'max', number>>
  readonly eventLoopTurnMs: Readonly<Record<'p99' | 'p999' | 'max', number>>
}

/** A case is one request. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const server = await startServer({ env: { HOLDFAST_SCRUB_BYTES_PER_SECOND: '0' } })
  const violations: string[] = []
  const outcomes = new Map<string, number>()
  let cases = 0
  const short = seconds < shortSeconds
  const batchRequests = short ? 800 : 2000
  const wire = openWire(server.port, 64)
  try {
    for (const part of [await smuggling(server), await oddMeanings(server, seed, short ? 4 : 1)]) {
      cases += part.cases
      violations.push(...part.violations)
    }
    const began = Date.now()
    await runtime(server, true)
    let memoryBefore = 0
    let batch = 0
    let slowestMs = 0
    for (; (batch === 0 || Date.now() - began < seconds * 1000) && violations.length < 20; batch++) {
      const own = (seed + batch * 7919) >>> 0
      const result = await runBatch(server, wire, attacksOf(own, batchRequests), own)
      cases += result.requests
      slowestMs = Math.max(slowestMs, result.slowestMs)
      for (const [name, count] of result.outcomes) outcomes.set(name, (outcomes.get(name) ?? 0) + count)
      violations.push(...result.violations.map((text) => `batch ${batch}: ${text}`))
      if (batch === 0) memoryBefore = await memoryBytes(server.pid, 'VmRSS')
      if (batch % 10 === 9) say(`${cases} requests, ${violations.length} violations`)
    }
    const took = (Date.now() - began) / 1000
    const { eventLoopDelayMs: delay, eventLoopTurnMs: turn } = await runtime(server, false)
    const grown = await memoryBytes(server.pid, 'VmRSS') - memoryBefore
    say(`${batch * batchRequests} requests in ${took.toFixed(0)} s, ${(batch * batchRequests / took).toFixed(0)}/s; slowest answer ${slowestMs.toFixed(0)} ms; event loop late by p99 ${delay.p99} p999 ${delay.p999} max ${delay.max} ms, longest turn ${turn.max} ms (goal 100); memory grew by ${(grown / 1e6).toFixed(0)} MB`)
    say([...outcomes].sort(([, a], [, b]) => b - a).map(([name, count]) => `${count} ${name}`).join(', '))
    if (turn.max > turnMsMax || delay.p999 > delayP999MsMax) violations.push(`the event loop stood still for ${turn.max} ms (p999 of its delay ${delay.p999} ms)`)
    if (grown > memoryBytesMax) violations.push(`the server grew by ${grown} bytes`)
    violations.push(...(await afterwards(server)))
    if (await ended(server)) violations.push(`the server ended: ${server.output().slice(-1500)}`)
    return { cases, violations: violations.map((text) => `seed ${seed}: ${text}`) }
  } finally {
    wire.close()
    await server.remove()
  }
}

/** Whether it is gone, or about to go. */
async function ended(server: TestServer): Promise<boolean> {
  return await Promise.race([server.exited(), new Promise<null>((resolve) => setTimeout(resolve, 200, null))]) !== null
}

async function runtime(server: TestServer, reset: boolean): Promise<Runtime> {
  const answer = await signedRequest({ server: { ...server, url: server.controlUrl }, path: `/debug/runtime${reset ? '?reset=' : ''}` })
  return JSON.parse(answer.text) as Runtime
}

/** The server lives and works, its log has nothing unforeseen, no file is half there, and each byte on the drive is accounted for. */
export async function afterwards(server: TestServer): Promise<string[]> {
  const wrong: string[] = []
  const list = await signedRequest({ server, path: '/' })
  if (list.status !== 200 || list.text.includes('<Bucket>')) wrong.push(`afterwards a list of buckets is ${list.status} ${list.text}`)
  const surprises = server.output().split('\n').filter((line) => /in a way that nobody foresaw|could not be written|"level":"error"/.test(line))
  wrong.push(...surprises.slice(0, 5).map((line) => `in the log: ${line.slice(0, 600)}`))
  const half = await lastingTemporaryFiles(server.dataDir)
  if (half.length > 0) wrong.push(`half files: ${half.slice(0, 5).join(', ')}`)
  const report = await fsckReport(server.dataDir).catch((error: Error) => ({ code: null, error: error.message }))
  if (report.code !== 0) wrong.push(`fsck: ${JSON.stringify(report).slice(0, 800)}`)
  return wrong
}
