import net from 'node:net'
import { signRequest, type Endpoint } from '../../support/raw.ts'

/** Clients that hold connections and do next to nothing with them. */

export type Slowness = 'silent' | 'idle' | 'head' | 'body' | 'expect' | 'reader'
export const slownesses: readonly Slowness[] = ['silent', 'idle', 'head', 'body', 'expect', 'reader']
/**
 * One in so many takes nothing of what it asks for: twice as many as there are buffers for reading. The system keeps megabytes for each, and
 * beyond its own limit (net.ipv4.tcp_mem) has little for anybody: five hundred slow every large answer of a machine with 24 GB, whatever the server does.
 */
export const readerEvery = 40
const kindOf = (index: number): Slowness => index % readerEvery === 0 ? 'reader' : slownesses[index % (slownesses.length - 1)] ?? 'silent'

export interface SlowCrowd {
  /** Of each kind: how many are still connected. */
  open(): Readonly<Record<Slowness, number>>
  /** Of each kind: milliseconds from its start until the server ended it. */
  readonly ended: Readonly<Record<Slowness, number[]>>
  close(): void
}

export interface SlowScene {
  readonly server: Endpoint & { readonly port: number }
  readonly bucket: string
  /** Of a large object, for those that read slowly. */
  readonly largeKey: string
}

/** Milliseconds between two bytes of a slow one: well below the least rate. */
const dripMs = 5_000

/** Connects `count` of them, all kinds in turn, some hundred at a time. */
export async function slowCrowd(scene: SlowScene, count: number): Promise<SlowCrowd> {
  const sockets: { readonly kind: Slowness; readonly socket: net.Socket; readonly drip: () => void }[] = []
  const zero = (): Record<Slowness, number[]> => ({ silent: [], idle: [], head: [], body: [], expect: [], reader: [] })
  const ended = zero()
  let closing = false
  const lives = new Set<net.Socket>()
  for (let at = 0; at < count; at += 250) {
    await Promise.all(Array.from({ length: Math.min(250, count - at) }, (_, index) => new Promise<void>((resolve) => {
      const kind = kindOf(at + index)
      const began = Date.now()
      const socket = net.connect({ host: '127.0.0.1', port: scene.server.port })
      const drip = begin(kind, socket, scene, at + index)
      sockets.push({ kind, socket, drip })
      lives.add(socket)
      socket.once('connect', () => resolve())
      socket.once('error', () => resolve())
      socket.once('close', () => {
        lives.delete(socket)
        resolve()
        if (!closing) ended[kind].push(Date.now() - began)
      })
    })))
  }
  let at = 0
  // A share of them each time, so that the drips of all do not come at once.
  const timer = setInterval(() => {
    const share = Math.ceil(sockets.length / (dripMs / 100))
    for (const { socket, drip } of sockets.slice(at, at + share)) if (lives.has(socket)) drip()
    at = at + share >= sockets.length ? 0 : at + share
  }, 100)
  return {
    ended,
    open() {
      const found: Record<Slowness, number> = { silent: 0, idle: 0, head: 0, body: 0, expect: 0, reader: 0 }
      for (const { kind, socket } of sockets) if (lives.has(socket)) found[kind] += 1
      return found
    },
    close() {
      closing = true
      clearInterval(timer)
      for (const { socket } of sockets) socket.destroy()
    },
  }
}

/** What it does at once; returns what it does now and then. */
function begin(kind: Slowness, socket: net.Socket, { server, bucket, largeKey }: SlowScene, index: number): () => void {
  const nothing = (): void => undefined
  const head = (method: string, path: string, more: Readonly<Record<string, string>>): string => {
    const signed = signRequest({ server, method, path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
    return `${method} ${signed.path} HTTP/1.1\r\n${Object.entries({ ...signed.headers, ...more }).map(([name, value]) => `${name}: ${value}\r\n`).join('')}`
  }
  if (kind === 'silent') {
    socket.resume()
    return nothing
  }
  if (kind === 'idle') {
    socket.resume()
    socket.write(`${head('HEAD', `/${bucket}`, {})}\r\n`)
    return nothing
  }
  if (kind === 'head') {
    socket.resume()
    socket.write('GET /slow HTTP/1.1\r\n')
    return () => socket.write(`x-${Date.now()}: a\r\n`)
  }
  if (kind === 'body') {
    socket.resume()
    socket.write(`${head('PUT', `/${bucket}/slow-${index}`, { 'content-length': '100000' })}\r\nx`)
    return () => socket.write('x')
  }
  if (kind === 'expect') {
    // It asks whether it may send a body, may, and does not.
    socket.resume()
    socket.write(`${head('PUT', `/${bucket}/slow-${index}`, { 'content-length': '100000', expect: '100-continue' })}\r\n`)
    return nothing
  }
  // It asks for much and takes nothing: what its system takes for it is all that it gets. Who reads nothing learns by writing that nobody is there any more.
  socket.pause()
  socket.write(`${head('GET', `/${bucket}/${largeKey}`, {})}\r\n`)
  return () => void socket.write('\r\n')
}
