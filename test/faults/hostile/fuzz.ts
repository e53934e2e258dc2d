import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { bodyPiece, changedRequest, edit, edited, mutation, type ChangedRequest, type Edit, type Mutation, type Scene } from '../../support/mutations.ts'
import { signedRequest, xmlText, xmlTexts, type Endpoint } from '../../support/raw.ts'
import { bucketName, bucketSender } from '../../support/s3.ts'
import { signedChunks } from '../../support/signing.ts'
import { randomOf, type Random } from '../journal/states.ts'
import { xmlOf } from './meanings.ts'
import { codeOf, requestBytes, sendAndEnd, sendAndGo, statusesOf, type Wire } from './wire.ts'

/** Batches of changed requests in a bucket of their own, and what they left behind in it. */

/** What is done to a request; each is data, so that it can be written down and sent again. */
export type Attack =
  /** Changed, then signed: the change goes deep. */
  | { readonly kind: 'changed'; readonly mutation: Mutation }
  /** Signed, then one character of its authorization, its time or its target is another: it must be refused. */
  | { readonly kind: 'forged'; readonly mutation: Mutation; readonly place: number; readonly letter: string }
  /** Signed chunks and a trailer, changed in their framing. */
  | { readonly kind: 'chunks'; readonly edits: readonly Edit[]; readonly trailer: boolean }
  /** The bytes of a whole signed request, changed: what comes out may be no HTTP at all. */
  | { readonly kind: 'bytes'; readonly base: number; readonly edits: readonly Edit[]; readonly lines: readonly LineEdit[] }
  /** Signed and sent, and its client is gone before any answer. */
  | { readonly kind: 'gone'; readonly mutation: Mutation }

/** One line of the head is doubled, moved, folded, taken away or very long. */
export interface LineEdit {
  readonly at: number
  readonly what: 'double' | 'move' | 'fold' | 'drop' | 'long' | 'space' | 'upper'
}

const wirePiece = fc.oneof(bodyPiece, fc.constantFrom('\r\n', '\n', '\r', '\0', '\t', '%00', '?', '=', '#', '\x80', '\xff', 'HTTP/1.0', 'HTTP/9.9', 'Content-Length: 3\r\n', 'Content-Length: 99999999999999999999\r\n',
  'Transfer-Encoding: chunked\r\n', 'Expect: 100-continue\r\n', 'Connection: upgrade\r\nUpgrade: websocket\r\n', 'Range: bytes=0-0,1-1,2-2\r\n', '/', '//', '/../', 'x'.repeat(20_000)))
const lineEdit = fc.record({ at: fc.nat(1000), what: fc.constantFrom('double', 'move', 'fold', 'drop', 'long', 'space', 'upper') })
const letter = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789')

const unchanged: Omit<Mutation, 'base'> = { path: '', headers: [], query: [], edits: [], method: undefined }
const anyAttack: fc.Arbitrary<Attack> = fc.oneof(
  { weight: 45, arbitrary: mutation.map((each) => ({ kind: 'changed', mutation: each }) as const) },
  { weight: 43, arbitrary: fc.record({ kind: fc.constant('forged' as const), mutation: mutation.map(({ base }) => ({ base, ...unchanged })), place: fc.nat(1000), letter }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('chunks' as const), edits: fc.array(edit, { minLength: 1, maxLength: 2 }), trailer: fc.boolean() }) },
  { weight: 2, arbitrary: mutation.map((each) => ({ kind: 'gone', mutation: each }) as const) },
  { weight: 5, arbitrary: fc.record({
    kind: fc.constant('bytes' as const), base: mutation.map(({ base }) => base), lines: fc.array(lineEdit, { maxLength: 2 }),
    edits: fc.array(fc.record({ at: fc.nat(1000), cut: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(60)), insert: wirePiece }), { maxLength: 2 }),
  }) },
)

export const attacksOf = (seed: number, count: number): readonly Attack[] => fc.sample(anyAttack, { seed, numRuns: count })

export interface BatchResult {
  readonly requests: number
  readonly violations: readonly string[]
  /** By status and code. */
  readonly outcomes: ReadonlyMap<string, number>
  readonly slowestMs: number
}

