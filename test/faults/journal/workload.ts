import { createHash } from 'node:crypto'
import { signedRequest, xmlText, type Endpoint, type RawResponse } from '../../support/raw.ts'
import { noiseBuffer } from '../../support/tools.ts'
import type { Random } from './states.ts'

/** What one client did, and what it may count on after each answer. */
export interface Workload {
  /** One thing of the given kind, or of any; resolves with what was sent when every answer came. Throws nothing: answers are for the caller to judge. */
  step(kind?: StepKind): Promise<Step>
  /** Buckets, once. */
  prepare(): Promise<void>
  /** One line for each version, delete marker and part that was acknowledged, as `Rows.view` has them. */
  view(): string[]
  /** Deletes this share of the small objects, one request for each. */
  thin(share: number, step: (run: () => Promise<void>) => Promise<void>): Promise<void>
  /** All bytes that were ever sent, by the ETag that S3 gives them. */
  readonly bodies: ReadonlyMap<string, Buffer>
  readonly plainBucket: string
  readonly versionedBucket: string
  /** Current objects of both buckets, by `bucket/key`. */
  current(): Map<string, string>
}

export const stepKinds = ['small', 'group', 'large', 'blocks', 'overwrite', 'delete', 'versioned', 'unversion', 'copy', 'create', 'part', 'bigPart', 'complete', 'abort'] as const
export type StepKind = (typeof stepKinds)[number]

export interface Step {
  readonly kind: StepKind
  readonly answers: readonly RawResponse[]
  /** Makes the client count on what it was told, for those answers that were a success. */
  settle(): void
}

/** Of a part that is not the last one. */
const partBytesMin = 5 * 1024 ** 2
export const smallBodyBytesMax = 32 * 1024

const md5 = (body: Uint8Array): string => createHash('md5').update(body).digest('hex')

interface Upload {
  readonly id: string
  readonly key: string
  readonly parts: Map<number, string>
}

