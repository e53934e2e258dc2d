import http from 'node:http'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { slowReader, type SlowReader } from '../consistency/slow-reader.ts'
import { randomOf } from '../journal/states.ts'
import { createUpload, complete, putPart } from '../../support/multipart.ts'
import { signedRequest } from '../../support/raw.ts'
import { bucketSender, newBucket, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { sweepMs, sweepsOften } from '../../support/swept.ts'
import { noiseBuffer } from '../../support/tools.ts'

export const row = 'running GET'
export const promise = 'A GET finishes as the version that it began with, over an overwrite, a delete, the sweep of its bytes and the compaction of its segment'
export const method = 'readers that stop in the middle, of small and large bodies, parts and ranges, with a grace of one second; quick readers of small bodies while their segments are emptied'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const partBytes = 5 * 1024 ** 2
/** Twice: the segment that was moved goes only after another grace. */
const compactionMs = 2 * sweepMs
/** The largest that a segment takes. */
const smallBytesMax = 1_048_576
/** More than the sockets between server and client hold. */
const largeBytes = 14_000_000

interface World {
  readonly server: TestServer
  readonly bucket: string
  readonly send: ReturnType<typeof bucketSender>
  readonly violations: string[]
  pick(count: number): number
  noise(size: number): Buffer
}

interface Reading {
  readonly what: string
  readonly reader: SlowReader
  readonly expected: Buffer
}

/** One case is one GET that something happened to. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  const processes = 1 + (seed % 2)
  const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes), ...sweepsOften, HOLDFAST_SMALL_BODY_BYTES_MAX: String(smallBytesMax) } })
  const violations: string[] = []
  let [cases, made, moved, rounds] = [0, 0, 0, 0]
  try {
    const bucket = await newBucket(server.client)
    const world: World = { server, bucket, send: bucketSender(server, bucket), violations, pick, noise: (size) => noiseBuffer(size, `${seed} ${made++}`) }
    for (const until = Date.now() + seconds * 1000; violations.length < 5 && (rounds < 1 || Date.now() < until); rounds++) {
      const stay = await mostlyDeadSegments(world, rounds)
      const before = await segments(server)
      const readings = await Promise.all(Array.from({ length: 6 }, (_, index) => begin(world, `round-${rounds}-${index}`)))
      for (const { key, body } of stay.slice(0, 4)) readings.push({ what: `${key} of a segment that is emptied`, reader: await slowReader(server, `/${bucket}/${key}`), expected: body })
      cases += await quickReads(world, stay, Date.now() + compactionMs)
      const after = await segments(server)
      moved += before.filter((name) => !after.includes(name)).length
      for (const { what, reader, expected } of readings) {
        cases += 1
        const bytes = await reader.rest().catch((error: Error) => error)
        if (bytes instanceof Error) violations.push(`round ${rounds}: ${what} broke off: ${bytes.message}`)
        else if (!bytes.equals(expected)) violations.push(`round ${rounds}: ${what}: status ${reader.status}, ${bytes.length} bytes, not the ${expected.length} of its version`)
      }
      for (const { key } of stay) await world.send('DELETE', key)
    }
    if (moved === 0 && violations.length === 0) violations.push('no segment was emptied: nothing was tried')
  } finally {
    await server.remove()
  }
  say(`${cases} GETs in ${rounds} rounds, ${moved} segments were emptied and removed, ${processes} processes`)
  return { cases, violations: violations.map((text) => `seed ${seed}: ${text}`) }
}

async function segments({ dataDir }: TestServer): Promise<string[]> {
  return (await readdir(join(dataDir, 'drive', 'segments'))).filter((name) => !name.includes('.'))
}

async function must(world: World, method: string, target: string, body?: Buffer): Promise<void> {
  const answer = await world.send(method, target, body === undefined ? {} : { body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  if (answer.status >= 300) throw new Error(`${method} ${target}: ${outcome(answer)}`)
}

/** Segments of a server that has ended, with a few live bodies among dead ones: the sweeper moves those, and reads go on. */
async function mostlyDeadSegments(world: World, round: number): Promise<{ key: string; body: Buffer }[]> {
  const all = Array.from({ length: 36 }, (_, index) => ({ key: `packed-${round}-${index}`, body: world.noise(index % 3 === 0 ? 1 + world.pick(3000) : smallBytesMax / 2 + world.pick(smallBytesMax / 2)) }))
  await Promise.all(all.map(({ key, body }) => must(world, 'PUT', key, body)))
  const stay = all.filter((_, index) => index % 4 === 0)
  await Promise.all(all.filter((each) => !stay.includes(each)).map(({ key }) => must(world, 'DELETE', key)))
  await world.server.stop()
  await world.server.restart()
  return stay
}

/** Stores a large object, begins to read it, and lets something happen to it. */
async function begin(world: World, key: string): Promise<Reading> {
  let body: Buffer
  if (world.pick(3) === 0) {
    // Of many parts the later ones are still to be opened when they are deleted.
    const bodies = Array.from({ length: 3 }, () => world.noise(partBytes))
    const uploadId = await createUpload(world.send, key)
    const etags = await Promise.all(bodies.map(async (part, index) => (await putPart(world.send, key, uploadId, index + 1, part, { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' })).headers['etag'] ?? ''))
    const done = await complete(world.send, key, uploadId, etags.map((etag, index) => ({ number: index + 1, etag })))
    if (done.status !== 200) throw new Error(`complete ${key}: ${outcome(done)}`)
    body = Buffer.concat(bodies)
  } else {
    body = world.noise(largeBytes + world.pick(1_000_000))
    await must(world, 'PUT', key, body)
  }
  const from = world.pick(2) === 0 ? world.pick(1_500_000) : null
  const reader = await slowReader(world.server, `/${world.bucket}/${key}`, from === null ? {} : { range: `bytes=${from}-` })
  const fates = ['an overwrite', 'a delete', 'an overwrite and a delete', 'a copy over it']
  const fate = fates[world.pick(fates.length)] ?? ''
  if (fate.includes('overwrite')) await must(world, 'PUT', key, world.noise(1 + world.pick(400_000)))
  if (fate.includes('delete')) await must(world, 'DELETE', key)
  if (fate.includes('copy')) {
    await must(world, 'PUT', `${key}-other`, world.noise(1000))
    await world.send('PUT', key, { headers: { 'x-amz-copy-source': `/${world.bucket}/${key}-other` } })
  }
  return { what: `${key} ${from === null ? 'whole' : `from ${from}`} over ${fate}`, reader, expected: body.subarray(from ?? 0) }
}

/** Reads small bodies over and over while they are moved: each answer is whole and right. */
async function quickReads(world: World, stay: readonly { key: string; body: Buffer }[], until: number): Promise<number> {
  let read = 0
  const one = async (): Promise<void> => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    while (Date.now() < until && world.violations.length < 5) {
      // What matters is that reads never stop while the records move, not how many there are: full speed would take both cores from other tests.
      await sleep(5)
      const { key, body } = stay[world.pick(stay.length)] ?? { key: '', body: Buffer.alloc(0) }
      const from = world.pick(body.length)
      const ranged = world.pick(3) === 0
      const answer = await signedRequest({ server: world.server, agent, path: `/${world.bucket}/${key}`, headers: ranged ? { range: `bytes=${from}-` } : {} })
      read += 1
      if (answer.status >= 300 || !answer.body.equals(ranged ? body.subarray(from) : body)) world.violations.push(`a quick GET of ${key}${ranged ? ` from ${from}` : ''} while its segment is emptied: ${outcome(answer)}, ${answer.body.length} bytes`)
      await sleep(2)
    }
    agent.destroy()
  }
  await Promise.all(Array.from({ length: 4 }, one))
  return read
}