interface Sent {
  readonly attack: Attack
  /** What its keys hold and no other's. */
  readonly token: string
  readonly victim: boolean
  status: number | null
}

const answerMsMax = 30_000

/** Sends them all, some at a time, then looks at what is stored. */
export async function runBatch(server: Endpoint & { readonly port: number }, wire: Wire, attacks: readonly Attack[], seed: number, atOnce = 96): Promise<BatchResult> {
  const random = randomOf(seed)
  const bucket = bucketName()
  const send = bucketSender(server, bucket)
  const violations: string[] = []
  const outcomes = new Map<string, number>()
  const made = await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
  if (made.status !== 200) throw new Error(`The bucket of a batch: ${made.status} ${made.text}`)
  await send('PUT', 'k', { body: 'hello' })
  await send('PUT', 'k2', { body: 'hello' })
  const uploadId = xmlText((await send('POST', 'parts?uploads')).text, 'UploadId') ?? ''
  await send('PUT', `parts?partNumber=1&uploadId=${uploadId}`, { body: 'x' })
  const page = xmlText((await send('GET', '?list-type=2&max-keys=1')).text, 'NextContinuationToken') ?? ''
  const all: Sent[] = []
  let slowestMs = 0
  const next = attacks[Symbol.iterator]()
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let step = next.next(); step.done !== true; step = next.next()) {
      const attack = step.value
      const token = tokenOf(random)
      const scene: Scene = { server, bucket, uploadId, fresh: `w-${token}`, victim: `v-${token}`, page }
      const victim = wantsVictim(attack, scene)
      if (victim) await send('PUT', scene.victim, { body: 'kept' })
      const began = performance.now()
      const answers = await sendAttack(server, wire, attack, scene)
      const tookMs = performance.now() - began
      slowestMs = Math.max(slowestMs, tookMs)
      const sent: Sent = { attack, token, victim, status: null }
      all.push(sent)
      const tell = (what: string): void => void violations.push(`${what}: ${JSON.stringify(attack)}`)
      if (tookMs > answerMsMax) tell(`no answer in ${answerMsMax} ms`)
      for (const { status, code, bodiless } of answers) {
        const name = `${status} ${code}`
        outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
        if (status >= 500 && name !== '501 NotImplemented' && name !== '503 SlowDown') tell(`answered ${name}`)
        if (status >= 300 && status !== 304 && code === '' && !bodiless) tell(`answered ${status} without a document`)
        if (status < 300 && attack.kind === 'forged') tell(`a forged request was answered ${status}`)
        sent.status = Math.min(sent.status ?? status, status)
      }
      if (answers.length === 0) outcomes.set('closed', (outcomes.get('closed') ?? 0) + 1)
    }
  }))
  violations.push(...(await leftBehind(server, bucket, all)))
  await empty(server, bucket, send)
  return { requests: all.length, violations, outcomes, slowestMs }
}

const tokenOf = (random: Random): string => Array.from({ length: 3 }, () => Math.floor(random() * 0x10000).toString(16).padStart(4, '0')).join('')

/** Those that delete need something to delete. */
function wantsVictim(attack: Attack, scene: Scene): boolean {
  if (attack.kind === 'chunks') return false
  const base = attack.kind === 'bytes' ? attack.base : attack.mutation.base
  const { path, body } = changedRequest({ base, ...unchanged }, scene)
  return path.includes(scene.victim) || (body?.includes(scene.victim) ?? false)
}

interface Outcome {
  readonly status: number
  readonly code: string
  readonly bodiless: boolean
}

async function sendAttack(server: Endpoint & { readonly port: number }, wire: Wire, attack: Attack, scene: Scene): Promise<readonly Outcome[]> {
  if (attack.kind === 'bytes') {
    const bytes = rawBytes(attack, scene)
    const { text } = await sendAndEnd(server.port, bytes, answerMsMax + 1000)
    const head = bytes.toString('latin1', 0, 5) === 'HEAD '
    return statusesOf(text).map((status) => ({ status, code: codeOf(text), bodiless: head || codeOf(text) === '' }))
  }
  const request = attack.kind === 'chunks' ? chunked(server, attack, scene) : attack.kind === 'forged' ? forged(changedRequest(attack.mutation, scene), attack) : changedRequest(attack.mutation, scene)
  const bytes = requestBytes({ ...request, headers: Object.entries(request.headers), body: request.body ?? null })
  if (attack.kind === 'gone') {
    await sendAndGo(server.port, bytes, Number.parseInt(scene.fresh.slice(-1), 16) / 4)
    return []
  }
  const answer = await wire.send(bytes, request.method === 'HEAD')
  if (answer === null) return []
  return [{ status: answer.status, code: answer.status < 300 ? '' : codeOf(answer.body.toString('latin1')), bodiless: request.method === 'HEAD' }]
}

