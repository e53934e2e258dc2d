import { S3Error } from '../domain/errors.ts'

/**
 * The aws-chunked framing inside an HTTP body, read piece by piece. No crypto: signatures are handed on.
 * Source: Amazon S3 API reference, "Transferring payload in multiple chunks" and "Signature calculations for trailing headers".
 */
export interface ChunkedOptions {
  /** Each chunk header carries `;chunk-signature=`; else a signature there is refused. */
  readonly signed: boolean
  /** Trailing headers may follow the final chunk. */
  readonly trailer: boolean
  /** x-amz-decoded-content-length: bytes of all chunks together. */
  readonly decodedLength: number
  /** A chunk begins, the final one of no bytes included. Its signature comes before its data; null in an unsigned body. */
  onChunkStart?(signature: string | null, size: number): void
  /** Data of the current chunk: a view of what was pushed, never a copy. */
  onData(bytes: Uint8Array): void
  /** The current chunk is complete. */
  onChunkEnd?(signature: string | null): void
}

export interface ChunkedEnd {
  /** Trailing headers in order, names in lower case, values trimmed; without x-amz-trailer-signature. */
  readonly trailers: readonly (readonly [name: string, value: string])[]
  /** 64 hex digits; null when the body is not signed or has no trailer. */
  readonly trailerSignature: string | null
  /** What the trailer's signature covers: a line `name:value\n` for each trailing header. */
  readonly trailerText: string
}

export interface ChunkedDecoder {
  /**
   * Takes the next bytes, however they are split. Throws S3Error InvalidChunkSizeError (chunk header malformed or too long, a
   * signed chunk below 8 KiB that is not the last), IncompleteBody (more data than declared), MalformedTrailerError.
   */
  push(bytes: Uint8Array): void
  /** Ends the body. Throws IncompleteBody when the final chunk or declared data is missing, MalformedTrailerError for a cut trailer. */
  finish(): ChunkedEnd
}

/** A chunk header is a size and a signature: 100 bytes. */
const headerBytesMax = 1024
const trailerBytesMax = 4096
/** "Only the last chunk is allowed to have a size less than 8192 bytes." */
const signedChunkBytesMin = 8192
/** Some clients end a trailer with one empty line too many. */
const spareBytesMax = 2

const lineFeed = 10
const carriageReturn = 13
const trailerSignatureName = 'x-amz-trailer-signature'

type State =
  /** In the line `size;chunk-signature=...`. */
  | 'header'
  | 'data'
  /** At the line break behind a chunk's data. */
  | 'data-end'
  /** Behind the final chunk's header: its empty line, or the trailing headers. */
  | 'trailer'
  | 'end'

const invalidChunk = (message: string): S3Error => new S3Error('InvalidChunkSizeError', message, { status: 400 })

interface ChunkHeader {
  readonly size: number
  readonly signature: string | null
}

const unsignedHeader = /^([0-9a-fA-F]{1,16})\r$/
const signedHeader = /^([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})\r$/

function parseHeader(line: string, signed: boolean): ChunkHeader {
  const match = (signed ? signedHeader : unsignedHeader).exec(line)
  if (match === null) throw invalidChunk('The header of a chunk is malformed.')
  return { size: Number.parseInt(match[1] ?? '', 16), signature: match[2] ?? null }
}

const trailerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/

function parseTrailerLine(line: string): readonly [name: string, value: string] {
  const match = trailerLine.exec(line)
  if (match === null) throw new S3Error('MalformedTrailerError')
  return [(match[1] ?? '').toLowerCase(), (match[2] ?? '').trim()]
}

/** Collects a line over any number of pieces. Returns null until it is whole; the line comes without its line feed. */
function createLineReader() {
  let held = ''
  let at = 0
  return {
    /** Position behind the line in the bytes last given. */
    next: (): number => at,
    isEmpty: (): boolean => held === '',
    read(bytes: Uint8Array, from: number, bytesMax: number, tooLong: () => S3Error): string | null {
      // Searching no further than a line may be keeps a body without line feeds from being searched whole.
      const end = bytes.subarray(from, from + bytesMax - held.length + 1).indexOf(lineFeed)
      const stop = end < 0 ? bytes.length : from + end
      if (held.length + stop - from > bytesMax) throw tooLong()
      const line = held + Buffer.from(bytes.buffer, bytes.byteOffset + from, stop - from).toString('latin1')
      at = end < 0 ? stop : stop + 1
      held = end < 0 ? line : ''
      return end < 0 ? null : line
    },
  }
}

