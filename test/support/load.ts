import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { contentOf, createLedger, historyOf, type Attempt, type Ledger, type OpenUpload, type State, type VersionLedger } from './ledger.ts'
import { signedRequest, xmlText, type Endpoint, type RawResponse } from './raw.ts'
import { noiseBuffer } from './tools.ts'

/** What clients did and know. Survives restarts of the server. */
export interface World {
  readonly server: Endpoint
  /** Without versioning; keys are in `ledger`. */
  readonly bucket: string
  readonly versionedBucket: string
  readonly ledger: Ledger
  readonly versions: VersionLedger
  readonly uploads: Map<string, OpenUpload>
  /** Answers that nobody may get: a description of each. */
  readonly wrong: string[]
  /** Counts of answers by status; `lost`: none came. */
  readonly answers: Map<string, number>
}

export interface Load {
  /** Clients finish the request that they are at, or lose it, and end. */
  stop(): Promise<void>
}

export interface LoadOptions {
  readonly clients?: number
  /** Largest body of the large ones. */
  readonly largeBytesMax?: number
  /** Statuses that are in order besides success: 503 while the database is away. */
  readonly allowed?: readonly number[]
  /** Between two requests of a client: it is the number of clients at work that matters then, not that of requests. Default: 0. */
  readonly pauseMs?: number
}

const partBytes = 5 * 1024 ** 2
let bodies = 0

/** Bytes that no other write has. */
export function freshBody(size: number): Buffer {
  bodies += 1
  return noiseBuffer(size, `${process.pid}-${bodies}`)
}

export function newWorld(server: Endpoint, bucket: string, versionedBucket: string): World {
  return { server, bucket, versionedBucket, ledger: createLedger(), versions: new Map(), uploads: new Map(), wrong: [], answers: new Map() }
}

