import { connect, type Socket } from 'node:net'
import { createAnswerReader } from './answers.ts'
import type { Load, LoadResult } from './load.ts'
import { quantile } from './statistics.ts'
import { headBytes, stampBytes, stampOf } from './wire.ts'

/** All sockets read into this one: what they read is looked at before the next one reads. */
const readBuffer = Buffer.allocUnsafeSlow(1024 ** 2)

/** Bodies up to this leave in one write with their head. */
const smallBytesMax = 65_536

interface Progress {
  next: number
  sent: number
  readonly stopAt: number
  requests: number
  bytes: number
  refused: number
  broken: number
  readonly latenciesMs: number[]
}

/**
 * Runs one load over plain sockets with keep-alive, one request at a time on each: request heads are built before the clock starts,
 * answers are read into one buffer, and bodies are counted, not kept. Used where wrk cannot be (HEAD) or costs
 * more (64 MiB bodies), and to fill a bucket, where every answer must be a good one.
 */
export async function loadBySockets(load: Load): Promise<LoadResult> {
  const heads = load.requests ?? load.paths.map((path) => headOf(load, path))
  const progress: Progress = { next: 0, sent: 0, stopAt: performance.now() + load.seconds * 1000, requests: 0, bytes: 0, refused: 0, broken: 0, latenciesMs: [] }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: load.connections }, () => runConnection(load, heads, progress)))
  const seconds = (performance.now() - startedAt) / 1000
  const sorted = Float64Array.from(progress.latenciesMs).sort()
  const { requests, bytes, refused, broken } = progress
  return {
    requests, seconds, bytes, refused, broken, p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), p999Ms: quantile(sorted, 0.999), maxMs: quantile(sorted, 1),
    exhausted: load.once && progress.next === heads.length,
  }
}

function headOf(load: Load, path: string): Buffer {
  const head = headBytes({ ...load, path }, load.body?.length ?? null)
  // A small body leaves with its head in one write; a large one is not copied for each request.
  return load.body !== null && load.body.length <= smallBytesMax ? Buffer.concat([head, load.body]) : head
}

/** A body that is alike but for its stamp is stamped in place, where its copy has been sent; a large one leaves in pieces. */
function send(socket: Socket, { body, requests, stamp }: Load, request: Buffer, index: number): void {
  if (body === null || requests !== undefined) {
    socket.write(request)
    return
  }
  if (body.length <= smallBytesMax) {
    if (stamp !== undefined) request.write(stampOf(stamp, index), request.length - body.length, 'latin1')
    socket.write(request)
    return
  }
  socket.cork()
  socket.write(request)
  if (stamp !== undefined) socket.write(stampOf(stamp, index), 'latin1')
  socket.write(stamp === undefined ? body : body.subarray(stampBytes))
  socket.uncork()
}

/** Sends and reads until the requests or the time are used up; an error ends this connection and is counted. */
function runConnection(load: Load, heads: readonly Buffer[], progress: Progress): Promise<void> {
  return new Promise((resolve) => {
    const reader = createAnswerReader()
    const isHead = load.method === 'HEAD'
    let sentAt = 0
    const sendNext = (): void => {
      if (progress.next === heads.length && !load.once) progress.next = 0
      const head = heads[progress.next]
      if (head === undefined || performance.now() >= progress.stopAt) {
        socket.destroy()
        return
      }
      progress.next++
      sentAt = performance.now()
      send(socket, load, head, progress.sent++)
    }
    const socket: Socket = connect({
      host: load.host,
      port: load.port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (length, buffer) => {
          const answer = reader(Buffer.from(buffer.buffer, buffer.byteOffset, length), isHead)
          if (answer === null) return true
          progress.latenciesMs.push(performance.now() - sentAt)
          progress.requests++
          progress.bytes += answer.bodyBytes + (load.body?.length ?? 0)
          if (answer.status < 200 || answer.status > 299) progress.refused++
          sendNext()
          return true
        },
      },
    })
    let failed = false
    socket.on('connect', sendNext)
    socket.on('error', () => {
      failed = true
    })
    socket.on('end', () => {
      failed = true
    })
    socket.on('close', () => {
      if (failed) progress.broken++
      resolve()
    })
  })
}
