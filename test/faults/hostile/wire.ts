import net from 'node:net'

/** Bytes as they are over few connections, many requests a second: no client library would send these. */

export interface Answer {
  readonly status: number
  readonly head: string
  readonly body: Buffer
}

/** Null: the connection ended without an answer to this one. */
export type Answered = Answer | null

export interface Wire {
  /** One request that is well formed as HTTP, on the next free connection; several wait behind each other on each. `head`: its answer has no body. */
  send(bytes: Uint8Array, head: boolean): Promise<Answered>
  close(): void
}

interface Waiting {
  readonly head: boolean
  readonly answered: (answer: Answered) => void
}

export function openWire(port: number, connections: number): Wire {
  const lines = Array.from({ length: connections }, () => openLine(port))
  let next = 0
  return {
    send(bytes, head) {
      next = (next + 1) % lines.length
      // The least busy of two: one slow answer does not hold up all that came behind it.
      const [a, b] = [lines[next] as Line, lines[(next * 7 + 3) % lines.length] as Line]
      return (a.waiting() <= b.waiting() ? a : b).send(bytes, head)
    },
    close: () => lines.forEach((line) => line.close()),
  }
}

interface Line {
  waiting(): number
  send(bytes: Uint8Array, head: boolean): Promise<Answered>
  close(): void
}

function openLine(port: number): Line {
  let socket: net.Socket | null = null
  let waiting: Waiting[] = []
  function connected(): net.Socket {
    if (socket !== null) return socket
    const fresh = net.connect({ host: '127.0.0.1', port, noDelay: true })
    const own: Waiting[] = waiting = []
    const reader = createReader()
    const gone = (): void => {
      if (socket === fresh) socket = null
      fresh.destroy()
      for (const each of own.splice(0)) each.answered(null)
    }
    fresh.on('data', (piece: Buffer) => {
      reader.push(piece)
      for (let first = own[0]; first !== undefined; first = own[0]) {
        const answer = reader.next(first.head)
        if (answer === null) break
        own.shift()
        first.answered(answer)
        // What was sent behind an answer that closes was not looked at; nothing more may be sent.
        if (/^connection: close\r?$/im.test(answer.head)) {
          gone()
          break
        }
      }
    })
    fresh.once('error', gone)
    fresh.once('close', gone)
    socket = fresh
    return fresh
  }
  return {
    waiting: () => waiting.length,
    send: (bytes, head) => new Promise((answered) => {
      const to = connected()
      waiting.push({ head, answered })
      to.write(bytes)
    }),
    close: () => socket?.destroy(),
  }
}

/** Takes answers out of a stream of bytes. */
function createReader(): { push(piece: Buffer): void; next(head: boolean): Answer | null } {
  let bytes: Buffer = Buffer.alloc(0)
  return {
    push: (piece) => {
      bytes = bytes.length === 0 ? piece : Buffer.concat([bytes, piece])
    },
    next(headOnly) {
      for (;;) {
        const end = bytes.indexOf('\r\n\r\n')
        if (end < 0) return null
        const head = bytes.toString('latin1', 0, end)
        const status = Number(head.slice(9, 12))
        const from = end + 4
        if (status === 100) {
          bytes = bytes.subarray(from)
          continue
        }
        const bodiless = headOnly || status === 204 || status === 304
        const to = bodiless ? from : bodyEnd(head, bytes, from)
        if (to === null) return null
        const answer = { status, head, body: bytes.subarray(from, to) }
        bytes = bytes.subarray(to)
        return answer
      }
    },
  }
}

/** Where the body ends that begins at `from`; null when it is not there yet. */
function bodyEnd(head: string, bytes: Buffer, from: number): number | null {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (length !== undefined) return from + Number(length) <= bytes.length ? from + Number(length) : null
  // White space and a document, in chunks: what is inside is of no interest here.
  const end = bytes.indexOf('0\r\n\r\n', from)
  return end < 0 ? null : end + 5
}

/** Sends bytes that may be no request, or more than one, then ends the sending side; all that came back. */
export function sendAndEnd(port: number, bytes: Uint8Array, msMax = 20_000): Promise<{ readonly text: string; readonly closed: boolean }> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
    const pieces: Buffer[] = []
    const finish = (closed: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ text: Buffer.concat(pieces).toString('latin1'), closed })
    }
    const timer = setTimeout(() => finish(false), msMax)
    socket.on('data', (piece: Buffer) => pieces.push(piece))
    socket.once('end', () => finish(true))
    socket.once('close', () => finish(true))
    socket.once('error', () => finish(true))
    socket.end(bytes)
  })
}

/** Sends bytes and resets the connection a moment later: at once the system would forget what was sent. */
export function sendAndGo(port: number, bytes: Uint8Array, afterMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
    socket.once('error', () => resolve())
    socket.once('close', () => resolve())
    socket.write(bytes, () => setTimeout(() => socket.resetAndDestroy(), afterMs))
  })
}

/** Statuses of all answers in it. */
export function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1])).filter((status) => status !== 100)
}

/** S3's code in an error document. */
export function codeOf(text: string): string {
  return /<Code>([^<]*)<\/Code>/.exec(text)?.[1] ?? ''
}

export function requestBytes(request: { readonly method: string; readonly path: string; readonly headers: readonly (readonly [name: string, value: string])[]; readonly body: Uint8Array | null }): Buffer {
  let head = `${request.method} ${request.path} HTTP/1.1\r\n`
  for (const [name, value] of request.headers) head += `${name}: ${value}\r\n`
  return request.body === null ? Buffer.from(`${head}\r\n`, 'latin1') : Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), request.body])
}