/** One signed request; null when no answer came. */
export async function call(world: World, method: string, path: string, body?: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<RawResponse | null> {
  // The digest of a large body would be the client's cost alone.
  const unsigned: Record<string, string> = body !== undefined && body.length > 1_000_000 ? { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } : {}
  const response = await signedRequest({ server: world.server, method, path, headers: { ...unsigned, ...headers }, ...(body === undefined ? {} : { body }) }).catch(() => null)
  const name = response === null ? 'lost' : String(response.status)
  world.answers.set(name, (world.answers.get(name) ?? 0) + 1)
  return response
}

const pick = (count: number): number => Math.floor(Math.random() * count)
const between = (low: number, high: number): number => low + pick(high - low + 1)

/** Many clients, each with keys of its own, doing everything that clients do until they are stopped. */
export function startLoad(world: World, options: LoadOptions = {}): Load {
  const { clients = 12, largeBytesMax = 2_500_000, allowed = [], pauseMs = 0 } = options
  const state = { stopped: false }

  /** Tells the ledger how a write ended. */
  function settle(response: RawResponse | null, attempt: Attempt | null, what: string, proof = ''): boolean {
    if (response === null) return false
    const status = statusOf(response)
    if (status >= 200 && status < 300 && response.text.includes(proof)) {
      attempt?.acknowledged()
      return true
    }
    // 503 and 500 promise neither; everything else promises that nothing happened.
    if (status === 507 || (status >= 400 && status < 500)) attempt?.refused()
    if (!allowed.includes(status)) world.wrong.push(`${what}: ${status} ${response.text.slice(0, 300)}`)
    return false
  }

  async function put(key: string, size: number): Promise<void> {
    const body = freshBody(size)
    const attempt = world.ledger.begin(key, contentOf(body))
    const response = await call(world, 'PUT', `/${world.bucket}/${key}`, body)
    if (!settle(response, attempt, `PUT ${key}`)) return
    const md5 = createHash('md5').update(body).digest('hex')
    if (response?.headers['etag'] !== `"${md5}"`) world.wrong.push(`PUT ${key}: ETag ${response?.headers['etag']}, not ${md5}`)
  }

  async function remove(key: string): Promise<void> {
    const attempt = world.ledger.begin(key, null)
    settle(await call(world, 'DELETE', `/${world.bucket}/${key}`), attempt, `DELETE ${key}`)
  }

  async function copy(from: string, to: string): Promise<void> {
    const [source, ...others] = world.ledger.possible(from)
    if (from === to || source === undefined || source === null || others.length > 0) return
    const attempt = world.ledger.begin(to, source)
    const response = await call(world, 'PUT', `/${world.bucket}/${to}`, undefined, { 'x-amz-copy-source': `/${world.bucket}/${from}` })
    settle(response, attempt, `copy ${from} to ${to}`, '<CopyObjectResult')
  }

  async function read(key: string): Promise<void> {
    const response = await call(world, 'GET', `/${world.bucket}/${key}`)
    if (response === null) return
    const found = stateOf(response)
    if (found === undefined) {
      if (!allowed.includes(response.status)) world.wrong.push(`GET ${key}: ${response.status} ${response.text.slice(0, 300)}`)
    } else if (!world.ledger.allows(key, found)) world.wrong.push(`GET ${key}: ${JSON.stringify(found)}, not one of ${JSON.stringify(world.ledger.possible(key))}`)
  }

  async function multipart(key: string): Promise<void> {
    const path = `/${world.bucket}/${key}`
    const created = await call(world, 'POST', `${path}?uploads`)
    const uploadId = created === null ? undefined : xmlText(created.text, 'UploadId')
    if (!settle(created, null, `create ${key}`) || uploadId === undefined) return
    const upload: OpenUpload = { key, uploadId, parts: new Map(), completing: false }
    world.uploads.set(uploadId, upload)
    const sizes = pick(4) === 0 ? [partBytes, between(1, 300_000)] : [between(1, 300_000)]
    for (const [index, size] of sizes.entries()) {
      const body = freshBody(size)
      const response = await call(world, 'PUT', `${path}?partNumber=${index + 1}&uploadId=${uploadId}`, body)
      if (!settle(response, null, `part of ${key}`)) return
      upload.parts.set(index + 1, { etag: response?.headers['etag'] ?? '', body })
    }
    const attempt = world.ledger.begin(key, contentOf(bodyOf(upload)))
    upload.completing = true
    const completed = await complete(world, upload)
    if (settle(completed, attempt, `complete ${key}`, '<CompleteMultipartUploadResult')) world.uploads.delete(uploadId)
  }

  async function putVersion(key: string): Promise<void> {
    const body = freshBody(between(0, 40_000))
    const history = historyOf(world.versions, key)
    const response = await call(world, 'PUT', `/${world.versionedBucket}/${key}`, body)
    const versionId = response?.headers['x-amz-version-id']
    if (settle(response, null, `PUT version of ${key}`) && versionId !== undefined) history.kept.set(versionId, contentOf(body))
    else history.maybe.push(contentOf(body))
  }

  async function removeVersion(key: string): Promise<void> {
    const history = historyOf(world.versions, key)
    const [versionId] = history.kept.keys()
    if (versionId === undefined || pick(3) === 0) {
      const response = await call(world, 'DELETE', `/${world.versionedBucket}/${key}`)
      const marker = response?.headers['x-amz-version-id']
      if (settle(response, null, `delete marker of ${key}`) && marker !== undefined) history.markers.add(marker)
      return
    }
    history.maybeGone.add(versionId)
    if (!settle(await call(world, 'DELETE', `/${world.versionedBucket}/${key}?versionId=${versionId}`), null, `DELETE version of ${key}`)) return
    history.kept.delete(versionId)
    history.gone.add(versionId)
  }

  async function client(name: string): Promise<void> {
    const small = (): string => `${name}/small-${pick(12)}`
    const large = (): string => `${name}/large-${pick(3)}`
    const versioned = (): string => `${name}/versioned-${pick(3)}`
    // Each as often as its weight.
    const mix: [number, () => Promise<void>][] = [
      [8, () => put(small(), between(0, 20_000))], [2, () => put(small(), between(100_000, 140_000))], [2, () => put(large(), between(150_000, largeBytesMax))],
      [3, () => remove(small())], [1, () => remove(large())], [2, () => copy(small(), small())], [1, () => copy(large(), large())],
      [1, () => multipart(large())], [4, () => putVersion(versioned())], [2, () => removeVersion(versioned())], [3, () => read(small())], [1, () => read(large())],
    ]
    const total = mix.reduce((sum, [weight]) => sum + weight, 0)
    while (!state.stopped) {
      const lost = world.answers.get('lost') ?? 0
      let left = pick(total)
      await mix.find(([weight]) => (left -= weight) < 0)?.[1]()
      // A server that is away is not called ten thousand times a second.
      const pause = (world.answers.get('lost') ?? 0) > lost ? Math.max(10, pauseMs) : pauseMs
      if (pause > 0) await sleep(pause)
    }
  }

  const running = Array.from({ length: clients }, (_, index) => client(`client-${index}`))
  return {
    async stop() {
      state.stopped = true
      await Promise.all(running)
    },
  }
}

/** A long CompleteMultipartUpload or CopyObject begins its answer with 200 before it knows its end, which may be an error document. */
function statusOf({ status, text }: RawResponse): number {
  if (status !== 200 || !text.includes('<Error>')) return status
  return xmlText(text, 'Code') === 'ServiceUnavailable' ? 503 : 500
}

/** What a GET says of its key; undefined when it says nothing. */
export function stateOf(response: RawResponse): State | undefined {
  if (response.status === 200) return contentOf(response.body)
  return response.status === 404 && xmlText(response.text, 'Code') === 'NoSuchKey' ? null : undefined
}

/** The whole object that the acknowledged parts make. */
export function bodyOf(upload: OpenUpload): Buffer {
  return Buffer.concat([...upload.parts].sort(([a], [b]) => a - b).map(([, { body }]) => body))
}

/** Sends CompleteMultipartUpload with every acknowledged part. */
export function complete(world: World, { key, uploadId, parts }: OpenUpload): Promise<RawResponse | null> {
  const list = [...parts].sort(([a], [b]) => a - b).map(([number, { etag }]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`)
  return call(world, 'POST', `/${world.bucket}/${key}?uploadId=${uploadId}`, Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`))
}
