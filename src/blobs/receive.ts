import { IncomingMessage } from 'node:http'
import { S3Error } from '../domain/errors.ts'
import { bodyBytesPerSecondMin, bodyRateWindowMs } from '../domain/limits.ts'
import type { RequestBody } from './blobs.ts'

/** What a framing hands on. */
export interface Framed {
  bytes(bytes: Uint8Array): void
  /** A chunk with this signature ended here. */
  mark(signature: string): void
}

/** Where the bytes of one body go, in order. It may keep what it is given until it is no longer `full`. */
export interface Sink extends Framed {
  /** While true nothing more is read from the socket; `ready` of the reception is called afterwards. */
  full(): boolean
  /** Whether `bytes` has copied what it was given when it returns, unless it is full then. */
  readonly copies: boolean
}

export interface Trailer {
  readonly fields: ReadonlyMap<string, string>
  readonly text: string
  readonly signature: string | null
}

export interface Reception {
  /** Resolves when the whole body came and its framing and length are right. */
  readonly done: Promise<{ readonly size: number; readonly trailer: Trailer | null }>
  /** The sink can take more. */
  ready(): void
  /** Ends the reception from the sink's side. */
  fail(error: unknown): void
}

/** Gives up bodies that hardly move. One timer for all. */
export interface Watchdog {
  watch(entry: Watched): void
  unwatch(entry: Watched): void
  close(): void
}

export interface Watched {
  /** Bytes that came so far. */
  received: number
  /** True while the server itself holds the body back: the client is not to blame then. */
  held: boolean
  expire(): void
  /** The watchdog's own: its place in the list, and since when (epoch ms) it has waited for more than so many bytes. */
  place: number
  since: number
  seen: number
}

export function createWatchdog(windowMs: number = bodyRateWindowMs, bytesPerSecondMin: number = bodyBytesPerSecondMin): Watchdog {
  // A list, because a Map that entries come to and go from lays out its table anew each time.
  const watched: Watched[] = []
  const timer = setInterval(() => {
    const now = Date.now()
    // From the end, because one that expires leaves the list and the last one takes its place.
    for (let place = watched.length - 1; place >= 0; place--) {
      const entry = watched[place] as Watched
      if (!entry.held && now - entry.since < windowMs) continue
      if (!entry.held && entry.received - entry.seen < (bytesPerSecondMin * windowMs) / 1000) entry.expire()
      entry.since = now
      entry.seen = entry.received
    }
  }, Math.max(10, windowMs / 12))
  timer.unref()
  return {
    watch(entry) {
      entry.place = watched.push(entry) - 1
      entry.since = Date.now()
      entry.seen = 0
    },
    unwatch(entry) {
      const { place } = entry
      const last = watched.at(-1)
      if (watched[place] !== entry || last === undefined) return
      watched[place] = last
      last.place = place
      watched.pop()
    },
    close: () => clearInterval(timer),
  }
}

/**
 * Gives back the memory of a chunk that was copied, here and now. The collector would do it when 64 MiB of chunks have come together, and
 * look through the whole heap for that each time: a third of the CPU of a large upload. Only chunks that fill their memory have it for
 * themselves: Node's HTTP parser copies what it hands out.
 */
function release(chunk: Uint8Array): void {
  if (chunk.byteLength === chunk.buffer.byteLength && chunk.buffer instanceof ArrayBuffer) chunk.buffer.transfer(0)
}

/** Framing of the body: hands object bytes on, and at the end says what the trailer was. */
export interface Framing {
  push(wireBytes: Uint8Array): void
  finish(): Trailer | null
}

/**
 * Reads one body from its socket into the sink. Errors: IncompleteBody (length differs, or the client left), EntityTooLarge,
 * RequestTimeout (too slow), and what the framing throws. On any error the stream is left paused and untouched: whoever
 * answers decides whether the connection is worth keeping.
 */
export function receive(body: RequestBody, bytesMax: number, sink: Sink, frame: ((sink: Framed) => Framing) | null, watchdog: Watchdog): Reception {
  const { stream } = body
  // Chunks of any other stream may be somebody's who still needs them.
  const own = stream instanceof IncomingMessage
  const { promise, resolve, reject } = Promise.withResolvers<{ size: number; trailer: Trailer | null }>()
  let size = 0
  let settled = false
  const watched: Watched = {
    received: 0, held: false, place: -1, since: 0, seen: 0, expire: () => fail(new S3Error('RequestTimeout', undefined, { status: 400 })),
  }

  const counted: Framed = {
    bytes(bytes) {
      size += bytes.length
      if (size > bytesMax) throw new S3Error('EntityTooLarge')
      if (body.length !== null && size > body.length) throw new S3Error('IncompleteBody')
      sink.bytes(bytes)
    },
    mark: (signature) => sink.mark(signature),
  }
  const framing = frame?.(counted) ?? null

  function onData(chunk: Uint8Array): void {
    watched.received += chunk.length
    try {
      if (framing === null) counted.bytes(chunk)
      else framing.push(chunk)
    } catch (error) {
      return fail(error)
    }
    if (!sink.full()) return own && sink.copies ? release(chunk) : undefined
    watched.held = true
    stream.pause()
  }
  function onEnd(): void {
    try {
      const trailer = framing?.finish() ?? null
      if (body.length !== null && size !== body.length) throw new S3Error('IncompleteBody')
      stop()
      resolve({ size, trailer })
    } catch (error) {
      fail(error)
    }
  }
  const onGone = () => fail(new S3Error('IncompleteBody'))

  function stop(): void {
    settled = true
    watchdog.unwatch(watched)
    stream.off('data', onData).off('end', onEnd).off('close', onGone).off('aborted', onGone)
    // The listener for errors stays: a socket that fails later must not end the process.
  }
  function fail(error: unknown): void {
    if (settled) return
    stop()
    stream.pause()
    reject(error instanceof Error ? error : new Error(String(error)))
  }

  watchdog.watch(watched)
  stream.on('error', onGone).on('end', onEnd).on('close', onGone).on('aborted', onGone).on('data', onData)
  if (stream.readableEnded) onEnd()
  else if (stream.destroyed) onGone()
  return {
    done: promise,
    ready() {
      if (!watched.held) return
      watched.held = false
      stream.resume()
    },
    fail,
  }
}
