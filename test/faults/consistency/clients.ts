import { createHash } from 'node:crypto'
import http from 'node:http'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../journal/states.ts'
import { completeDocument } from '../../support/multipart.ts'
import { signedRequest, xmlBlocks, xmlText, type Endpoint, type RawRequest, type RawResponse } from '../../support/raw.ts'
import { outcome } from '../../support/s3.ts'
import { reads, refusedIf, writes, writesIf, type Effect, type Held, type Operation } from './linearizable.ts'

/** Clients that write down what they did to a few keys and what was answered. What a key holds is told by its ETag: no two bodies are the same. */

export interface Round {
  readonly server: Endpoint
  readonly bucket: string
  /** In a bucket with versioning a delete leaves a marker, which conditions answer otherwise. */
  readonly versioned: boolean
  /** No key begins with another one. */
  readonly keys: readonly string[]
  readonly histories: ReadonlyMap<string, Operation[]>
  /** Bodies by ETag. */
  readonly bodies: Map<string, Buffer>
  /** Answers that no order could explain: bytes that are not those of their ETag, statuses that nobody foresees. */
  readonly wrong: string[]
}

export function newRound(server: Endpoint, bucket: string, versioned: boolean, keys: readonly string[]): Round {
  return { server, bucket, versioned, keys, histories: new Map(keys.map((key) => [key, []])), bodies: new Map(), wrong: [] }
}

const exists = (held: Held): boolean => held !== null
const isNothing = (held: Held): boolean => held === null
let bodiesMade = 0

/** Says in every 16 bytes which one it is. Small ones are packed in a segment, large ones have a file. */
function freshBody(random: Random): Buffer {
  bodiesMade += 1
  const size = random() < 0.1 ? 140_000 + Math.floor(random() * 200_000) : random() < 0.3 ? 5_000 + Math.floor(random() * 100_000) : 16 + Math.floor(random() * 900)
  return Buffer.alloc(size, `${process.pid}.${bodiesMade}.`.padEnd(16, '-'))
}

const etagOf = (body: Uint8Array): string => `"${createHash('md5').update(body).digest('hex')}"`
const anyOf = <T>(random: Random, all: readonly T[]): T => all[Math.floor(random() * all.length)] as T

/** One client, for as long as it is `going`. It has one connection, and now and then a new one, so that all processes get some. */
export async function client(round: Round, random: Random, name: string, going: () => boolean): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const known = new Map<string, Held>()
  try {
    while (going()) {
      const key = anyOf(random, round.keys)
      known.set(key, await turn(round, { random, key, name, agent, known: known.get(key) ?? null }))
      if (random() < 0.02) agent.destroy()
    }
  } finally {
    agent.destroy()
  }
}

interface Turn {
  readonly random: Random
  readonly key: string
  readonly name: string
  readonly agent: http.Agent
  /** What this client saw last: in the time since, others have written, or not. */
  readonly known: Held
}

type Ask = Omit<RawRequest, 'server' | 'path' | 'agent'>

/** What an answer says of the key; null: nothing. `unknown`: it promises neither. */
type Meaning = Effect | null | 'unknown'

/** Sends, and writes down by `mean` what the answer says. `unknown`: what may have happened when none came or it promises neither. */
async function record(round: Round, turn: Turn, target: string, ask: Ask, mean: (response: RawResponse) => Meaning | undefined, unknown: Effect | null): Promise<RawResponse | null> {
  const called = performance.now()
  const what = `${turn.name} ${ask.method ?? 'GET'} ${target}${ask.headers === undefined ? '' : ` ${JSON.stringify(ask.headers)}`}`
  const history = round.histories.get(turn.key)
  const response = await signedRequest({ server: round.server, path: `/${round.bucket}/${target}`, agent: turn.agent, ...ask }).catch((error: NodeJS.ErrnoException) => error)
  const answered = performance.now()
  if (response instanceof Error) {
    // Nothing was sent where nobody listened.
    if (response.code === 'ECONNREFUSED') await sleep(50)
    else if (unknown !== null) history?.push({ text: `${what}: ${response.code ?? response.message}`, called, answered: Infinity, effect: unknown })
    return null
  }
  if (response.status >= 500) {
    if (response.status !== 503) round.wrong.push(`${what}: ${outcome(response)}`)
    if (unknown !== null) history?.push({ text: `${what}: ${outcome(response)}`, called, answered: Infinity, effect: unknown })
    await sleep(20)
    return null
  }
  const effect = mean(response)
  if (effect === undefined) round.wrong.push(`${what}: ${outcome(response)}`)
  else if (effect === 'unknown') history?.push({ text: `${what}: unavailable`, called, answered: Infinity, effect: unknown ?? writesIf(() => false, null) })
  else if (effect !== null) history?.push({ text: `${what}: ${outcome(response)} ${response.headers['etag'] ?? ''}`, called, answered, effect })
  return response
}

