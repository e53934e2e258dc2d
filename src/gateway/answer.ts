import type { ServerResponse } from 'node:http'
import type { S3Error } from '../domain/errors.ts'
import { renderError } from '../protocol/errors.ts'
import type { KeepAliveReply, Reply, ReplyStream } from '../protocol/request.ts'
import { hostId } from './ids.ts'
import { keepAliveEveryMs, keepAliveFirstMs } from './limits.ts'

/** What the writer needs to know of the request that it answers. */
export interface AnswerContext {
  readonly requestId: string
  /** Path as sent, for the error document. */
  readonly resource: string
  /** W3C Trace Context of a traced request, for the client; null for others. */
  readonly traceparent: string | null
  /** No body, whatever the reply has. */
  readonly head: boolean
  /** Close the connection after this answer. */
  readonly close: boolean
  /** Reads what the client still sends, for a while, before the connection closes; null when nothing is unread. */
  readonly linger: (() => Promise<void>) | null
  /** Turns whatever was thrown into the S3Error that the client may see. */
  readonly toS3Error: (error: unknown) => S3Error
}

type HeaderRecord = Readonly<Record<string, string | undefined>>

/**
 * Writes a reply. Resolves when its last byte was handed to the socket, or the client has gone; rejects when nothing has been
 * written yet and the reply cannot be (its keep-alive result failed, or a header is not one), so that an error can be answered.
 */
export function writeReply(outgoing: ServerResponse, reply: Reply, context: AnswerContext): Promise<void> | undefined {
  const { body } = reply
  if (context.head || reply.status === 204 || reply.status === 304) {
    if (typeof body === 'object' && 'kind' in body && body.kind === 'stream') body.reader.close()
    return writeWhole(outgoing, reply.status, reply.headers, undefined, context)
  }
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) return writeWhole(outgoing, reply.status, reply.headers, body, context)
  // A small object is at hand: it leaves like any other answer, in one write that nobody has to wait for.
  if (body.kind === 'stream' && body.reader.whole !== null && body.reader.whole.length === body.length) {
    writeWhole(outgoing, reply.status, reply.headers, body.reader.whole, context)
    body.reader.close()
    return undefined
  }
  if (body.kind === 'keep-alive') return writeKeepAlive(outgoing, reply, body, context)
  return writeStream(outgoing, reply, body, context)
}

/** Writes the error document, without a body for HEAD. */
export function writeError(outgoing: ServerResponse, error: S3Error, context: AnswerContext): void {
  const { status, headers, body } = renderError(error, { resource: context.resource, requestId: context.requestId, hostId })
  writeWhole(outgoing, status, headers, status === 304 ? undefined : body, context)
}

/**
 * The header fields as the flat list that Node writes without another copy. `length` undefined: the reply's own content-length
 * stays (HEAD and 304 announce what they do not send); null: unknown, sent chunked.
 */
function headerList(headers: HeaderRecord | undefined, length: number | null | undefined, contentType: string | undefined, context: AnswerContext): string[] {
  const list = ['x-amz-request-id', context.requestId, 'x-amz-id-2', hostId, 'Server', 'Holdfast']
  let typed = false
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined) continue
    if (length !== undefined && name.length === 14 && name.toLowerCase() === 'content-length') continue
    if (name.length === 12 && name.toLowerCase() === 'content-type') typed = true
    list.push(name, value)
  }
  if (!typed && contentType !== undefined) list.push('Content-Type', contentType)
  if (length !== undefined && length !== null) list.push('Content-Length', String(length))
  if (context.traceparent !== null) list.push('traceparent', context.traceparent)
  if (context.close) list.push('Connection', 'close')
  return list
}

function writeWhole(outgoing: ServerResponse, status: number, headers: HeaderRecord | undefined, body: string | Uint8Array | undefined, context: AnswerContext): undefined {
  const bodiless = context.head || status === 204 || status === 304
  const length = bodiless ? undefined : body === undefined ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.length
  const contentType = typeof body === 'string' ? 'application/xml' : undefined
  outgoing.writeHead(status, headerList(headers, length, contentType, context))
  if (context.linger === null) {
    if (bodiless || body === undefined) outgoing.end()
    else outgoing.end(body)
    return
  }
  // Ending the answer closes the connection, and closing it over unread bytes would reset it under the answer.
  if (bodiless || body === undefined) outgoing.flushHeaders()
  else outgoing.write(body)
  void context.linger().then(() => outgoing.end())
}

async function writeStream(outgoing: ServerResponse, reply: Reply, { reader, length }: ReplyStream, context: AnswerContext): Promise<void> {
  try {
    outgoing.writeHead(reply.status, headerList(reply.headers, length, undefined, context))
    // Header and first chunk leave in one write.
    outgoing.cork()
    let left = length
    let chunk = length === 0 ? null : await reader.next()
    while (chunk !== null && chunk.length <= left) {
      left -= chunk.length
      // The reader may reuse a chunk's memory after the next call, so the chunk must have left the process by then.
      if (!(await send(outgoing, chunk))) return
      if (left === 0) break
      chunk = await reader.next()
    }
    if (left !== 0) throw new Error(`The reader gave ${length - left} of ${length} bytes.`)
    outgoing.end()
  } catch (error) {
    if (!outgoing.headersSent) throw error
    // The length is announced already: only a broken connection can tell the client that the rest will not come.
    context.toS3Error(error)
    outgoing.destroy()
  } finally {
    reader.close()
  }
}

/** Resolves to true when the chunk was handed to the kernel, to false when the client has gone. */
function send(outgoing: ServerResponse, chunk: Uint8Array): Promise<boolean> {
  if (outgoing.destroyed) return Promise.resolve(false)
  return new Promise((resolve) => {
    const gone = (): void => resolve(false)
    outgoing.once('close', gone)
    outgoing.write(chunk, (error) => {
      outgoing.off('close', gone)
      resolve(error === null || error === undefined)
    })
    while (outgoing.writableCorked > 0) outgoing.uncork()
  })
}

/**
 * Waits for the result a while; then sends status 200 and white space, which XML allows before its root element, until the result
 * is there. An error found by then is the body: S3's clients look for it in these operations.
 */
async function writeKeepAlive(outgoing: ServerResponse, reply: Reply, { result }: KeepAliveReply, context: AnswerContext): Promise<void> {
  const early = await Promise.race([result, later(keepAliveFirstMs)])
  if (early !== null) {
    writeWhole(outgoing, reply.status, { ...reply.headers, ...early.headers }, early.body, context)
    return
  }
  outgoing.writeHead(200, headerList(reply.headers, null, 'application/xml', context))
  outgoing.write('<?xml version="1.0" encoding="UTF-8"?>\n')
  const beat = setInterval(() => outgoing.write(' '), keepAliveEveryMs)
  try {
    outgoing.end(withoutDeclaration((await result).body))
  } catch (error) {
    const rendered = renderError(context.toS3Error(error), { resource: context.resource, requestId: context.requestId, hostId })
    outgoing.end(withoutDeclaration(rendered.body))
  } finally {
    clearInterval(beat)
  }
}

function later(ms: number): Promise<null> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(null), ms).unref()
  })
}

function withoutDeclaration(xml: string): string {
  return xml.replace(/^<\?xml[^>]*\?>\s*/, '')
}
