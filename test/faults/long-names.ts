import { contentOf, type Content } from '../support/ledger.ts'
import { freshBody } from '../support/load.ts'
import { signedRequest, xmlText } from '../support/raw.ts'
import { newBucket } from '../support/s3.ts'
import type { TestServer } from '../support/server.ts'
import { eachOf } from '../support/verify.ts'
import type { Random } from './journal/states.ts'

/**
 * What the everyday load does not do: bodies of a few bytes under names of many, most of a record being name; copies of copies whose
 * source goes first; parts that are replaced and uploads that are aborted.
 */
export interface LongNames {
  readonly bucket: string
  churn(ms: number): Promise<void>
  /** Writes as many small bodies under long names, and nothing else. */
  fill(objects: number): Promise<void>
  /** What is not as it was acknowledged; nobody may churn. */
  broken(): Promise<string[]>
  /** Acknowledged writes. */
  count(): number
}

const clients = 6
const partBytes = 5 * 1024 ** 2

export async function longNames(server: TestServer, random: Random): Promise<LongNames> {
  const bucket = await newBucket(server.client)
  const stored = new Map<string, Content>()
  const wrong: string[] = []
  let count = 0
  const below = (limit: number): number => Math.floor(random() * limit)
  const nameOf = (client: number, index: number): string => `client-${client}/${'long-'.repeat(20 + 13 * (index % 10))}${index}`

  async function send(method: string, target: string, body?: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<string> {
    const response = await signedRequest({ server, method, path: `/${bucket}/${target}`, headers: { ...(body === undefined ? {} : { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }), ...headers }, ...(body === undefined ? {} : { body }) })
    const { status, text } = response
    if (status >= 300 || text.includes('<Error>')) wrong.push(`${method} ${target.slice(0, 60)}: ${status} ${text.slice(0, 200)}`)
    else count += 1
    return response.headers['etag'] ?? text
  }

  async function put(key: string, size: number): Promise<void> {
    const body = freshBody(size)
    await send('PUT', key, body)
    stored.set(key, contentOf(body))
  }

  async function remove(key: string): Promise<void> {
    await send('DELETE', key)
    stored.delete(key)
  }

  async function copy(from: string, to: string): Promise<void> {
    const content = stored.get(from)
    if (content === undefined || from === to) return
    await send('PUT', to, undefined, { 'x-amz-copy-source': `/${bucket}/${from}` })
    stored.set(to, content)
    if (below(2) === 0) await remove(from)
  }

  async function multipart(key: string): Promise<void> {
    const uploadId = xmlText(await send('POST', `${key}?uploads`), 'UploadId') ?? ''
    const part = (number: number, body: Buffer): Promise<string> => send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, body)
    const bodies = [freshBody(partBytes), freshBody(1 + below(40_000))]
    // Each is replaced once: small by large, large by small, and by its own kind.
    await part(1, freshBody(1 + below(100_000)))
    await part(2, freshBody(1 + below(100_000)))
    const etags = [await part(1, bodies[0] as Buffer), await part(2, bodies[1] as Buffer)]
    if (below(2) === 0) return void await send('DELETE', `${key}?uploadId=${uploadId}`)
    const list = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`).join('')
    await send('POST', `${key}?uploadId=${uploadId}`, Buffer.from(`<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`))
    stored.set(key, contentOf(Buffer.concat(bodies)))
  }

  async function client(number: number, until: number): Promise<void> {
    const any = (): string => nameOf(number, below(40))
    while (Date.now() < until) {
      const turn = below(20)
      if (turn < 11) await put(any(), below(12))
      else if (turn < 12) await put(any(), 33_000 + below(200_000))
      else if (turn < 16) await remove(any())
      else if (turn < 19 || number > 1) await copy(any(), any())
      else await multipart(any())
    }
  }

  return {
    bucket,
    churn: async (ms) => void await Promise.all(Array.from({ length: clients }, (_, number) => client(number, Date.now() + ms))),
    fill: (objects) => eachOf(Array.from({ length: objects }, (_, index) => index), (index) => put(nameOf(clients, index), below(12))),
    async broken() {
      const broken = wrong.splice(0)
      await eachOf(stored, async ([key, content]) => {
        const { status, body } = await signedRequest({ server, path: `/${bucket}/${key}` })
        if (status !== 200 || contentOf(body).sha256 !== content.sha256) broken.push(`GET ${key}: ${status}, ${body.length} bytes, not ${JSON.stringify(content)}`)
      })
      return broken
    },
    count: () => count,
  }
}