/** Does one thing; what the client knows afterwards. */
async function turn(round: Round, turn: Turn): Promise<Held> {
  const { random } = turn
  const kind = random()
  if (kind < 0.12) return put(round, turn, 'none')
  if (kind < 0.22) return put(round, turn, 'absent')
  if (kind < 0.44) return put(round, turn, 'match')
  if (kind < 0.48) return complete(round, turn)
  if (kind < 0.53) return remove(round, turn, false)
  if (kind < 0.59) return remove(round, turn, true)
  if (kind < 0.61) return removeTwo(round, turn)
  if (kind < 0.79) return get(round, turn)
  if (kind < 0.88) return head(round, turn)
  return list(round, turn)
}

async function put(round: Round, turn: Turn, condition: 'none' | 'absent' | 'match'): Promise<Held> {
  const body = freshBody(turn.random)
  const etag = etagOf(body)
  round.bodies.set(etag, body)
  const expected = turn.known ?? etagOf(Buffer.from('never written'))
  const headers: Record<string, string> = condition === 'none' ? {} : condition === 'absent' ? { 'if-none-match': '*' } : { 'if-match': expected }
  const holds = condition === 'none' ? () => true : condition === 'absent' ? isNothing : (held: Held) => held === expected
  const response = await record(round, turn, turn.key, { method: 'PUT', body, headers }, (answer) => writeMeaning(answer, condition === 'match' ? expected : null, condition, writesIf(holds, etag)), writesIf(holds, etag))
  return response?.status === 200 ? etag : turn.known
}

function writeMeaning(answer: RawResponse, expected: Held, condition: 'none' | 'absent' | 'match', done: Effect): Meaning | undefined {
  if (answer.status === 200) return done
  const refused = outcome(answer)
  // It lost against another one and says nothing of what is there.
  if (refused === '409 ConditionalRequestConflict' && condition !== 'none') return null
  if (refused === '412 PreconditionFailed' && condition !== 'none') return refusedIf(condition === 'absent' ? exists : (held) => held !== null && held !== expected)
  if (refused === '404 NoSuchKey' && condition === 'match') return refusedIf(isNothing)
  return undefined
}

/** Behind a status of 200, in the document. */
const unavailable = (answer: RawResponse): Meaning | undefined => (answer.status === 200 && answer.text.includes('<Code>ServiceUnavailable</Code>') ? 'unknown' : undefined)

/** A multipart upload of one part becomes the object at its completion. */
async function complete(round: Round, turn: Turn): Promise<Held> {
  const body = freshBody(turn.random)
  const quiet = (target: string, ask: Ask): Promise<RawResponse | null> => record(round, turn, target, ask, (answer) => (answer.status === 200 ? null : undefined), null)
  const uploadId = xmlText((await quiet(`${turn.key}?uploads`, { method: 'POST' }))?.text ?? '', 'UploadId')
  if (uploadId === undefined) return turn.known
  const part = await quiet(`${turn.key}?partNumber=1&uploadId=${uploadId}`, { method: 'PUT', body })
  if (part === null) return turn.known
  const etag = `"${createHash('md5').update(createHash('md5').update(body).digest()).digest('hex')}-1"`
  round.bodies.set(etag, body)
  const document = completeDocument([{ number: 1, etag: part.headers['etag'] ?? '' }])
  // A 200 that ends in an error document is an answer too.
  const response = await record(round, turn, `${turn.key}?uploadId=${uploadId}`, { method: 'POST', body: document }, (answer) => (answer.text.includes('<CompleteMultipartUploadResult') ? writes(etag) : unavailable(answer)), writes(etag))
  return response?.text.includes('<CompleteMultipartUploadResult') === true ? etag : turn.known
}

async function remove(round: Round, turn: Turn, conditional: boolean): Promise<Held> {
  const expected = turn.known ?? etagOf(Buffer.from('never written'))
  const holds = conditional ? (held: Held) => held === expected : () => true
  const headers: Record<string, string> = conditional ? { 'if-match': expected } : {}
  const response = await record(round, turn, turn.key, { method: 'DELETE', headers }, (answer) => {
    if (answer.status === 204) return writesIf(holds, null)
    const refused = outcome(answer)
    if (!conditional) return undefined
    if (refused === '409 ConditionalRequestConflict') return null
    if (refused === '404 NoSuchKey') return refusedIf(isNothing)
    // A delete marker is not what was expected either.
    if (refused === '412 PreconditionFailed') return refusedIf((held) => held !== expected && (held !== null || round.versioned))
    return undefined
  }, writesIf(holds, null))
  return response?.status === 204 ? null : turn.known
}

