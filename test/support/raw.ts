import { createHash } from 'node:crypto'
import http from 'node:http'
import net from 'node:net'
import aws4 from 'aws4'

/**
 * Requests that no SDK would send, over node:http and bare sockets. The signature is aws4's, which shares nothing with the
 * code under test.
 */

/** What a request needs to know of a running server. */
export interface Endpoint {
  /** `http://127.0.0.1:PORT` of the S3 port. */
  readonly url: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Default: us-east-1. */
  readonly region?: string
}

export interface RawRequest {
  readonly server: Endpoint
  readonly method?: string
  /** Path and query as they go over the wire, percent-encoded. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** header (default), presigned, or none: not signed at all. */
  readonly sign?: 'header' | 'presigned' | 'none'
  /** The Host header that is sent and signed; default: the server's address. */
  readonly host?: string
  /** The Host header that is sent when a proxy has changed it after signing. */
  readonly wireHost?: string
  /** Headers added behind the signature: they are sent, but not signed. */
  readonly unsignedHeaders?: Readonly<Record<string, string>>
  /** Seconds that a presigned URL is valid; default 300. */
  readonly expiresSeconds?: number
  /** Replaces the server's access key, for instance by that of another account. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
  /** Whose connections it goes over; default: those of all. */
  readonly agent?: http.Agent
}

export interface RawResponse {
  readonly status: number
  /** By lower-case name; several of one name are joined with a comma. Values as the bytes that came, read as Latin-1. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** The body as UTF-8, decoded when somebody asks: most bodies are noise. */
  readonly text: string
}

/** Signs and sends one request. Header values may hold any text: it is signed and sent as UTF-8. */
export async function signedRequest(request: RawRequest): Promise<RawResponse> {
  const { path, headers } = signRequest(request)
  const body = bytesOf(request.body)
  return sendRequest({ server: request.server, method: request.method ?? 'GET', path, headers: { ...headers, ...request.unsignedHeaders }, body, ...request.agent === undefined ? {} : { agent: request.agent } })
}

/** The path and headers that `signedRequest` sends, to be changed before they are. */
export function signRequest(request: RawRequest): { path: string; headers: Record<string, string> } {
  const { server, method = 'GET', sign = 'header' } = request
  const body = bytesOf(request.body)
  const headers: Record<string, string> = { host: request.host ?? new URL(server.url).host }
  for (const [name, value] of Object.entries(request.headers ?? {})) headers[name.toLowerCase()] = value
  if (body !== undefined && headers['transfer-encoding'] === undefined) headers['content-length'] ??= String(body.length)
  if (sign === 'none') return { path: request.path, headers: wireHeaders(headers, request.wireHost) }
  const presigned = sign === 'presigned'
  if (!presigned) headers['x-amz-content-sha256'] ??= createHash('sha256').update(body ?? '').digest('hex')
  const mark = presigned ? request.path.includes('?') ? '&' : '?' : ''
  const signed = aws4.sign({
    service: 's3', region: server.region ?? 'us-east-1', method, headers: { ...headers }, signQuery: presigned,
    path: presigned ? `${request.path}${mark}X-Amz-Expires=${request.expiresSeconds ?? 300}` : request.path,
  }, request.credentials ?? { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey })
  return { path: signed.path ?? request.path, headers: wireHeaders(signed.headers as Record<string, string>, request.wireHost) }
}

function bytesOf(body: RawRequest['body']): Uint8Array | undefined {
  return typeof body === 'string' ? Buffer.from(body) : body
}

function wireHeaders(headers: Readonly<Record<string, string | number>>, host: string | undefined): Record<string, string> {
  const sent: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) sent[name.toLowerCase()] = Buffer.from(String(value), 'utf8').toString('latin1')
  return host === undefined ? sent : { ...sent, host }
}

/** Sends a request as it is given. An answer that comes before the body is sent counts. */
export function sendRequest(request: {
  server: Endpoint; method: string; path: string; headers: Readonly<Record<string, string>>; body?: Uint8Array | undefined; agent?: http.Agent
}): Promise<RawResponse> {
  const { hostname, port } = new URL(request.server.url)
  return new Promise((resolve, reject) => {
    const outgoing = http.request({ hostname, port, method: request.method, path: request.path, headers: headerList(request), setHost: false, agent: request.agent ?? agent }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => {
        const body = Buffer.concat(chunks)
        count(incoming.headers['x-amz-id-2'])
        resolve({
          status: incoming.statusCode ?? 0, headers: joinHeaders(incoming.rawHeaders), body,
          get text() {
            return body.toString('utf8')
          },
        })
      })
    })
    outgoing.on('error', reject)
    outgoing.end(request.body)
  })
}

/** The fields as a flat list, the length last: Node writes a Content-Disposition behind a known length in another encoding. */
function headerList({ method, headers, body }: { method: string; headers: Readonly<Record<string, string>>; body?: Uint8Array | undefined }): string[] {
  const { 'content-length': length, ...others } = headers
  const list = Object.entries(others).flat()
  if (length !== undefined) return [...list, 'content-length', length]
  return body === undefined && !['GET', 'HEAD', 'DELETE'].includes(method) && headers['transfer-encoding'] === undefined ? [...list, 'content-length', '0'] : list
}

/** HOLDFAST_TEST_SPREAD=1: a connection for each request, so that all server processes which share a port get some of them. */
export const keepAlive = process.env['HOLDFAST_TEST_SPREAD'] !== '1'
const agent = new http.Agent({ keepAlive, maxSockets: 64 })

/** How many answers each server process gave; x-amz-id-2 names the process. */
export const answersBy = new Map<string, number>()

function count(process: string | readonly string[] | undefined): void {
  const name = String(process)
  answersBy.set(name, (answersBy.get(name) ?? 0) + 1)
}

function joinHeaders(raw: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    headers[name] = headers[name] === undefined ? raw[i + 1] ?? '' : `${headers[name]},${raw[i + 1] ?? ''}`
  }
  return headers
}

/** Writes bytes to a socket of the server and returns what came until it closed, or until nothing came for `idleMs`. */
export function rawSocket(server: Endpoint, bytes: string | Uint8Array, options: { idleMs?: number; end?: boolean } = {}): Promise<{ text: string; closed: boolean }> {
  const { hostname, port } = new URL(server.url)
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: hostname, port: Number(port) })
    const chunks: Buffer[] = []
    const finish = (closed: boolean): void => {
      socket.destroy()
      resolve({ text: Buffer.concat(chunks).toString('latin1'), closed })
    }
    socket.setTimeout(options.idleMs ?? 1000, () => finish(false))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => finish(true))
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? finish(true) : reject(error)))
    if (options.end === true) socket.end(bytes)
    else socket.write(bytes)
  })
}

/** Text of the first element of that name, entities decoded; undefined without one. */
export function xmlText(document: string, name: string): string | undefined {
  return xmlTexts(document, name)[0]
}

/** Texts of all elements of that name that hold no others, in order. */
export function xmlTexts(document: string, name: string): string[] {
  return [...document.matchAll(new RegExp(`<${name}(?:\\s[^>]*)?(?:/>|>([^<]*)</${name}>)`, 'g'))].map((match) => decodeEntities(match[1] ?? ''))
}

/** What stands inside each element of that name, as XML. */
export function xmlBlocks(document: string, name: string): string[] {
  return [...document.matchAll(new RegExp(`<${name}(?:\\s[^>]*)?>([\\s\\S]*?)</${name}>`, 'g'))].map((match) => match[1] ?? '')
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function decodeEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex: string | undefined, decimal: string | undefined, name: string | undefined) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    return entities[name ?? ''] ?? whole
  })
}
