import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { openClock, type Clock } from '../clock/clock.ts'
import { slowReader } from '../consistency/slow-reader.ts'
import { randomOf } from '../journal/states.ts'
import { completeDocument } from '../../support/multipart.ts'
import { signedRequest, xmlText, type RawRequest, type RawResponse } from '../../support/raw.ts'
import { bucketName, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { noiseBuffer } from '../../support/tools.ts'

export const row = 'order of versions'
export const promise = 'Versions, null versions and delete markers are in the order of their answers, whatever the clock says: jumps of a day both ways'
export const method = 'the time of day of server and PostgreSQL moved while they run; every history compared with a plain list; times and signatures judged by the server\'s clock'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const dayMs = 86_400_000
const signatureSkewMs = 15 * 60 * 1000
/** What is over by then was long over: a day is not left by rounding. */
const toleranceMs = 1000

interface Version {
  /** `null` for the null version. */
  readonly id: string
  /** Null: a delete marker. */
  readonly body: Buffer | null
  /** When it was made, by the server's clock; null where that is not told. */
  readonly made: readonly [fromMs: number, toMs: number] | null
}

interface World {
  readonly server: TestServer
  readonly clock: Clock
  readonly bucket: string
  readonly violations: string[]
  readonly keys: Map<string, Version[]>
  readonly uploads: { readonly key: string; readonly uploadId: string; readonly etag: string; readonly body: Buffer }[]
  versioning: 'Enabled' | 'Suspended' | 'off'
  cases: number
  pick(count: number): number
}

/** One case is one version or marker made, whose place in the order was looked at after every later jump. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const clock = await openClock()
  const processes = 1 + (seed % 2)
  const server = await startServer({ env: { ...clock.env, HOLDFAST_PROCESSES: String(processes), HOLDFAST_SWEEP_GRACE_SECONDS: '600', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  const world: World = {
    server, clock, bucket: bucketName(), violations: [], keys: new Map(Array.from({ length: 5 }, (_, index) => [`key-${index}`, []])), uploads: [], versioning: 'off', cases: 0,
    pick: (count) => Math.floor(random() * count),
  }
  let jumps = 0
  try {
    await must(world, { method: 'PUT', path: `/${world.bucket}` })
    for (const until = Date.now() + seconds * 1000; world.violations.length < 5 && (jumps < 3 || Date.now() < until); jumps++) {
      if (jumps > 0 && world.pick(3) > 0) await setVersioning(world)
      await Promise.all([...world.keys.keys()].map((key) => work(world, key)))
      const reader = jumps === 1 || world.pick(5) === 0 ? await deletedWhileRead(world) : null
      jump(world, jumps)
      if (world.pick(8) === 0) {
        await server.kill9()
        await server.restart()
      }
      await judgedByItsClock(world)
      await inOrder(world)
      await reader?.()
    }
    await readable(world)
  } catch (error) {
    world.violations.push(String(error))
  } finally {
    await server.remove()
    await clock.remove()
  }
  say(`${world.cases} versions and markers over ${jumps} jumps, ${processes} processes`)
  return { cases: world.cases, violations: world.violations.map((text) => `seed ${seed}, after ${jumps} jumps: ${text}`) }
}

/** Signed with the time of the server's clock. */
const send = ({ server, clock }: World, request: Omit<RawRequest, 'server'>): Promise<RawResponse> =>
  signedRequest({ server, ...request, headers: { 'x-amz-date': new Date(clock.now()).toISOString().replace(/[-:]|\.\d{3}/g, ''), ...request.headers } })

async function must(world: World, request: Omit<RawRequest, 'server'>, proof = ''): Promise<RawResponse> {
  const answer = await send(world, request)
  if (answer.status >= 300 || !answer.text.includes(proof)) throw new Error(`${request.method ?? 'GET'} ${request.path} at ${world.clock.offsetMs} ms: ${outcome(answer)} ${answer.text.slice(0, 300)}`)
  return answer
}

/** The first ones are a day forward and a day back. */
function jump({ clock, pick }: World, turn: number): void {
  const targets = [0, 1000, -1000, 3_600_000, -3_600_000, dayMs, -dayMs, dayMs + pick(dayMs), -dayMs - pick(dayMs)]
  clock.jumpTo(turn === 0 ? dayMs : turn === 1 ? 2 * dayMs : turn === 2 ? -dayMs : targets[pick(targets.length)] ?? 0)
}

async function setVersioning(world: World): Promise<void> {
  world.versioning = world.versioning === 'Enabled' && world.pick(2) === 0 ? 'Suspended' : 'Enabled'
  await must(world, { method: 'PUT', path: `/${world.bucket}?versioning`, body: `<VersioningConfiguration><Status>${world.versioning}</Status></VersioningConfiguration>` })
}

const without = (versions: Version[], id: string): void => {
  const at = versions.findIndex((version) => version.id === id)
  if (at >= 0) versions.splice(at, 1)
}

/** Source: Amazon S3 user guide, "Adding objects to versioning-enabled buckets" and "... versioning-suspended buckets". */
function added(world: World, versions: Version[], version: Version): void {
  world.cases += 1
  if (version.id === 'null') without(versions, 'null')
  versions.unshift(version)
}

/** A few writes of one key, one after the other; other keys are written at the same time. */
async function work(world: World, key: string): Promise<void> {
  const versions = world.keys.get(key) ?? []
  const path = `/${world.bucket}/${key}`
  for (let step = 1 + world.pick(5); step > 0; step--) {
    const kind = world.pick(12)
    const from = world.clock.now()
    const made = (): readonly [number, number] => [from, world.clock.now()]
    const waiting = world.uploads.findIndex((upload) => upload.key === key)
    if (kind < 5) {
      const body = noiseBuffer(world.pick(5) === 0 ? 150_000 : 1 + world.pick(3000), `${key} ${world.cases} ${world.pick(2 ** 31)}`)
      const answer = await must(world, { method: 'PUT', path, body })
      added(world, versions, { id: answer.headers['x-amz-version-id'] ?? 'null', body, made: made() })
    } else if (kind < 7) {
      const answer = await must(world, { method: 'DELETE', path })
      // Where versioning never was nothing stays behind.
      if (world.versioning === 'off') versions.splice(0)
      else added(world, versions, { id: answer.headers['x-amz-version-id'] ?? 'null', body: null, made: made() })
    } else if (kind < 8 && versions.length > 2) {
      const victim = versions[world.pick(versions.length)]
      await must(world, { method: 'DELETE', path: `${path}?versionId=${victim?.id}` })
      without(versions, victim?.id ?? '')
    } else if (kind < 9) {
      const source = versions.filter(({ body }) => body !== null)[0]
      if (source === undefined) continue
      const headers = { 'x-amz-copy-source': `${path}?versionId=${source.id}`, 'x-amz-metadata-directive': 'REPLACE' }
      const answer = await must(world, { method: 'PUT', path, headers }, '<CopyObjectResult')
      added(world, versions, { id: answer.headers['x-amz-version-id'] ?? 'null', body: source.body, made: made() })
    } else if (waiting >= 0) {
      // Begun before some jumps, an object from now on.
      const [upload] = world.uploads.splice(waiting, 1)
      if (upload === undefined) continue
      const answer = await must(world, { method: 'POST', path: `${path}?uploadId=${upload.uploadId}`, body: completeDocument([{ number: 1, etag: upload.etag }]) }, '<CompleteMultipartUploadResult')
      added(world, versions, { id: answer.headers['x-amz-version-id'] ?? 'null', body: upload.body, made: null })
    } else {
      const body = noiseBuffer(1 + world.pick(200_000), `${key} part ${world.cases} ${world.pick(2 ** 31)}`)
      const uploadId = xmlText((await must(world, { method: 'POST', path: `${path}?uploads` })).text, 'UploadId') ?? ''
      const answer = await must(world, { method: 'PUT', path: `${path}?partNumber=1&uploadId=${uploadId}`, body })
      world.uploads.push({ key, uploadId, etag: answer.headers['etag'] ?? '', body })
    }
  }
}

/** Puts and deletes a large object while somebody reads it; the rest is read when the sweeper has seen the jump. */
async function deletedWhileRead(world: World): Promise<() => Promise<void>> {
  const path = `/${world.bucket}/read-slowly`
  const body = noiseBuffer(12_000_000, `slow ${world.cases} ${world.pick(2 ** 31)}`)
  const id = (await must(world, { method: 'PUT', path, body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })).headers['x-amz-version-id']
  const reader = await slowReader(world.server, path, { 'x-amz-date': new Date(world.clock.now()).toISOString().replace(/[-:]|\.\d{3}/g, '') })
  await must(world, { method: 'DELETE', path: id === undefined ? path : `${path}?versionId=${id}` })
  const killed = world.server.pid
  return async () => {
    await sleep(2200)
    const bytes = await reader.rest().catch((error: Error) => error)
    // The death of the server is the reader's too.
    if (world.server.pid === killed && (bytes instanceof Error || !bytes.equals(body))) world.violations.push(`a GET over a jump to ${world.clock.offsetMs} ms: ${bytes instanceof Error ? bytes.message : 'wrong bytes'}`)
  }
}

/** A client whose clock is the true one is told so when the server's is not. */
async function judgedByItsClock(world: World): Promise<void> {
  const { status, text } = await signedRequest({ server: world.server, path: `/${world.bucket}?versioning` })
  const skewed = Math.abs(world.clock.offsetMs) > signatureSkewMs
  if (skewed ? status !== 403 || !text.includes('<Code>RequestTimeTooSkewed</Code>') : status !== 200) world.violations.push(`a request of the true time at ${world.clock.offsetMs} ms: ${status} ${text.slice(0, 200)}`)
  await must(world, { path: `/${world.bucket}?versioning` })
}

interface Listed {
  readonly key: string
  readonly text: string
  readonly lastModified: number
}

/** All rows of ListObjectVersions, in small pages. */
async function listed(world: World): Promise<Listed[]> {
  const rows: Listed[] = []
  for (let marker = ''; ;) {
    const { text } = await must(world, { path: `/${world.bucket}?versions&prefix=key-&max-keys=${1 + world.pick(30)}${marker}` })
    for (const [, kind, row = ''] of text.matchAll(/<(Version|DeleteMarker)>([\s\S]*?)<\/\1>/g)) {
      const what = kind === 'DeleteMarker' ? 'marker' : xmlText(row, 'ETag')?.slice(1, 33)
      rows.push({ key: xmlText(row, 'Key') ?? '', text: `${xmlText(row, 'VersionId')} ${what} ${xmlText(row, 'IsLatest')}`, lastModified: Date.parse(xmlText(row, 'LastModified') ?? '') })
    }
    if (xmlText(text, 'IsTruncated') !== 'true') return rows
    marker = `&key-marker=${xmlText(text, 'NextKeyMarker')}&version-id-marker=${xmlText(text, 'NextVersionIdMarker')}`
  }
}

async function inOrder(world: World): Promise<void> {
  const rows = await listed(world)
  for (const [key, versions] of world.keys) {
    const own = rows.filter((row) => row.key === key)
    const should = versions.map(({ id, body }, index) => ({ id, text: `${id} ${body === null ? 'marker' : '*'} ${index === 0}` }))
    // The ETag of an object of parts is another one than its MD5: bytes are compared in the end.
    const found = own.map(({ text }) => text.replace(/ [0-9a-f]{32} /, ' * '))
    if (JSON.stringify(found) !== JSON.stringify(should.map(({ text }) => text))) world.violations.push(`${key} at ${world.clock.offsetMs} ms is listed as ${found.join(', ')}, not ${should.map(({ text }) => text).join(', ')}`)
    for (const [index, { made, id }] of versions.entries()) {
      const time = own[index]?.lastModified ?? Number.NaN
      if (made !== null && !(time >= made[0] - toleranceMs && time <= made[1] + toleranceMs)) world.violations.push(`${key} ${id}: Last-Modified ${new Date(time).toISOString()}, but it was made ${new Date(made[0]).toISOString()}`)
    }
    const [latest] = versions
    const head = await send(world, { method: 'HEAD', path: `/${world.bucket}/${key}` })
    if (latest === undefined || latest.body === null ? head.status !== 404 : head.status !== 200 || (head.headers['x-amz-version-id'] ?? 'null') !== latest.id) world.violations.push(`HEAD ${key} at ${world.clock.offsetMs} ms: ${head.status} ${head.headers['x-amz-version-id']}, not ${latest?.id} ${latest?.body === null ? 'marker' : ''}`)
  }
}

/** No jump has made the sweeper take what is alive. */
async function readable(world: World): Promise<void> {
  await sleep(2200)
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  for (const [key, versions] of world.keys) {
    for (const { id, body } of versions) {
      if (body === null) continue
      const got = await send(world, { path: `/${world.bucket}/${key}?versionId=${id}` })
      if (got.status !== 200 || sha256(got.body) !== sha256(body)) world.violations.push(`GET ${key} ${id}: ${outcome(got)} with ${got.body.length} bytes, not those that were sent`)
    }
  }
}