/** DeleteObjects of this key and another one: each is a delete of its own. */
async function removeTwo(round: Round, turn: Turn): Promise<Held> {
  const other = anyOf(turn.random, round.keys.filter((key) => key !== turn.key))
  const body = `<Delete>${[turn.key, other].map((key) => `<Object><Key>${key}</Key></Object>`).join('')}</Delete>`
  const headers = { 'content-md5': createHash('md5').update(body).digest('base64') }
  const before = round.histories.get(turn.key)?.length ?? 0
  await record(round, turn, '?delete', { method: 'POST', body, headers }, (answer) => (answer.status === 200 && (answer.text.match(/<Deleted>/g) ?? []).length === 2 ? writes(null) : unavailable(answer)), writes(null))
  const entry = round.histories.get(turn.key)?.slice(before).find(({ text }) => text.startsWith(`${turn.name} POST ?delete`))
  if (entry !== undefined) round.histories.get(other)?.push(entry)
  return entry?.answered === Infinity ? turn.known : null
}

async function get(round: Round, turn: Turn): Promise<Held> {
  const start = Math.floor(turn.random() * 16)
  const ranged = turn.random() < 0.4
  const response = await record(round, turn, turn.key, { headers: ranged ? { range: `bytes=${start}-${start + 60_000}` } : {} }, (answer) => {
    const etag = answer.headers['etag'] ?? ''
    if (outcome(answer) === '404 NoSuchKey') return reads(null)
    if (answer.status !== (ranged ? 206 : 200)) return undefined
    const body = round.bodies.get(etag)
    if (body === undefined || !answer.body.equals(ranged ? body.subarray(start, start + 60_001) : body)) round.wrong.push(`GET ${turn.key}: the bytes are not those of ${etag}`)
    return reads(etag)
  }, null)
  return response === null ? turn.known : response.headers['etag'] ?? null
}

async function head(round: Round, turn: Turn): Promise<Held> {
  const response = await record(round, turn, turn.key, { method: 'HEAD' }, (answer) => {
    if (answer.status === 404) return reads(null)
    const etag = answer.headers['etag'] ?? ''
    if (answer.status === 200 && answer.headers['content-length'] !== String(round.bodies.get(etag)?.length)) round.wrong.push(`HEAD ${turn.key}: not the length of ${etag}`)
    return answer.status === 200 ? reads(etag) : undefined
  }, null)
  return response === null ? turn.known : response.headers['etag'] ?? null
}

/** A listing of all keys of the round is a read of each one. */
async function list(round: Round, turn: Turn): Promise<Held> {
  const before = new Map(round.keys.map((key) => [key, round.histories.get(key)?.length ?? 0]))
  const whole = turn.random() < 0.5
  const prefix = whole ? turn.key.slice(0, turn.key.indexOf('/') + 1) : turn.key
  const query = turn.random() < 0.7 ? `?list-type=2&prefix=${prefix}` : `?prefix=${prefix}`
  let listed: ReadonlyMap<string, string> = new Map()
  await record(round, turn, query, {}, (answer) => {
    if (answer.status !== 200) return undefined
    listed = new Map(xmlBlocks(answer.text, 'Contents').map((row) => [xmlText(row, 'Key') ?? '', xmlText(row, 'ETag') ?? '']))
    return reads(listed.get(turn.key) ?? null)
  }, null)
  const entry = round.histories.get(turn.key)?.slice(before.get(turn.key)).find(({ text }) => text.startsWith(`${turn.name} GET ${query}`))
  if (entry !== undefined && whole) {
    for (const key of round.keys) if (key !== turn.key) round.histories.get(key)?.push({ ...entry, text: `${entry.text} ${listed.get(key) ?? ''}`, effect: reads(listed.get(key) ?? null) })
  }
  return listed.get(turn.key) ?? null
}

/** Reads each key until it is answered, when nobody writes any more. */
export async function lastLook(round: Round, random: Random): Promise<void> {
  for (const key of round.keys) {
    const agent = new http.Agent()
    const history = round.histories.get(key) ?? []
    const isRead = (): boolean => history.at(-1)?.text.startsWith('last ') === true
    for (const until = performance.now() + 30_000; !isRead() && performance.now() < until;) await get(round, { random, key, name: 'last', agent, known: null })
    agent.destroy()
    if (!isRead()) round.wrong.push(`${key} cannot be read when all is over`)
  }
}
