import http from 'node:http'
import { randomOf } from '../journal/states.ts'
import { completeDocument } from '../../support/multipart.ts'
import { signedRequest, xmlText, type RawResponse } from '../../support/raw.ts'
import { newBucket, outcome } from '../../support/s3.ts'
import { startServer } from '../../support/server.ts'
import { sweepsOften } from '../../support/swept.ts'

export const row = 'old-or-new'
export const promise = 'Each answer is one version, whole and by range, with the headers of that version, whoever writes meanwhile'
export const method = 'four writers (put, parts, copy, delete) and four readers of one key; every 16 bytes say which version they are of'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const blockBytes = 16
const partBytes = 5 * 1024 ** 2
/** However busy the machine is. */
const readsMin = 20
const patienceMs = 30_000

const nameOf = (version: number): string => String(version).padStart(blockBytes, '0')

/** Which versions these bytes are of; more than one is a mix. `at`: offset of the first one in its object. */
export function versionsIn(bytes: Buffer, at: number): string[] {
  const whole = bytes.subarray((blockBytes - (at % blockBytes)) % blockBytes)
  const found = new Set<string>()
  for (let from = 0; from + blockBytes <= whole.length; from += blockBytes) found.add(whole.toString('latin1', from, from + blockBytes))
  return [...found]
}

/** One case is one answer to a reader. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const processes = 1 + (seed % 2)
  const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes), ...sweepsOften } })
  const wrong: string[] = []
  const began = Date.now()
  const totals = { read: 0, written: 0 }
  /** Sizes by version: a mix of a body with another one's length shows as well. */
  const sizes = new Map<string, number>()
  let version = 0
  try {
    const bucket = await newBucket(server.client)
    const going = (): boolean => wrong.length < 10 && (Date.now() < began + seconds * 1000 || (totals.read < readsMin && Date.now() < began + patienceMs))
    const send = (agent: http.Agent, method: string, target: string, headers: Readonly<Record<string, string>> = {}, body?: Buffer | string): Promise<RawResponse> =>
      signedRequest({ server, agent, method, path: `/${bucket}/${target}`, headers: { ...(body === undefined ? {} : { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }), ...headers }, ...(body === undefined ? {} : { body }) })
    const done = (what: string, answer: RawResponse, proof = ''): RawResponse => {
      if (answer.status >= 300 || !answer.text.includes(proof)) wrong.push(`${what}: ${outcome(answer)}`)
      totals.written += 1
      return answer
    }

    async function writer(index: number): Promise<void> {
      const random = randomOf(seed + index)
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      while (going()) {
        version += 1
        const mine = version
        const name = nameOf(mine)
        // Small and large bodies rest in different places: a segment, a file of their own, several files.
        const kind = random()
        const size = (kind < 0.4 ? 50_000 : kind < 0.7 ? 300_000 : kind < 0.92 ? 2_100_000 : partBytes + 500_000) + mine * blockBytes
        sizes.set(name, size)
        const body = Buffer.alloc(size, name)
        const metadata = { 'x-amz-meta-version': String(mine) }
        if (kind >= 0.92) {
          const uploadId = xmlText(done('create', await send(agent, 'POST', 'contended?uploads', metadata)).text, 'UploadId')
          const parts = []
          for (const [at, bytes] of [body.subarray(0, partBytes), body.subarray(partBytes)].entries()) parts.push({ number: at + 1, etag: done('part', await send(agent, 'PUT', `contended?partNumber=${at + 1}&uploadId=${uploadId}`, {}, bytes)).headers['etag'] ?? '' })
          done('complete', await send(agent, 'POST', `contended?uploadId=${uploadId}`, {}, completeDocument(parts)), '<CompleteMultipartUploadResult')
        } else if (kind > 0.6 && kind < 0.7) {
          done('PUT', await send(agent, 'PUT', `source-${index}`, metadata, body))
          done('copy', await send(agent, 'PUT', 'contended', { 'x-amz-copy-source': `/${bucket}/source-${index}` }), '<CopyObjectResult')
        } else done('PUT', await send(agent, 'PUT', 'contended', metadata, body))
        if (random() < 0.04) done('DELETE', await send(agent, 'DELETE', 'contended'))
      }
      agent.destroy()
    }

    async function reader(index: number): Promise<void> {
      const random = randomOf(seed + 100 + index)
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      while (going()) {
        const start = Math.floor(random() * 40_000)
        const ranged = random() < 0.5
        const response = await send(agent, 'GET', 'contended', ranged ? { range: `bytes=${start}-${start + 1_400_000}` } : {})
        if (response.status === 404) continue
        totals.read += 1
        const versions = versionsIn(response.body, ranged ? start : 0)
        const total = Number(ranged ? response.headers['content-range']?.split('/')[1] : response.headers['content-length'])
        const [only = ''] = versions
        const whole = response.body.length === (ranged ? Math.min(total - start, 1_400_001) : total)
        if (versions.length !== 1 || !whole || sizes.get(only) !== total || Number(only) !== Number(response.headers['x-amz-meta-version'])) {
          wrong.push(`GET ${ranged ? `from ${start}` : 'whole'}: ${outcome(response)}, ${response.body.length} bytes of versions ${versions.slice(0, 4).join()} of ${total} bytes, headers of ${response.headers['x-amz-meta-version']}`)
        }
      }
      agent.destroy()
    }
    await Promise.all([...Array.from({ length: 4 }, (_, index) => writer(index)), ...Array.from({ length: 4 }, (_, index) => reader(index))])
  } finally {
    await server.remove()
  }
  if (totals.read < readsMin) wrong.push(`only ${totals.read} reads were answered`)
  say(`${totals.read} reads of ${version} versions, ${processes} processes`)
  return { cases: totals.read, violations: wrong.map((text) => `seed ${seed}: ${text}`) }
}
