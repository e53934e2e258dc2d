import { randomUUID } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import pg from 'pg'
import { decodeManifest } from '../../../src/domain/manifest.ts'
import { openCheckDatabase } from '../../../src/metadata/postgres/check.ts'
import { embeddedConnection } from '../../../src/metadata/postgres/embedded.ts'
import { scrub, type Finding } from '../../../src/storage/scrub.ts'
import { versionIdOf } from '../../../src/versioning/versions.ts'
import { scrubReport } from '../../support/holdfast.ts'
import { signRequest, xmlText } from '../../support/raw.ts'
import { bucketSender, newBucket } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { noiseBuffer } from '../../support/tools.ts'
import { randomOf, type Random } from '../journal/states.ts'
import type { Finding as Found, PromiseOptions } from './runner/promise.ts'

export const row = 'rot'
export const promise = 'Damaged bytes are never served, whole or in a range; the log names the object, and scrub finds every damage'
export const method = 'random bit flips, overwritten stretches, truncations, swapped and missing files and segments under a running server'

interface Stored {
  readonly key: string
  readonly versionId: string | null
  readonly body: Buffer
  /** Files below the drive's root that hold its bytes. */
  readonly files: readonly string[]
}

/** What was done to files, and how it is undone. */
interface Damage {
  readonly what: string
  readonly undo: () => Promise<void>
}

/** One case is one damage with all reads that look at it. A violation says the seed and the case. */
export async function run(options: PromiseOptions): Promise<Found> {
  const { seed, seconds, say } = options
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  // A small limit makes segments of what is quick to write; the server's own scrub is off, so that it is not what finds the damage.
  const server = await startServer({ env: { HOLDFAST_SMALL_BODY_BYTES_MAX: '65536', HOLDFAST_SCRUB_BYTES_PER_SECOND: '0' } })
  const violations: string[] = []
  let cases = 0
  const database = await openCheckDatabase({ connection: { ...await embeddedConnection(server.dataDir) }, log: () => undefined })
  try {
    const bucket = await newBucket(server.client, 'Enabled')
    const stored = await fill(server, bucket, pick)
    const clean = await scrubReport(server.dataDir, '--digests')
    if (clean.code !== 0 || clean.rows.digestsCompared !== stored.length) violations.push(`seed ${seed}: a scrub before any damage: ${JSON.stringify(clean)}`)
    const [drive] = await database.drives()
    if (drive === undefined) throw new Error('the server has no drive')
    // What the command runs, without the start of a process for each damage.
    const check = async (): Promise<Finding[]> => {
      const findings: Finding[] = []
      await scrub({ store: database, drives: [{ ...drive, root: join(server.dataDir, 'drive') }], share: null, digests: false, found: (finding) => findings.push(finding) })
      return findings
    }
    for (const until = Date.now() + seconds * 1000; Date.now() < until && violations.length < 20;) {
      const damage = await damageSomething(join(server.dataDir, 'drive'), stored, random)
      cases += 1
      try {
        for (const text of await look(server, bucket, stored, pick, check)) violations.push(`seed ${seed}, case ${cases}, ${damage.what}: ${text}`)
      } finally {
        await damage.undo()
      }
      if (cases % 25 === 0) say(`${cases} damages, ${violations.length} violations`)
    }
    const whole = await scrubReport(server.dataDir)
    if (whole.code !== 0) violations.push(`seed ${seed}: a scrub after every damage was undone: ${JSON.stringify(whole.findings)}`)
    return { cases, violations }
  } finally {
    await database.close()
    await server.remove()
  }
}