/** The same request with another letter or digit where one of these stood: in the authorization, the time, the path or a signed header. */
function forged(request: ChangedRequest, { place, letter: other }: { readonly place: number; readonly letter: string }): ChangedRequest {
  const places = [['authorization', request.headers['authorization'] ?? ''], ['x-amz-date', request.headers['x-amz-date'] ?? ''], ['path', request.path], ['authorization', request.headers['authorization'] ?? '']] as const
  const [name, value] = places[place % places.length] ?? places[0]
  const letters = [...value.matchAll(/[A-Za-z0-9]/g)].map(({ index }) => index)
  const at = letters[Math.floor(place / places.length) * 31 % letters.length] ?? 0
  // The case of the hex digits behind a percent sign means nothing.
  const fresh = value[at]?.toLowerCase() === other.toLowerCase() ? (other.toLowerCase() === 'q' ? 'z' : 'q') : other
  const changed = value.slice(0, at) + fresh + value.slice(at + 1)
  return name === 'path' ? { ...request, path: changed } : { ...request, headers: { ...request.headers, [name]: changed } }
}

const chunks = [Buffer.alloc(8192, 'a'), Buffer.from('end')]

function chunked(server: Endpoint, { edits, trailer }: { readonly edits: readonly Edit[]; readonly trailer: boolean }, scene: Scene): ChangedRequest {
  const crc = 'AAAAAA=='
  const signed = signedChunks({ server, method: 'PUT', path: `/${scene.bucket}/${scene.fresh}` }, chunks, trailer ? ['x-amz-checksum-crc32', crc] : undefined)
  const body = Buffer.from(edited(Buffer.concat(signed.pieces).toString('latin1'), edits), 'latin1')
  return { method: 'PUT', path: signed.path, headers: { ...signed.headers, 'content-length': String(body.length) }, body }
}

