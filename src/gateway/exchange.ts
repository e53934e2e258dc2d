import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { S3Error } from '../domain/errors.ts'
import { perTurn } from '../domain/per-turn.ts'
import { errorStatus } from '../protocol/errors.ts'
import { releaseReply } from '../protocol/reply.ts'
import type { Reply, S3Request } from '../protocol/request.ts'
import type { Access, AccessLog } from '../telemetry/access-log.ts'
import type { Log } from '../telemetry/log.ts'
import type { Tracer } from '../telemetry/traces.ts'
import { createMeters, type Meters, type RequestMeter } from '../telemetry/metrics.ts'
import { writeError, writeReply, type AnswerContext } from './answer.ts'
import { isLimited, type Admission } from './admission.ts'
import type { Serve } from './app.ts'
import { nextRequestId } from './ids.ts'
import { announcedBytes, IncomingRequest, resourceOf, unreadBodyBytes, type IncomingOptions } from './incoming.ts'
import { lingerBytesMax, lingerMs, unreadBodyBytesMax } from './limits.ts'
import { createWatchdog } from './watchdog.ts'

export interface ExchangeOptions extends IncomingOptions {
  /** Answers a request; an S3Error that it throws is answered as an error document, anything else as InternalError. */
  readonly handle: (request: S3Request) => Promise<Reply>
  readonly log: Log
  readonly meters?: Meters
  readonly access?: AccessLog
  readonly tracer?: Tracer | null
  /** Whether a request from an address is taken now. */
  readonly admission?: Admission
}

export interface Exchange {
  readonly serve: Serve
  /** The answer that is under way on this connection; null when there is none. */
  answering(socket: Duplex): ServerResponse | null
  /** From now on every answer closes its connection. */
  drain(): void
  /** Stops the timer that ends transfers that stand still. */
  close(): void
}

/** Raw request in, reply or error out: the one place from which a response of the S3 port is written. */
export function createExchange(options: ExchangeOptions): Exchange {
  const watchdog = createWatchdog(options.log)
  const meters = options.meters ?? createMeters()
  const state = { draining: false, requests: meters.requests }
  meters.watch('holdfast_connections', () => watchdog.traffic().connections)
  meters.watch('holdfast_received_bytes_total', () => watchdog.traffic().read)
  meters.watch('holdfast_sent_bytes_total', () => watchdog.traffic().written)
  const arrive = perTurn<Arrived>((batch) => {
    for (const each of batch) {
      answer(options, state, each).catch((error: unknown) => {
        options.log.error('An answer could not be written', { error })
        each.outgoing.destroy()
      })
    }
  })
  return {
    serve(incoming, outgoing) {
      watchdog.add(incoming, outgoing)
      arrive({ incoming, outgoing, started: performance.now() })
    },
    answering: (socket) => watchdog.answering(socket),
    drain() {
      state.draining = true
    },
    close: () => watchdog.close(),
  }
}

interface State {
  readonly draining: boolean
  readonly requests: RequestMeter
}

interface Arrived {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly started: number
}

async function answer(options: ExchangeOptions, state: State, { incoming, outgoing, started }: Arrived): Promise<void> {
  const requestId = nextRequestId()
  const { requests } = state
  requests.inFlight += 1
  let request: IncomingRequest | undefined
  let reply: Reply | undefined
  let failure: unknown
  try {
    request = new IncomingRequest(incoming, outgoing, requestId, options)
    if (options.tracer) request.span = options.tracer.start(incoming.headers['traceparent'] as string | undefined)
    if (options.admission?.active === true) options.admission.arrive(request.remoteAddress, request.bodyBytes)
    reply = await options.handle(request)
    if (outgoing.destroyed) releaseReply(reply, (error) => s3ErrorOf(error, options.log, requestId, incoming))
    else {
      const sent = request.span?.begin('answer')
      await writeReply(outgoing, reply, contextOf(options, state, incoming, request, requestId))
      sent?.()
    }
  } catch (error) {
    failure = error
    if (reply !== undefined) releaseReply(reply, () => undefined)
    const context = contextOf(options, state, incoming, request, requestId)
    const refused = context.toS3Error(error)
    if (!outgoing.headersSent && !outgoing.destroyed) writeError(outgoing, refused, context)
  }
  requests.inFlight -= 1
  const status = outgoing.headersSent ? outgoing.statusCode : 0
  const operation = request?.operation ?? 'none'
  requests.answered(operation, status, (performance.now() - started) / 1000)
  if (failure !== undefined) requests.refused(operation, failure instanceof S3Error ? failure.code : 'InternalError')
  request?.span?.end(operation, {
    'http.request.method': incoming.method, 'url.path': resourceOf(incoming), 'http.response.status_code': status, 'aws.request_id': requestId,
    'aws.s3.bucket': request.target.scope === 'service' ? undefined : request.target.bucket, 'error.type': failure instanceof S3Error ? failure.code : undefined,
  }, status >= 500 || status === 0)
  const { access } = options
  if (access?.wants() === true) access.add(accessOf(incoming, request, reply, { requestId, operation, status, failure, started }))
}