async function fill(server: TestServer, bucket: string, pick: (count: number) => number): Promise<Stored[]> {
  const send = bucketSender(server, bucket)
  const bodies: { key: string; versionId: string | null; body: Buffer }[] = []
  const put = async (key: string, body: Buffer): Promise<void> => {
    const response = await send('PUT', key, { body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
    if (response.status !== 200) throw new Error(`PUT ${key}: ${response.status} ${response.text}`)
    bodies.push({ key, versionId: response.headers['x-amz-version-id'] ?? null, body })
  }
  for (let index = 0; index < 40; index++) await put(`small-${index % 30}`, noiseBuffer(1 + pick(40_000), `small ${index} ${pick(2 ** 31)}`))
  for (let index = 0; index < 6; index++) await put(`large-${index}`, noiseBuffer(70_000 + pick(3_000_000), `large ${index} ${pick(2 ** 31)}`))
  const parts = [5 * 1024 ** 2, 200_000, 30_000].slice(pick(2)).slice(0, 2).map((size, index) => noiseBuffer(index === 0 ? 5 * 1024 ** 2 : size, `part ${index} ${pick(2 ** 31)}`))
  const uploadId = xmlText((await send('POST', 'parts?uploads')).text, 'UploadId') ?? ''
  let list = ''
  for (const [index, body] of parts.entries()) {
    const response = await send('PUT', `parts?partNumber=${index + 1}&uploadId=${uploadId}`, { body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
    list += `<Part><PartNumber>${index + 1}</PartNumber><ETag>${response.headers['etag']}</ETag></Part>`
  }
  const completed = await send('POST', `parts?uploadId=${uploadId}`, { body: `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>` })
  if (completed.status !== 200) throw new Error(`complete: ${completed.status} ${completed.text}`)
  bodies.push({ key: 'parts', versionId: completed.headers['x-amz-version-id'] ?? null, body: Buffer.concat(parts) })
  const files = await filesByVersion(server.dataDir)
  return bodies.map(({ key, versionId, body }) => ({ key, versionId, body, files: files.get(`${key} ${versionId}`) ?? [] }))
}

/** Where the bytes of each version are, from the rows themselves. */
async function filesByVersion(dataDir: string): Promise<Map<string, string[]>> {
  const client = new pg.Client(await embeddedConnection(dataDir))
  await client.connect()
  const { rows } = await client.query<{ key: string; seq: string; nonce: string; manifest: Buffer }>(
    'SELECT key, seq, nonce, manifest FROM objects UNION ALL SELECT key, seq, nonce, manifest FROM noncurrent_versions',
  )
  await client.end()
  return new Map(rows.map(({ key, seq, nonce, manifest }) => [`${key} ${versionIdOf(Number(seq), BigInt.asUintN(64, BigInt(nonce)))}`, decodeManifest(manifest).map(({ blob, place }) => (
    place.kind === 'segment' ? `segments/${place.segment}` : `blobs/${blob.slice(0, 2)}/${blob.slice(2, 4)}/${blob}`))]))
}

/** Does one damage to files of live objects. */
async function damageSomething(drive: string, stored: readonly Stored[], random: Random): Promise<Damage> {
  const pick = (count: number): number => Math.floor(random() * count)
  const files = [...new Set(stored.flatMap((each) => each.files))].sort()
  // Large objects are few: without this most damages would be of segments.
  const blobs = files.filter((file) => file.startsWith('blobs/'))
  const segments = files.filter((file) => file.startsWith('segments/'))
  if (files.length === 0) throw new Error('no file holds any object')
  const from = pick(2) === 0 || segments.length === 0 ? blobs : segments
  const file = from[pick(from.length)] ?? ''
  const path = join(drive, file)
  const before = await readFile(path)
  const write = (bytes: Buffer): Promise<void> => writeFile(path, bytes)
  const undo = (): Promise<void> => write(before)
  // Zeros that are laid out ahead of a segment's records hold nothing that could rot.
  const used = before.findLastIndex((byte) => byte !== 0) + 1
  const at = pick(used)
  const kind = pick(6)
  if (kind <= 1) {
    const flips = kind === 0 ? [at] : Array.from({ length: 1 + pick(20) }, () => pick(used))
    const after = Buffer.from(before)
    for (const each of flips) after[each] = (after[each] ?? 0) ^ (1 << pick(8))
    if (after.equals(before)) after[at] = (after[at] ?? 0) ^ 1
    await write(after)
    return { what: `${flips.length} flipped bits in ${file} at ${flips.join()}`, undo }
  }
  if (kind === 2) {
    const length = Math.min(512 * (1 + pick(16)), used - at)
    const after = Buffer.from(before)
    after.fill(pick(2) === 0 ? 0 : 0xff, at, at + length)
    if (after.equals(before)) after[at] = (after[at] ?? 0) ^ 1
    await write(after)
    return { what: `${length} bytes overwritten in ${file} at ${at}`, undo }
  }
  if (kind === 3) {
    await write(before.subarray(0, at))
    return { what: `${file} cut off at ${at} of ${before.length}`, undo }
  }
  const aside = join(drive, `${randomUUID()}.aside`)
  if (kind === 4) {
    await rename(path, aside)
    return { what: `${file} is missing`, undo: () => rename(aside, path) }
  }
  const others = from.filter((each) => each !== file)
  const other = others[pick(others.length)]
  if (other === undefined) {
    await rename(path, aside)
    return { what: `${file} is missing`, undo: () => rename(aside, path) }
  }
  const swap = async (): Promise<void> => {
    await rename(path, aside)
    await rename(join(drive, other), path)
    await rename(aside, join(drive, other))
  }
  await swap()
  return { what: `${file} and ${other} changed places`, undo: swap }
}

interface Got {
  /** Null: the connection broke before an answer. */
  readonly status: number | null
  readonly body: Buffer
  /** Whether as many bytes came as were announced. */
  readonly whole: boolean
}

/** Reads everything, whole and in ranges, and scrubs. Returns what must not be. */
async function look(server: TestServer, bucket: string, stored: readonly Stored[], pick: (count: number) => number, check: () => Promise<Finding[]>): Promise<string[]> {
  const wrong: string[] = []
  const unreadable = new Set<Stored>()
  const logStart = server.output().length
  for (const object of stored) {
    const query = object.versionId === null ? '' : `?versionId=${object.versionId}`
    const whole = await get(server, `/${bucket}/${object.key}${query}`, null)
    const start = pick(object.body.length)
    const end = Math.min(object.body.length, start + 1 + pick(object.body.length - start))
    const ranged = await get(server, `/${bucket}/${object.key}${query}`, `bytes=${start}-${end - 1}`)
    for (const [name, got, expected] of [['whole', whole, object.body], [`${start} to ${end}`, ranged, object.body.subarray(start, end)]] as const) {
      const failed = got.status === null || got.status >= 500 || !got.whole
      if (failed) unreadable.add(object)
      // An answer that breaks off has given right bytes only, and no more than that.
      const served = got.status === 200 || got.status === 206 ? got.body : Buffer.alloc(0)
      if (!served.equals(expected.subarray(0, served.length)) || (!failed && served.length !== expected.length)) wrong.push(`${object.key} ${name}: wrong bytes, status ${got.status}`)
      if (got.status !== null && got.status !== 200 && got.status !== 206 && got.status < 500) wrong.push(`${object.key} ${name}: status ${got.status}`)
    }
  }
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  const log = server.output().slice(logStart)
  for (const { key } of unreadable) if (!log.includes(`/${bucket}/${key}`)) wrong.push(`${key} could not be read, and the log does not name it`)
  const findings = await check()
  if (findings.length === 0) wrong.push('scrub found nothing')
  const named = new Set(findings.map(({ object }) => `${object?.bucket}/${object?.key} ${object?.versionId}`))
  for (const { key, versionId } of unreadable) if (!named.has(`${bucket}/${key} ${versionId ?? 'null'}`)) wrong.push(`scrub does not name ${key} ${versionId}, which cannot be read`)
  return wrong
}

function get(server: TestServer, path: string, range: string | null): Promise<Got> {
  const { headers } = signRequest({ server, path, headers: range === null ? {} : { range } })
  return new Promise((resolve) => {
    const request = http.get(server.url + path, { headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('close', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks), whole: response.complete }))
      response.on('error', () => response.destroy())
    })
    request.on('error', () => resolve({ status: null, body: Buffer.alloc(0), whole: false }))
  })
}
