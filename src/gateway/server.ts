import { createServer, STATUS_CODES, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { S3Error } from '../domain/errors.ts'
import { renderError } from '../protocol/errors.ts'
import { hostId, nextRequestId } from './ids.ts'
import type { Tls } from './tls.ts'
import { connectionsMax, headersTimeoutMs, keepAliveTimeoutMs, parserHeaderBytesMax } from './limits.ts'

export interface Listener {
  readonly port: number
  /** Stops accepting, lets running requests finish (bounded), closes every connection. Idempotent. */
  stop(): Promise<void>
}

export interface ListenOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly listener: RequestListener
  /** How long running requests may take to finish once it stops. */
  readonly drainMs: number
  /** Other processes listen on the same port, and the system spreads connections over all of them. */
  readonly reusePort?: boolean
  /** Bytes of a request that nobody could parse are answered by S3's XML or, on the control port, by Node's own bare status. */
  readonly s3: boolean
  /** Without: plain HTTP. */
  readonly tls?: Tls | null
  /** The answer that is under way on this connection, to a request that came before the bytes that nobody could parse; null when there is none. */
  readonly answering?: (socket: Duplex) => ServerResponse | null
}

/** Opens one port. Rejects with Node's error when the address cannot be had. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const settings = {
    noDelay: true,
    keepAlive: true,
    keepAliveTimeout: keepAliveTimeoutMs,
    headersTimeout: headersTimeoutMs,
    // A 5 GiB body over a slow line takes hours; the watchdog of the exchange ends transfers that stand still.
    requestTimeout: 0,
    connectionsCheckingInterval: 5_000,
    maxHeaderSize: parserHeaderBytesMax,
    insecureHTTPParser: false,
    // A missing Host is answered in S3's XML by the exchange.
    requireHostHeader: !options.s3,
  }
  const server = options.tls?.createServer(settings, options.listener, options.s3 ? 'all' : 'all but health') ?? createServer(settings, options.listener)
  server.maxConnections = connectionsMax
  // Object keys are not routes: a request that asks to continue goes the same way, and the operation says when.
  if (options.s3) server.on('checkContinue', options.listener)
  // Of another expectation Node itself would say 417, to anybody and without S3's document; HTTP lets it be ignored.
  if (options.s3) server.on('checkExpectation', options.listener)
  if (options.s3) server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket, options.answering?.(socket) ?? null))
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(addressError(error, options)))
    server.listen({ host: options.host, port: options.port, backlog: 4096, reusePort: options.reusePort === true }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
  let stopped: Promise<void> | null = null
  return { port: (server.address() as AddressInfo).port, stop: () => stopped ??= stop(server, options.drainMs) }
}

/** What an operator can do about an address that cannot be had. */
function addressError(error: NodeJS.ErrnoException, { host, port, s3 }: ListenOptions): Error {
  const variable = s3 ? 'HOLDFAST_PORT' : 'HOLDFAST_CONTROL_PORT'
  if (error.code === 'EADDRINUSE') return new Error(`Port ${port} on ${host} is in use by another program; set ${variable} to another one.`, { cause: error })
  if (error.code === 'EACCES') return new Error(`Port ${port} needs more rights than this user has; set ${variable} to 1024 or above.`, { cause: error })
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') return new Error(`${host} is not an address of this machine; set HOLDFAST_HOST to one, or to 0.0.0.0.`, { cause: error })
  return error
}

async function stop(server: Server, drainMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // `close` looks for idle connections only once; those that fall idle later are looked for here.
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  const force = setTimeout(() => server.closeAllConnections(), drainMs)
  await closed
  clearInterval(sweep)
  clearTimeout(force)
}

/** Answers what the HTTP parser refused: the request has no exchange, so the bytes go straight to the socket, which then closes. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex, answering: ServerResponse | null): void {
  // What failed before there was HTTP, in the handshake of TLS, has been answered there.
  if (error.code === 'ECONNRESET' || !socket.writable || !isOfHttp(error)) {
    socket.destroy()
    return
  }
  if (answering !== null) {
    // What that request did is done: a refusal in place of its answer would say that it was not.
    answering.once('close', () => socket.destroy())
    return
  }
  const requestId = nextRequestId()
  const rendered = renderError(parserError(error.code), { resource: '', requestId, hostId })
  const body = Buffer.from(rendered.body)
  socket.end(Buffer.concat([Buffer.from([
    `HTTP/1.1 ${rendered.status} ${STATUS_CODES[rendered.status] ?? ''}`,
    `x-amz-request-id: ${requestId}`,
    `x-amz-id-2: ${hostId}`,
    'Server: Holdfast',
    `Date: ${new Date().toUTCString()}`,
    'Content-Type: application/xml',
    `Content-Length: ${body.length}`,
    'Connection: close',
    '', '',
  ].join('\r\n')), body]))
  // What the client still sends is read for a moment: closing on unread bytes would reset the connection under the answer.
  socket.resume()
  setTimeout(() => socket.destroy(), 1000).unref()
}

function isOfHttp({ code = '' }: NodeJS.ErrnoException): boolean {
  return code.startsWith('HPE_') || code === 'ERR_HTTP_REQUEST_TIMEOUT'
}

function parserError(code: string | undefined): S3Error {
  if (code === 'HPE_HEADER_OVERFLOW') return new S3Error('RequestHeaderSectionTooLarge')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new S3Error('RequestTimeout')
  return new S3Error('BadRequest')
}