/** Collects trailing headers line by line; `add` returns true at the line that ends them. */
function createTrailerReader(signed: boolean, allowed: boolean) {
  const trailers: (readonly [name: string, value: string])[] = []
  let signature: string | null = null
  let size = 0
  return {
    bytesLeft: (): number => trailerBytesMax - size,
    isEmpty: (): boolean => size === 0,
    add(raw: string): boolean {
      size += raw.length + 1
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
      // Some clients put an empty line between the trailing headers and their signature.
      if (line === '') return !(signed && allowed && signature === null && trailers.length > 0)
      if (!allowed || signature !== null) throw new S3Error('MalformedTrailerError')
      const [name, value] = parseTrailerLine(line)
      if (signed && name === trailerSignatureName) signature = value
      else if (trailers.some(([known]) => known === name)) throw new S3Error('MalformedTrailerError')
      else trailers.push([name, value])
      return false
    },
    end: (): ChunkedEnd => ({
      trailers,
      trailerSignature: signature,
      trailerText: trailers.map(([name, value]) => `${name}:${value}\n`).join(''),
    }),
  }
}

/** `left`: bytes of the declared length that are still to come, this chunk's included. */
function assertChunkFits(next: ChunkHeader, before: ChunkHeader, left: number, signed: boolean): void {
  if (next.size > left || (next.size === 0 && left > 0)) throw new S3Error('IncompleteBody')
  if (signed && next.size > 0 && before.size < signedChunkBytesMin) {
    throw invalidChunk('Only the last chunk is allowed to have a size less than 8192 bytes')
  }
}

/** Takes what comes behind the end: one spare line break, nothing else. */
function createSpareReader() {
  let size = 0
  return (bytes: Uint8Array, from: number): number => {
    for (let index = from; index < bytes.length; index++) {
      const expected = size++ === 0 ? carriageReturn : lineFeed
      if (size > spareBytesMax || bytes[index] !== expected) throw new S3Error('IncompleteBody')
    }
    return bytes.length
  }
}

/** A decoder for one body. Data passes through uncopied; only chunk headers and trailers are ever held. */
export function createChunkedDecoder(options: ChunkedOptions): ChunkedDecoder {
  const lines = createLineReader()
  const trailer = createTrailerReader(options.signed, options.trailer)
  let state: State = 'header'
  let chunk: ChunkHeader = { size: Infinity, signature: null }
  let chunkLeft = 0
  let left = options.decodedLength

  function startChunk(next: ChunkHeader): void {
    assertChunkFits(next, chunk, left, options.signed)
    chunk = next
    chunkLeft = next.size
    left -= next.size
    options.onChunkStart?.(next.signature, next.size)
    state = next.size > 0 ? 'data' : 'trailer'
    if (next.size === 0) options.onChunkEnd?.(next.signature)
  }

  function takeHeader(bytes: Uint8Array, from: number): number {
    const line = lines.read(bytes, from, headerBytesMax, () => invalidChunk('The header of a chunk is too long.'))
    if (line !== null) startChunk(parseHeader(line, options.signed))
    return lines.next()
  }

  function takeData(bytes: Uint8Array, from: number): number {
    const size = Math.min(chunkLeft, bytes.length - from)
    options.onData(from === 0 && size === bytes.length ? bytes : bytes.subarray(from, from + size))
    chunkLeft -= size
    if (chunkLeft === 0) state = 'data-end'
    return from + size
  }

  function takeDataEnd(bytes: Uint8Array, from: number): number {
    const line = lines.read(bytes, from, 1, () => invalidChunk('The data of a chunk is longer than its size.'))
    if (line === null) return lines.next()
    if (line !== '\r') throw invalidChunk('The data of a chunk is longer than its size.')
    options.onChunkEnd?.(chunk.signature)
    state = 'header'
    return lines.next()
  }

  function takeTrailer(bytes: Uint8Array, from: number): number {
    const line = lines.read(bytes, from, trailer.bytesLeft(), () => new S3Error('MalformedTrailerError'))
    if (line !== null && trailer.add(line)) state = 'end'
    return lines.next()
  }

  const take = { header: takeHeader, data: takeData, 'data-end': takeDataEnd, trailer: takeTrailer, end: createSpareReader() }

  return {
    push(bytes) {
      let at = 0
      while (at < bytes.length) at = take[state](bytes, at)
    },
    finish() {
      if (state === 'trailer' && !(trailer.isEmpty() && lines.isEmpty())) throw new S3Error('MalformedTrailerError')
      if (state !== 'end') throw new S3Error('IncompleteBody')
      const end = trailer.end()
      if (options.signed && options.trailer && end.trailerSignature === null) throw new S3Error('MalformedTrailerError')
      return end
    },
  }
}
