import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { randomOf } from '../journal/states.ts'
import { fsckReport } from '../../support/holdfast.ts'
import { completeDocument, md5, multipartEtag, type UploadedPart } from '../../support/multipart.ts'
import { signedRequest, xmlText, xmlTexts, type RawResponse } from '../../support/raw.ts'
import { bucketName, newBucket, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { noiseBuffer } from '../../support/tools.ts'

export const row = 'complete once'
export const promise = 'An upload ends once, as one object of exactly the parts that were named or as nothing; a repeat gets the same answer; no acknowledged object is in a bucket that was deleted'
export const method = 'complete, complete of other parts, a part uploaded again and abort at once; puts, copies and completes beside DeleteBucket and CreateBucket; fsck in the end'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const partBytes = 5 * 1024 ** 2

type Send = (method: string, target: string, options?: { body?: string | Buffer; headers?: Readonly<Record<string, string>> }) => Promise<RawResponse>

interface World {
  readonly server: TestServer
  readonly bucket: string
  readonly versioned: boolean
  readonly send: Send
  readonly violations: string[]
  pick(count: number): number
  noise(size: number): Buffer
}

/** One case is one race. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  const processes = 1 + (seed % 2)
  const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes), HOLDFAST_SWEEP_GRACE_SECONDS: '0', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  // Many connections, so that all processes get some of every race.
  const agents = Array.from({ length: 12 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
  const violations: string[] = []
  const ends = new Map<string, number>()
  let [cases, made, turn] = [0, 0, 0]
  try {
    const buckets = [await newBucket(server.client), await newBucket(server.client, 'Enabled')] as const
    const sendTo = (name: string): Send => (method, target, options = {}) => signedRequest({ server, agent: agents[turn++ % agents.length] as http.Agent, method, path: `/${name}${target}`, ...options })
    const noise = (size: number): Buffer => noiseBuffer(size, `${seed} ${made++}`)
    for (const until = Date.now() + seconds * 1000; violations.length < 8 && (cases < 10 || Date.now() < until); cases++) {
      const versioned = pick(3) === 0
      const bucket = buckets[Number(versioned)] ?? ''
      const found: string[] = []
      const world: World = { server, bucket, versioned, send: sendTo(bucket), violations: found, pick, noise }
      const end = pick(4) === 0 ? await bucketRace(world, sendTo) : await uploadRace(world, `/key-${cases}`)
      ends.set(end, (ends.get(end) ?? 0) + 1)
      violations.push(...found.map((text) => `race ${cases}: ${text}`))
    }
    violations.push(...(await leaks(server, buckets.map(sendTo))))
  } finally {
    for (const agent of agents) agent.destroy()
    await server.remove()
  }
  say(`${cases} races, ${processes} processes: ${[...ends].map(([end, count]) => `${count} ${end}`).join(', ')}`)
  return { cases, violations: violations.map((text) => `seed ${seed}, ${processes} processes, ${text}`) }
}

const isDone = (answer: RawResponse): boolean => answer.status === 200 && answer.text.includes('<CompleteMultipartUploadResult')

interface Attempt {
  readonly parts: readonly UploadedPart[]
  readonly bodies: readonly Buffer[]
  readonly answer: RawResponse
}

/** Completes with the old list and with that of a part that is uploaded again, aborts, and more parts: all at once. */
async function uploadRace(world: World, key: string): Promise<string> {
  const { send, pick, noise, violations } = world
  const uploadId = await xmlText((await send('POST', `${key}?uploads`)).text, 'UploadId') ?? ''
  const target = `${key}?uploadId=${uploadId}`
  const put = async (number: number, body: Buffer): Promise<RawResponse> => send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, { body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  const size = (): number => (pick(2) === 0 ? 1 + pick(5000) : 131_000 + pick(400_000))
  const bodies = pick(4) === 0 ? [noise(partBytes), noise(size())] : [noise(size())]
  const parts: UploadedPart[] = []
  for (const [index, body] of bodies.entries()) parts.push({ number: index + 1, etag: (await put(index + 1, body)).headers['etag'] ?? '' })
  // The last part again, with other bytes, or with the same: then both lists are one.
  const again = pick(5) === 0 ? bodies.at(-1) ?? Buffer.alloc(0) : noise(size())
  const number = bodies.length
  const newBodies = [...bodies.slice(0, -1), again]
  const newParts = [...parts.slice(0, -1), { number, etag: `"${md5(again)}"` }]
  const attempts: Promise<Attempt>[] = []
  const attempt = (list: readonly UploadedPart[], of: readonly Buffer[]): void => void attempts.push(send('POST', target, { body: completeDocument(list) }).then((answer) => ({ parts: list, bodies: of, answer })))
  const reputs: Promise<RawResponse>[] = []
  const aborts: Promise<RawResponse>[] = []
  const moves = [
    () => attempt(parts, bodies), () => attempt(parts, bodies), () => attempt(newParts, newBodies), () => void reputs.push(put(number, again)), () => void reputs.push(put(number + 1, noise(size()))),
    ...(pick(2) === 0 ? [() => void aborts.push(send('DELETE', target))] : []),
  ]
  for (const move of moves.map((each) => ({ each, at: pick(1000) })).sort((a, b) => a.at - b.at)) {
    move.each()
    if (pick(3) === 0) await sleep(pick(6))
  }
  const tried = await Promise.all(attempts)
  const [rePut, aborted] = [await Promise.all(reputs), await Promise.all(aborts)]
  for (const { answer } of tried) if (!isDone(answer) && !/^(404 NoSuchUpload|400 InvalidPart)$/.test(outcome(answer))) violations.push(`complete answers ${outcome(answer)} ${answer.text.slice(0, 200)}`)
  for (const answer of rePut) if (!/^(200|404 NoSuchUpload)$/.test(outcome(answer))) violations.push(`a part answers ${outcome(answer)}`)
  for (const answer of aborted) if (!/^(204|404 NoSuchUpload)$/.test(outcome(answer))) violations.push(`abort answers ${outcome(answer)}`)
  const won = tried.filter(({ answer }) => isDone(answer))
  const gone = aborted.some(({ status }) => status === 204)
  const sameList = multipartEtag(bodies) === multipartEtag(newBodies)
  if (gone && won.length > 0) violations.push('it was completed and aborted')
  if (!sameList && new Set(won.map((each) => each.parts)).size > 1) violations.push('it was completed with two lists')
  if (won.length > 0) {
    await looksCompleted(world, key, target, won, tried, sameList)
    return 'completed'
  }
  if (gone) {
    await looksAborted(world, key, target, parts)
    return 'aborted'
  }
  // Each list named a part that was not there at its moment: the upload is open, and ends now.
  const listed = xmlTexts((await send('GET', target)).text, 'ETag')
  const now = listed[number - 1] === newParts.at(-1)?.etag ? { list: newParts, of: newBodies } : { list: parts, of: bodies }
  const last = await send('POST', target, { body: completeDocument(now.list) })
  if (!isDone(last)) violations.push(`nothing ended the upload, and complete answers ${outcome(last)} ${last.text.slice(0, 200)}`)
  else await looksCompleted(world, key, target, [{ parts: now.list, bodies: now.of, answer: last }], [], sameList)
  return 'completed later'
}

async function looksCompleted({ send, versioned, violations }: World, key: string, target: string, won: readonly Attempt[], tried: readonly Attempt[], sameList: boolean): Promise<void> {
  const [first] = won
  if (first === undefined) return
  const etag = multipartEtag(first.bodies)
  const body = Buffer.concat(first.bodies)
  const ids = new Set<string | undefined>()
  const same = (answer: RawResponse, what: string): void => {
    if (!isDone(answer) || xmlText(answer.text, 'ETag') !== etag) violations.push(`${what} answers ${outcome(answer)} ${xmlText(answer.text, 'ETag')}, not ${etag}`)
    ids.add(answer.headers['x-amz-version-id'])
  }
  for (const { answer } of won) same(answer, 'a complete of the same list')
  for (let repeat = 0; repeat < 2; repeat++) same(await send('POST', target, { body: completeDocument(first.parts) }), 'a repeated complete')
  if (ids.size !== 1) violations.push(`its completes name ${ids.size} versions`)
  const other = tried.find(({ parts }) => parts !== first.parts)
  if (other !== undefined && !sameList) {
    const answer = await send('POST', target, { body: completeDocument(other.parts) })
    if (outcome(answer) !== '404 NoSuchUpload') violations.push(`a later complete of another list answers ${outcome(answer)}`)
  }
  const got = await send('GET', key)
  if (got.status !== 200 || !got.body.equals(body) || got.headers['etag'] !== etag) violations.push(`the object is ${outcome(got)} ${got.headers['etag']} of ${got.body.length} bytes, not ${etag} of ${body.length}`)
  const versions = (await send('GET', `?versions&prefix=${key.slice(1)}`)).text
  const count = xmlTexts(versions, 'Key').filter((each) => each === key.slice(1)).length
  if (count !== 1) violations.push(`${count} versions of one upload${versioned ? ' with versioning' : ''}`)
  await looksEnded(send, target, violations)
  if (outcome(await send('DELETE', target)) !== '404 NoSuchUpload') violations.push('a completed upload can be aborted')
  // Its answer stays the same when the object is gone.
  await send('DELETE', versioned ? `${key}?versionId=${got.headers['x-amz-version-id']}` : key)
  same(await send('POST', target, { body: completeDocument(first.parts) }), 'a repeated complete of a deleted object')
}

async function looksAborted({ send, violations }: World, key: string, target: string, parts: readonly UploadedPart[]): Promise<void> {
  const answer = await send('POST', target, { body: completeDocument(parts) })
  if (outcome(answer) !== '404 NoSuchUpload') violations.push(`complete of an aborted upload answers ${outcome(answer)}`)
  if ((await send('GET', key)).status !== 404) violations.push('an aborted upload left an object')
  await looksEnded(send, target, violations)
}

async function looksEnded(send: Send, target: string, violations: string[]): Promise<void> {
  const [key = '', uploadId = ''] = target.split('?uploadId=')
  const late = await send('PUT', `${key}?partNumber=9&uploadId=${uploadId}`, { body: 'late' })
  if (outcome(late) !== '404 NoSuchUpload') violations.push(`a part of an upload that has ended answers ${outcome(late)}`)
  if (outcome(await send('GET', target)) !== '404 NoSuchUpload') violations.push('the parts of an upload that has ended are listed')
  if ((await send('GET', `?uploads&prefix=${key.slice(1)}`)).text.includes(`<UploadId>${uploadId}<`)) violations.push('an upload that has ended is listed')
}

/** Writes of every kind beside the deletion of their bucket, which somebody may make again. */
async function bucketRace(world: World, sendTo: (bucket: string) => Send): Promise<string> {
  const { pick, noise, violations } = world
  const bucket = bucketName()
  const send = sendTo(bucket)
  await world.send('PUT', `/bucket-source`, { body: 'source' })
  if ((await send('PUT', '')).status !== 200) violations.push('CreateBucket failed')
  const puts: { key: string; body: Buffer; answer: Promise<RawResponse> }[] = []
  const uploads: Promise<RawResponse>[] = []
  let removal: Promise<RawResponse> | null = null
  let creation: Promise<RawResponse> | null = null
  const recreate = pick(2) === 0
  const put = (size: number): void => {
    const [key, body] = [`/k${puts.length}`, noise(size)]
    puts.push({ key, body, answer: send('PUT', key, { body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }) })
  }
  const moves = [
    () => put(1 + pick(3000)), () => put(150_000 + pick(1_000_000)), () => put(1 + pick(3000)),
    () => void puts.push({ key: '/copied', body: Buffer.from('source'), answer: send('PUT', '/copied', { headers: { 'x-amz-copy-source': `/${world.bucket}/bucket-source` } }) }),
    () => void uploads.push(send('POST', '/upload?uploads')),
    () => {
      removal = send('DELETE', '')
      if (recreate) creation = removal.then((answer) => (answer.status === 204 ? send('PUT', '') : answer))
    },
  ].filter((_, index) => index === 5 || pick(3) > 0)
  for (const move of moves.map((each) => ({ each, at: pick(1000) })).sort((a, b) => a.at - b.at)) {
    move.each()
    if (pick(3) === 0) await sleep(pick(8))
  }
  const removed = await (removal as unknown as Promise<RawResponse>)
  const created = creation === null ? null : await (creation as Promise<RawResponse>)
  const begun = await Promise.all(uploads)
  const exists = removed.status !== 204 || (created?.status === 200 && recreate)
  if (!/^(204|409 BucketNotEmpty)$/.test(outcome(removed))) violations.push(`DeleteBucket answers ${outcome(removed)}`)
  const acknowledged = []
  for (const { key, body, answer } of puts) {
    const put200 = await answer
    if (!/^(200|404 NoSuchBucket)$/.test(outcome(put200))) violations.push(`PUT ${key} beside DeleteBucket answers ${outcome(put200)}`)
    if (put200.status === 200) acknowledged.push({ key, body })
  }
  const open = begun.filter(({ status }) => status === 200)
  if (!exists && acknowledged.length + open.length > 0) violations.push(`the bucket was deleted, and ${acknowledged.map(({ key }) => key).join()} and ${open.length} uploads were acknowledged`)
  if (exists) {
    for (const { key, body } of acknowledged) if (!(await send('GET', key)).body.equals(body)) violations.push(`${key} was acknowledged and is not there, DeleteBucket answered ${removed.status}`)
    const listed = xmlTexts((await send('GET', '?list-type=2')).text, 'Key').length
    if (listed !== acknowledged.length) violations.push(`${listed} keys are listed, ${acknowledged.length} were acknowledged`)
    for (const { key } of acknowledged) await send('DELETE', key)
    for (const answer of open) await send('DELETE', `/upload?uploadId=${xmlText(answer.text, 'UploadId')}`)
  }
  if ((await send('HEAD', '')).status !== (exists ? 200 : 404)) violations.push(`HEAD of the bucket when it is ${exists ? 'there' : 'gone'}`)
  if (exists && outcome(await send('DELETE', '')) !== '204') violations.push('an empty bucket cannot be deleted')
  return removed.status === 204 ? 'bucket deleted' : 'bucket kept'
}

/** Everything is deleted: nothing may be live, and nothing orphaned. */
async function leaks(server: TestServer, senders: readonly Send[]): Promise<string[]> {
  const wrong: string[] = []
  for (const send of senders) {
    await send('DELETE', '/bucket-source')
    const { text } = await send('GET', '?versions')
    for (const [index, key] of xmlTexts(text, 'Key').entries()) await send('DELETE', `/${key}?versionId=${xmlTexts(text, 'VersionId')[index]}`)
    if ((await send('GET', '?uploads')).text.includes('<UploadId>')) wrong.push('uploads are open when all is over')
    if (outcome(await send('DELETE', '')) !== '204') wrong.push('a bucket is not empty when all is over')
  }
  // Without a grace the next sweep takes what was released. What no row names any more would be kept for a day: that is what leaks.
  let report = await fsckReport(server.dataDir)
  const left = (): number => report.drives.reduce((sum, { blobs }) => sum + blobs.live.count + blobs.released.count + blobs.young.count + blobs.orphan.count, 0)
  for (let tries = 0; tries < 8 && left() > 0; tries++) {
    await sleep(500)
    report = await fsckReport(server.dataDir)
  }
  if (left() > 0) wrong.push(`bytes are left when all is deleted: ${JSON.stringify(report.drives.map(({ blobs }) => blobs))}`)
  if (report.code !== 0) wrong.push(`fsck: ${JSON.stringify({ ...report, findings: report.findings.slice(0, 5) }).slice(0, 1500)}`)
  return wrong
}