interface Ending {
  readonly requestId: string
  readonly operation: string
  readonly status: number
  readonly failure: unknown
  readonly started: number
}

function accessOf(incoming: IncomingMessage, request: IncomingRequest | undefined, reply: Reply | undefined, { requestId, operation, status, failure, started }: Ending): Access {
  const requester = request?.requester
  return {
    requestId, operation, status, method: incoming.method ?? '', path: resourceOf(incoming), code: failure === undefined ? undefined : failure instanceof S3Error ? failure.code : 'InternalError',
    milliseconds: Math.round((performance.now() - started) * 100) / 100,
    bytesIn: announcedBytes(incoming), bytesOut: failure === undefined && incoming.method !== 'HEAD' ? bodyBytes(reply) : 0,
    accountId: requester?.account.id, user: requester?.user?.name, accessKeyId: requester?.accessKeyId,
    remoteAddress: incoming.socket.remoteAddress ?? '', userAgent: incoming.headers['user-agent'], traceId: request?.span?.traceId,
  }
}

function bodyBytes(reply: Reply | undefined): number {
  const body = reply?.body
  if (body === undefined) return 0
  if (typeof body === 'string') return Buffer.byteLength(body)
  return 'kind' in body ? (body.kind === 'stream' ? body.length : 0) : body.length
}

function contextOf(
  options: ExchangeOptions, state: State, incoming: IncomingMessage, request: IncomingRequest | undefined, requestId: string,
): AnswerContext {
  const unread = unreadBodyBytes(incoming)
  // Node drops a short rest by itself and goes on with the next request. A client that waits for permission to send its body may
  // send it or not: what comes next on such a connection is anybody's guess.
  const abandon = unread !== 0 && (unread === null || unread > unreadBodyBytesMax || request === undefined || request.holdsBodyBack)
  return {
    requestId,
    traceparent: request?.span?.traceparent ?? null,
    resource: resourceOf(incoming),
    head: incoming.method === 'HEAD',
    close: abandon || state.draining,
    linger: abandon ? () => linger(incoming) : null,
    toS3Error: (error) => s3ErrorOf(error, options.log, requestId, incoming),
  }
}

/** Reads and drops until the body ends, the client goes away, or it was enough. Never rejects. */
function linger(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let left = lingerBytesMax
    const timer = setTimeout(done, lingerMs)
    function done(): void {
      clearTimeout(timer)
      resolve()
    }
    incoming.removeAllListeners('data')
    incoming.removeAllListeners('readable')
    incoming.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) done()
    })
    incoming.once('end', done)
    incoming.once('error', done)
    incoming.once('close', done)
    incoming.resume()
  })
}

function s3ErrorOf(error: unknown, log: Log, requestId: string, incoming: IncomingMessage): S3Error {
  if (error instanceof S3Error) {
    // Telling a client that something is not implemented is an answer like any other.
    if ((error.status ?? errorStatus(error.code)) >= 500 && error.code !== 'NotImplemented' && !isLimited(error)) {
      log.warn('A request failed', { requestId, method: incoming.method, path: resourceOf(incoming), code: error.code, error })
    }
    return error
  }
  log.error('A request failed in a way that nobody foresaw', { requestId, method: incoming.method, path: resourceOf(incoming), error })
  return new S3Error('InternalError')
}