/** A client that does everything that clients do, to two buckets; the same for the same seed. */
export function createWorkload(server: () => Endpoint, random: Random, name: string): Workload {
  const [plainBucket, versionedBucket] = [`plain-${name}`, `versioned-${name}`]
  const bodies = new Map<string, Buffer>()
  const plain = new Map<string, string>()
  /** Newest first; null is a delete marker. */
  const versions = new Map<string, { id: string; etag: string | null }[]>()
  const uploads: Upload[] = []
  let count = 0

  const below = (limit: number): number => Math.floor(random() * limit)
  const pick = <Item>(items: Iterable<Item>): Item | undefined => {
    const all = [...items]
    return all[below(all.length)]
  }
  const ok = (answer: RawResponse): boolean => answer.status >= 200 && answer.status < 300 && !answer.text.includes('<Error>')
  const send = (method: string, path: string, body?: Uint8Array, headers: Record<string, string> = {}): Promise<RawResponse> =>
    signedRequest({ server: server(), method, path, headers, ...(body === undefined ? {} : { body }) })

  function fresh(size: number): { body: Buffer; etag: string } {
    const body = noiseBuffer(size, `${name}-${count++}`)
    const etag = md5(body)
    bodies.set(etag, body)
    return { body, etag }
  }

  type Request = { answer: Promise<RawResponse>; settle: (answer: RawResponse) => void }

  function put(bucket: string, key: string, size: number): Request {
    const { body, etag } = fresh(size)
    return { answer: send('PUT', `/${bucket}/${key}`, body), settle: (answer) => remember(bucket, key, etag, answer) }
  }

  function remember(bucket: string, key: string, etag: string | null, answer: RawResponse): void {
    if (bucket === versionedBucket) versions.set(key, [{ id: answer.headers['x-amz-version-id'] ?? '', etag }, ...(versions.get(key) ?? [])])
    else if (etag === null) plain.delete(key)
    else plain.set(key, etag)
  }

  const smallSize = (): number => (random() < 0.1 ? 0 : random() < 0.7 ? 1 + below(1500) : 1500 + below(smallBodyBytesMax - 1500))

  function copy(): Request {
    const source = pick(plain)
    if (source === undefined) return put(plainBucket, `k${count}`, smallSize())
    const key = `copy${count++}`
    const to = random() < 0.5 ? plainBucket : versionedBucket
    return { answer: send('PUT', `/${to}/${key}`, undefined, { 'x-amz-copy-source': `/${plainBucket}/${source[0]}` }), settle: (answer) => remember(to, key, source[1], answer) }
  }

  function unversion(): Request {
    const key = pick(versions.keys())
    if (key === undefined) return put(versionedBucket, 'v0', smallSize())
    const victim = pick(versions.get(key) ?? [])
    if (victim === undefined || random() < 0.4) return { answer: send('DELETE', `/${versionedBucket}/${key}`), settle: (answer) => remember(versionedBucket, key, null, answer) }
    return {
      answer: send('DELETE', `/${versionedBucket}/${key}?versionId=${victim.id}`),
      settle() {
        const left = (versions.get(key) ?? []).filter((each) => each !== victim)
        if (left.length === 0) versions.delete(key)
        else versions.set(key, left)
      },
    }
  }

  function create(): Request {
    const key = `upload${count++}`
    return { answer: send('POST', `/${plainBucket}/${key}?uploads`), settle: (answer) => void uploads.push({ id: xmlText(answer.text, 'UploadId') ?? '', key, parts: new Map() }) }
  }

  function part(upload: Upload, number: number, size: number): Request {
    const { body, etag } = fresh(size)
    return { answer: send('PUT', `/${plainBucket}/${upload.key}?partNumber=${number}&uploadId=${upload.id}`, body), settle: () => void upload.parts.set(number, etag) }
  }

  function complete(upload: Upload): Request {
    const parts = [...upload.parts].sort(([a], [b]) => a - b)
    const etag = `${md5(Buffer.concat(parts.map(([, each]) => Buffer.from(each, 'hex'))))}-${parts.length}`
    bodies.set(etag, Buffer.concat(parts.map(([, each]) => bodies.get(each) ?? Buffer.alloc(0))))
    const document = `<CompleteMultipartUpload>${parts.map(([number, each]) => `<Part><PartNumber>${number}</PartNumber><ETag>"${each}"</ETag></Part>`).join('')}</CompleteMultipartUpload>`
    return {
      answer: send('POST', `/${plainBucket}/${upload.key}?uploadId=${upload.id}`, Buffer.from(document)),
      settle() {
        plain.set(upload.key, etag)
        uploads.splice(uploads.indexOf(upload), 1)
      },
    }
  }

  const abort = (upload: Upload): Request => ({
    answer: send('DELETE', `/${plainBucket}/${upload.key}?uploadId=${upload.id}`), settle: () => void uploads.splice(uploads.indexOf(upload), 1),
  })

  function remove(key: string | undefined): Request {
    return { answer: send('DELETE', `/${plainBucket}/${key}`), settle: () => void plain.delete(key ?? '') }
  }

  /** What stands for a kind for which there is nothing yet is what makes it possible. */
  function requests(kind: StepKind): Request[] {
    const upload = pick(uploads)
    const sizeOf = (etag: string | undefined): number => bodies.get(etag ?? '')?.length ?? 0
    const ready = uploads.find(({ parts }) => parts.size === 1 || (parts.size === 2 && sizeOf(parts.get(1)) >= partBytesMin))
    switch (kind) {
      case 'small': return [put(plainBucket, `k${count}`, smallSize())]
      case 'group': return Array.from({ length: 4 + below(4) }, () => put(plainBucket, `k${count}`, smallSize()))
      case 'large': return [put(plainBucket, `large${count}`, smallBodyBytesMax + 1 + below(150_000))]
      case 'blocks': return [put(plainBucket, `blocks${count}`, 1024 ** 2 + 1 + below(600_000))]
      case 'overwrite': return [put(plainBucket, pick(plain.keys()) ?? `k${count}`, random() < 0.7 ? smallSize() : 40_000 + below(50_000))]
      case 'delete': return [remove(pick(plain.keys()))]
      case 'versioned': return [put(versionedBucket, `v${below(6)}`, random() < 0.7 ? smallSize() : 40_000 + below(50_000))]
      case 'unversion': return [unversion()]
      case 'copy': return [copy()]
      case 'create': return [create()]
      case 'part': return [upload === undefined ? create() : part(upload, upload.parts.size === 0 ? 1 : [...upload.parts.keys()].at(-1) ?? 1, random() < 0.5 ? smallSize() : 40_000 + below(100_000))]
      case 'bigPart': {
        if (upload === undefined) return [create()]
        return sizeOf(upload.parts.get(1)) < partBytesMin ? [part(upload, 1, partBytesMin + below(1000))] : [part(upload, 2, 10_000)]
      }
      case 'complete': return [ready === undefined ? copy() : complete(ready)]
      case 'abort': return [upload === undefined ? create() : abort(upload)]
    }
  }

  return {
    bodies, plainBucket, versionedBucket,
    async prepare() {
      for (const bucket of [plainBucket, versionedBucket]) await send('PUT', `/${bucket}`)
      const enabled = await send('PUT', `/${versionedBucket}?versioning`, Buffer.from('<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'))
      if (!ok(enabled)) throw new Error(`the buckets were not made: ${enabled.text}`)
    },
    async step(kind = stepKinds[below(stepKinds.length)] ?? 'small') {
      const sent = requests(kind)
      const answers = await Promise.all(sent.map(({ answer }) => answer))
      return { kind, answers, settle: () => sent.forEach(({ settle }, index) => answers[index] !== undefined && ok(answers[index]) && settle(answers[index])) }
    },
    async thin(share, step) {
      for (const key of [...plain.keys()].filter((each) => each.startsWith('k'))) {
        if (random() >= share) continue
        await step(async () => {
          const { answer, settle } = remove(key)
          if (ok(await answer)) settle(await answer)
        })
      }
    },
    view() {
      const lines = [...plain].map(([key, etag]) => `${plainBucket}/${key} is ${etag}`)
      for (const [key, all] of versions) all.forEach(({ etag }, index) => lines.push(`${versionedBucket}/${key} ${index === 0 ? 'is' : 'was'} ${etag ?? 'marker'}`))
      for (const { key, parts } of uploads) for (const [number, etag] of parts) lines.push(`${key} has part ${number} ${etag}`)
      return lines.sort()
    },
    current() {
      const versioned = [...versions].flatMap(([key, [newest]]) => (newest === undefined || newest.etag === null ? [] : [[`${versionedBucket}/${key}`, newest.etag] as const]))
      return new Map([...[...plain].map(([key, etag]) => [`${plainBucket}/${key}`, etag] as const), ...versioned])
    },
  }
}
