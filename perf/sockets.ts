import { connect, type Socket } from 'node:net'
import type { Load, LoadResult } from './load.ts'

const readBytes = 1024 ** 2
const headEnd = Buffer.from('\r\n\r\n')

interface Progress {
  next: number
  readonly stopAt: number
  requests: number
  bytes: number
  refused: number
  broken: number
  readonly latenciesMs: number[]
}

/**
 * Runs one load over plain sockets with keep-alive, one request at a time on each: request heads are built before the clock starts,
 * answers are read into one buffer for each connection, and bodies are counted, not kept. Used where wrk cannot be (HEAD) or costs
 * more (64 MiB bodies), and to fill a bucket, where every answer must be a good one.
 */
export async function loadBySockets(load: Load): Promise<LoadResult> {
  const heads = load.paths.map((path) => headOf(load, path))
  const progress: Progress = { next: 0, stopAt: performance.now() + load.seconds * 1000, requests: 0, bytes: 0, refused: 0, broken: 0, latenciesMs: [] }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: load.connections }, () => runConnection(load, heads, progress)))
  const seconds = (performance.now() - startedAt) / 1000
  const sorted = Float64Array.from(progress.latenciesMs).sort()
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  const { requests, bytes, refused, broken } = progress
  return { requests, seconds, bytes, refused, broken, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), exhausted: load.once && progress.next === heads.length }
}

function headOf(load: Load, path: string): Buffer {
  const length = load.body === null ? '' : `Content-Length: ${load.body.length}\r\n`
  const head = Buffer.from(`${load.method} ${path} HTTP/1.1\r\nHost: ${load.host}:${load.port}\r\n${length}\r\n`, 'latin1')
  // A small body leaves with its head in one write; a large one is not copied for each request.
  return load.body !== null && load.body.length <= 65_536 ? Buffer.concat([head, load.body]) : head
}

/** Sends and reads until the requests or the time are used up; an error ends this connection and is counted. */
function runConnection(load: Load, heads: readonly Buffer[], progress: Progress): Promise<void> {
  return new Promise((resolve) => {
    const reader = createReader(load.method === 'HEAD')
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
      socket.write(head)
      if (load.body !== null && load.body.length > 65_536) socket.write(load.body)
    }
    const socket: Socket = connect({
      host: load.host,
      port: load.port,
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(load.method === 'GET' ? readBytes : 65_536),
        callback: (length, buffer) => {
          const answer = reader(Buffer.from(buffer.buffer, buffer.byteOffset, length))
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

/** Reads answers off the chunks of one connection; gives one when its last byte is there. */
function createReader(head: boolean): (chunk: Buffer) => { status: number; bodyBytes: number } | null {
  let kept: Buffer | null = null
  let status = 0
  let bodyBytes = 0
  let left = -1
  return (chunk) => {
    let bytes = chunk
    if (left < 0) {
      if (kept !== null) bytes = Buffer.concat([kept, chunk])
      const end = bytes.indexOf(headEnd)
      if (end < 0) {
        kept = Buffer.from(bytes)
        return null
      }
      kept = null
      status = Number(bytes.toString('latin1', 9, 12))
      bodyBytes = head || status === 204 || status === 304 ? 0 : contentLength(bytes.toString('latin1', 0, end + 2))
      left = bodyBytes
      bytes = bytes.subarray(end + 4)
    }
    left -= bytes.length
    if (left > 0) return null
    if (left < 0) throw new Error('The server sent more than it announced.')
    left = -1
    return { status, bodyBytes }
  }
}

function contentLength(head: string): number {
  const match = /\r\ncontent-length: *([0-9]+)\r\n/i.exec(head)
  if (match === null) throw new Error(`An answer without Content-Length cannot be counted:\n${head}`)
  return Number(match[1])
}