function rawBytes({ base, edits, lines }: { readonly base: number; readonly edits: readonly Edit[]; readonly lines: readonly LineEdit[] }, scene: Scene): Buffer {
  const { method, path, headers, body } = changedRequest({ base, ...unchanged }, scene)
  const head = lines.reduce(editLine, [`${method} ${path} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)])
  return Buffer.from(edited(`${head.join('\r\n')}\r\n\r\n`, edits) + (body?.toString('latin1') ?? ''), 'latin1')
}

function editLine(lines: readonly string[], { at, what }: LineEdit): readonly string[] {
  const index = 1 + at % (lines.length - 1)
  const line = lines[index] ?? ''
  switch (what) {
    case 'double': return lines.toSpliced(index, 0, line)
    case 'move': return lines.toSpliced(index, 1).toSpliced(1 + at * 7 % (lines.length - 1), 0, line)
    case 'fold': return lines.toSpliced(index, 1, line.replace(/: (.*)$/, (_all, value: string) => `: ${value.slice(0, value.length >> 1)}\r\n ${value.slice(value.length >> 1)}`))
    case 'drop': return lines.toSpliced(index, 1)
    case 'long': return lines.toSpliced(index, 1, line + 'x'.repeat(9000))
    case 'space': return lines.toSpliced(index, 1, line.replace(':', ' :'))
    case 'upper': return lines.toSpliced(index, 1, line.replace(/^[^:]*/, (name) => name.toUpperCase()))
  }
}

/** All that is stored came of a request that was not refused; all that is gone as well. */
async function leftBehind(server: Endpoint, bucket: string, all: readonly Sent[]): Promise<string[]> {
  const byToken = new Map(all.map((sent) => [sent.token, sent]))
  const found: string[] = []
  const refused = (token: string): Sent | null => {
    const sent = byToken.get(token)
    return sent !== undefined && sent.status !== null && sent.status >= 300 ? sent : null
  }
  const versions = await listing(server, bucket, 'versions')
  const uploads = await listing(server, bucket, 'uploads')
  for (const key of [...versions.keys, ...uploads.keys]) {
    const culprit = /w-([0-9a-f]{12})/.exec(key)?.[1]
    const sent = culprit === undefined ? null : refused(culprit)
    if (sent !== null) found.push(`${key} is stored although its request was answered ${sent.status}: ${JSON.stringify(sent.attack)}`)
  }
  const there = new Set(versions.current)
  for (const sent of all) {
    const { attack, token, victim } = sent
    if (victim && refused(token) !== null && !there.has(`v-${token}`)) found.push(`v-${token} is gone although its request was answered ${sent.status}: ${JSON.stringify(attack)}`)
  }
  const tagged = xmlText((await signedRequest({ server, path: `/${bucket}?tagging` })).text, 'Value')
  const tagger = tagged === undefined ? null : refused(tagged.replace('w-', ''))
  if (tagger !== null) found.push(`the bucket has tags of a request that was answered ${tagger.status}: ${JSON.stringify(tagger.attack)}`)
  return found
}

interface Listed {
  readonly keys: readonly string[]
  /** Keys whose current version is an object. */
  readonly current: readonly string[]
  /** For DeleteObjects. */
  readonly objects: readonly string[]
  readonly uploads: readonly (readonly [key: string, id: string])[]
}

async function listing(server: Endpoint, bucket: string, kind: 'versions' | 'uploads'): Promise<Listed> {
  const keys: string[] = []
  const current: string[] = []
  const objects: string[] = []
  const uploads: (readonly [string, string])[] = []
  for (let markers = ''; ;) {
    const { status, text } = await signedRequest({ server, path: `/${bucket}?encoding-type=url${markers}&${kind}=` })
    if (status !== 200) throw new Error(`Listing ${kind}: ${status} ${text}`)
    for (const [row] of text.matchAll(/<(Version|DeleteMarker|Upload)>[\s\S]*?<\/\1>/g)) {
      const key = decodeURIComponent(xmlText(row, 'Key') ?? '')
      keys.push(key)
      if (row.startsWith('<Version>') && xmlText(row, 'IsLatest') === 'true') current.push(key)
      if (kind === 'uploads') uploads.push([xmlText(row, 'Key') ?? '', xmlText(row, 'UploadId') ?? ''])
      else objects.push(`<Object><Key>${xmlOf(key)}</Key><VersionId>${xmlText(row, 'VersionId')}</VersionId></Object>`)
    }
    if (xmlText(text, 'IsTruncated') !== 'true') return { keys, current, objects, uploads }
    const after = (name: string, element: string): string => `&${name}=${encodeURIComponent(decodeURIComponent(xmlText(text, element) ?? ''))}`
    markers = kind === 'versions' ? after('key-marker', 'NextKeyMarker') + after('version-id-marker', 'NextVersionIdMarker') : after('key-marker', 'NextKeyMarker') + after('upload-id-marker', 'NextUploadIdMarker')
  }
}

async function empty(server: Endpoint, bucket: string, send: ReturnType<typeof bucketSender>): Promise<void> {
  for (const [key, id] of (await listing(server, bucket, 'uploads')).uploads) await send('DELETE', `${key}?uploadId=${id}`)
  const { objects } = await listing(server, bucket, 'versions')
  for (let at = 0; at < objects.length; at += 1000) {
    const body = `<Delete><Quiet>true</Quiet>${objects.slice(at, at + 1000).join('')}</Delete>`
    const answer = await send('POST', '?delete', { body, headers: { 'content-md5': createHash('md5').update(body).digest('base64') } })
    if (answer.status !== 200 || xmlTexts(answer.text, 'Code').length > 0) throw new Error(`Emptying ${bucket}: ${answer.status} ${answer.text.slice(0, 500)}`)
  }
  const gone = await signedRequest({ server, method: 'DELETE', path: `/${bucket}` })
  if (gone.status !== 204) throw new Error(`Deleting ${bucket}: ${gone.status} ${gone.text}`)
}
