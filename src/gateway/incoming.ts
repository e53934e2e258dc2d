import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { S3Error } from '../domain/errors.ts'
import { headerBytesMax } from '../domain/limits.ts'
import type { Principal } from '../domain/model.ts'
import { makeHeaders } from '../protocol/headers.ts'
import type { Headers, Query, S3Request, Target } from '../protocol/request.ts'
import type { Span } from '../telemetry/traces.ts'
import { parseQuery, parseTarget } from '../protocol/target.ts'

export interface IncomingOptions {
  /** For virtual-host addressing, null for path style alone. */
  readonly domain: string | null
  /** Whether clients come over TLS (a proxy in front ends it). */
  readonly secure: boolean
}

/**
 * The raw request as operations see it. A class, because its costlier fields (the abort signal, the address) are made only when
 * somebody asks: most requests are answered without them.
 */
export class IncomingRequest implements S3Request {
  readonly requestId: string
  readonly method: string
  readonly rawPath: string
  readonly rawQuery: string
  readonly query: Query
  headers: Headers
  readonly target: Target
  readonly stream: Readable
  readonly secure: boolean
  readonly receivedAt: number
  operation: string | undefined = undefined
  requester: Principal | undefined = undefined
  span: Span | null = null
  readonly #incoming: IncomingMessage
  readonly #outgoing: ServerResponse
  #abort: AbortController | null = null
  #continued = false

  /** Throws S3Error when the request line or the headers are not what S3 takes. */
  constructor(incoming: IncomingMessage, outgoing: ServerResponse, requestId: string, options: IncomingOptions) {
    this.#incoming = incoming
    this.#outgoing = outgoing
    this.requestId = requestId
    this.method = incoming.method ?? ''
    checkHeaders(incoming)
    this.headers = makeHeaders(incoming.rawHeaders)
    const parsed = parseTarget({ rawUrl: incoming.url ?? '', host: incoming.headers.host ?? '', domain: options.domain })
    this.rawPath = parsed.rawPath
    this.rawQuery = parsed.rawQuery
    this.target = parsed.target
    this.query = parseQuery(parsed.rawQuery)
    this.stream = incoming
    this.secure = options.secure
    this.receivedAt = Date.now()
  }

  get remoteAddress(): string {
    return this.#incoming.socket.remoteAddress ?? ''
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      const abort = new AbortController()
      this.#abort = abort
      const outgoing = this.#outgoing
      const gone = (): void => {
        if (!outgoing.writableFinished) abort.abort(new Error('The client closed the connection.'))
      }
      if (outgoing.closed || outgoing.destroyed) gone()
      else outgoing.once('close', gone)
    }
    return this.#abort.signal
  }

  readonly sendContinue = (): void => {
    if (this.#continued || !expectsContinue(this.#incoming)) return
    this.#continued = true
    if (!this.#outgoing.headersSent && !this.#outgoing.destroyed) this.#outgoing.writeContinue()
  }

  get arrived(): boolean {
    return this.#incoming.complete
  }

  /** As announced; 0 when nobody said. */
  get bodyBytes(): number {
    return announcedBytes(this.#incoming)
  }

  /** Calls it once with the bytes of the answer, when the answer is out or the client has gone. */
  whenAnswered(call: (answerBytes: number) => void): void {
    const { socket } = this.#incoming
    const before = socket.bytesWritten
    const done = (): void => call(Math.max(0, socket.bytesWritten - before))
    if (this.#outgoing.closed) done()
    else this.#outgoing.once('close', done)
  }

  /** The client waits for permission to send its body and did not get it. */
  get holdsBodyBack(): boolean {
    return !this.#continued && expectsContinue(this.#incoming)
  }
}

function expectsContinue(incoming: IncomingMessage): boolean {
  const expect = incoming.headers.expect
  return expect !== undefined && expect.toLowerCase() === '100-continue'
}

/** The path as sent, for error documents: also of a request line that could not be understood. */
export function resourceOf(incoming: IncomingMessage): string {
  const url = incoming.url ?? ''
  const mark = url.indexOf('?')
  return mark === -1 ? url : url.slice(0, mark)
}

/** The rest of the body that was announced and not yet received: 0 when there is none, null when its length is unknown. */
export function unreadBodyBytes(incoming: IncomingMessage): number | null {
  if (incoming.complete) return 0
  if (incoming.headers['transfer-encoding'] !== undefined) return null
  // How much of it has come already is not counted: the announced length is the upper bound.
  return announcedBytes(incoming)
}

/** Of the body as it comes over the wire: with the framing of aws-chunked, 0 when HTTP itself cuts it into chunks. The parser lets only digits pass. */
export function announcedBytes(incoming: IncomingMessage): number {
  return Number(incoming.headers['content-length'] ?? 0)
}

/** What HTTP itself asks for and the parser does not check, and the size that S3 allows. */
function checkHeaders(incoming: IncomingMessage): void {
  const raw = incoming.rawHeaders
  let bytes = 0
  let hosts = 0
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    bytes += name.length + (raw[index + 1] as string).length + 4
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1
  }
  if (bytes > headerBytesMax) throw new S3Error('RequestHeaderSectionTooLarge')
  // RFC 9112, 3.2: a request of HTTP/1.1 without Host, or with two, gets 400.
  if (hosts > 1 || (hosts === 0 && incoming.httpVersionMinor > 0)) throw new S3Error('BadRequest', 'The request needs one Host header.')
  const coding = incoming.headers['transfer-encoding']
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new S3Error('NotImplemented', 'A header you provided implies functionality that is not implemented.', { fields: { Header: 'Transfer-Encoding' } })
  }
}
