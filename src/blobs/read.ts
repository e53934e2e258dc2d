import type { LRUCache } from 'lru-cache'
import { S3Error } from '../domain/errors.ts'
import { blockBytes, readPieceBytes } from '../domain/limits.ts'
import { sliceManifest } from '../domain/manifest.ts'
import type { Extent, Placement } from '../domain/model.ts'
import { blockOf, closeRead, openBlobFile, readRecord, readRecordAtHand, segmentPath } from '../storage/backend.ts'
import type { BlobFile, Block, Drive, Log } from '../storage/backend.ts'
import type { BlobReader } from './blobs.ts'
import type { ReadBuffers } from './buffers.ts'
import type { Descriptors } from './descriptors.ts'

export interface ReadContext {
  /** By the number that placements name. */
  readonly drives: ReadonlyMap<number, Drive>
  readonly buffers: ReadBuffers
  readonly descriptors: Descriptors
  /** Reads and verifies a block into the first bytes of a buffer of `buffers`, on another thread. */
  readonly readBlock: (block: Block, buffer: Uint8Array) => Promise<Uint8Array>
  /** Block tables that were verified, by blob. */
  readonly tables: LRUCache<string, Uint32Array>
  /** Where compaction put records that are not at their place any more. */
  readonly relocations: (blobs: readonly string[]) => Promise<ReadonlyMap<string, Placement>>
  /** Blobs that open readers have yet to open, with how many readers: the sweeper leaves them alone. */
  readonly pins: Map<string, number>
  /** Called for each blob that could not be read as it was written. */
  readonly onRot: (blob: string) => void
  readonly log: Log
}

/** One piece of a read: a whole small record, or a part of one block of a file. */
interface Step {
  readonly extent: Extent
  readonly from: number
  readonly to: number
}

interface Chunk {
  readonly bytes: Uint8Array
  /** The buffer to give back, null when the bytes have memory of their own. */
  readonly buffer: Uint8Array | null
}

/** Bytes `[start, end)` of the manifest, see the door. */
export async function read(context: ReadContext, manifest: readonly Extent[], start: number, end: number): Promise<BlobReader> {
  const extents = sliceManifest(manifest, start, end)
  const [only] = extents
  if (only === undefined) return wholeReader(new Uint8Array(0))
  if (extents.length === 1 && only.place.kind === 'segment') return wholeReader(recordAtHand(context, only) ?? (await recordPart(context, only)))
  return streamReader(context, extents)
}

function wholeReader(whole: Uint8Array): BlobReader {
  let given = whole.length === 0
  return {
    whole,
    async next() {
      if (given) return null
      given = true
      return whole
    },
    close: () => undefined,
  }
}

/** Each step is one buffer: blocks are read whole because that is what their checksum covers. */
function* stepsOf(extents: readonly Extent[]): Generator<Step> {
  for (const extent of extents) {
    const end = extent.offset + extent.length
    if (extent.place.kind === 'segment') yield { extent, from: extent.offset, to: end }
    else for (let from = extent.offset; from < end; ) {
      const to = Math.min(end, (Math.floor(from / blockBytes) + 1) * blockBytes)
      yield { extent, from, to }
      from = to
    }
  }
}

/** Reads step by step, one buffer ahead of the consumer while buffers are plenty. The first step is done before it resolves. */
async function streamReader(context: ReadContext, extents: readonly Extent[]): Promise<BlobReader> {
  const steps = stepsOf(extents)
  const unpin = pin(context.pins, extents)
  let file: BlobFile | null = null
  let current: Chunk | null = null
  let ahead: Promise<Chunk> | null = null
  /** What is left of a step that was read without a buffer of its own. */
  let rest: Step | null = null
  /** The load that was begun last: until it has ended it may use the file, or bring one. */
  let loading: Promise<unknown> = Promise.resolve()
  let closed = false

  async function load(step: Step, buffer: Uint8Array | null): Promise<Chunk> {
    try {
      if (step.extent.place.kind === 'segment') {
        if (buffer !== null) context.buffers.release(buffer)
        return { bytes: await recordPart(context, { ...step.extent, offset: step.from, length: step.to - step.from }), buffer: null }
      }
      if (file?.blob !== step.extent.blob) {
        if (file !== null) closeRead(file.fd)
        file = null
        file = await openFile(context, step.extent)
      }
    } catch (error) {
      if (buffer !== null && step.extent.place.kind === 'file') context.buffers.release(buffer)
      throw error
    }
    const target = buffer ?? (await context.buffers.acquire())
    if (target === null) return loadPiece(step, file)
    try {
      const index = Math.floor(step.from / blockBytes)
      const block = await context.readBlock(blockOf(file, index), target)
      return { bytes: block.subarray(step.from - index * blockBytes, step.to - index * blockBytes), buffer: target }
    } catch (error) {
      context.buffers.release(target)
      throw rotten(context, step.extent, error)
    }
  }

  /** A piece of the step in memory of its own: the whole block is read and verified for it, but a client that takes nothing holds no more than this. */
  async function loadPiece(step: Step, from: BlobFile): Promise<Chunk> {
    const index = Math.floor(step.from / blockBytes)
    const to = Math.min(step.to, step.from + readPieceBytes)
    try {
      const bytes = await context.buffers.briefly(async (buffer) => (await context.readBlock(blockOf(from, index), buffer)).slice(step.from - index * blockBytes, to - index * blockBytes))
      rest = to < step.to ? { ...step, from: to } : null
      return { bytes, buffer: null }
    } catch (error) {
      throw rotten(context, step.extent, error)
    }
  }

  /** Starts the next step; null when there is none. `buffer` null means to wait for one. */
  function begin(buffer: Uint8Array | null): Promise<Chunk> | null {
    const step = rest ?? (steps.next().value as Step | undefined)
    rest = null
    if (step !== undefined) {
      const chunk = load(step, buffer)
      loading = chunk.catch(() => undefined)
      return chunk
    }
    if (buffer !== null) context.buffers.release(buffer)
    return null
  }

  function readAhead(): void {
    const buffer = context.buffers.spare()
    if (buffer === null) return
    ahead = begin(buffer)
    ahead?.catch(() => undefined)
  }

  function drop(chunk: Chunk | null): void {
    if (chunk !== null && chunk.buffer !== null) context.buffers.release(chunk.buffer)
  }

  function close(): void {
    if (closed) return
    closed = true
    unpin()
    drop(current)
    current = null
    void ahead?.then(drop, () => undefined)
    // The client may leave in the middle of a read: its descriptor must not become another file's under it.
    void loading.then(() => {
      if (file !== null) closeRead(file.fd)
    })
  }

  let first: Promise<Chunk> | null = begin(null)
  try {
    await first
  } catch (error) {
    close()
    throw error
  }
  return {
    whole: null,
    async next() {
      if (closed) return null
      drop(current)
      current = null
      const coming = first ?? ahead ?? begin(null)
      first = null
      ahead = null
      if (coming === null) return null
      const chunk = await coming.catch((error: unknown) => {
        close()
        throw error
      })
      if (closed) {
        drop(chunk)
        return null
      }
      current = chunk
      readAhead()
      return chunk.bytes
    },
    close() {
      const unused = first
      if (unused !== null && !closed) void unused.then(drop, () => undefined)
      first = null
      close()
    },
  }
}

/** Keeps blobs of later extents from being swept while earlier ones are still being sent. */
function pin(pins: Map<string, number>, extents: readonly Extent[]): () => void {
  const blobs = [...new Set(extents.map((extent) => extent.blob))]
  for (const blob of blobs) pins.set(blob, (pins.get(blob) ?? 0) + 1)
  return () => {
    for (const blob of blobs) {
      const left = (pins.get(blob) ?? 1) - 1
      if (left > 0) pins.set(blob, left)
      else pins.delete(blob)
    }
  }
}

async function openFile(context: ReadContext, extent: Extent): Promise<BlobFile> {
  let last: unknown = new Error(`no drive of blob ${extent.blob} is here`)
  for (const id of extent.place.drives) {
    const drive = context.drives.get(id)
    if (drive === undefined) continue
    try {
      const file = await openBlobFile(drive.root, extent.blob, extent.blobLength, context.tables.get(extent.blob))
      context.tables.set(extent.blob, file.blocks)
      return file
    } catch (error) {
      last = error
    }
  }
  throw rotten(context, extent, last)
}

/** The extent's bytes where the segment is open and the read is quick: no promise, no thread. Null when it takes more than that. */
function recordAtHand(context: ReadContext, extent: Extent): Uint8Array | null {
  const { place } = extent
  const drive = place.kind === 'segment' ? context.drives.get(place.drives[0] ?? -1) : undefined
  if (place.kind !== 'segment' || drive === undefined) return null
  const fd = context.descriptors.open(segmentFile(drive, place.segment))
  const body = fd === null ? null : readRecordAtHand(fd, place.at, extent.blob, extent.blobLength)
  return body === null ? null : partOf(body, extent)
}

const segmentFile = (drive: Drive, segment: string): string => `${drive.root}/${segmentPath(segment)}`

const partOf = (body: Uint8Array, extent: Extent): Uint8Array =>
  extent.length === body.length ? body : body.subarray(extent.offset, extent.offset + extent.length)

/** The extent's bytes out of its record, wherever the record is now. */
async function recordPart(context: ReadContext, extent: Extent): Promise<Uint8Array> {
  let body: Uint8Array
  try {
    body = await recordAt(context, extent, extent.place)
  } catch (error) {
    const moved = (await context.relocations([extent.blob])).get(extent.blob)
    if (moved === undefined) throw rotten(context, extent, error)
    body = await recordAt(context, extent, moved).catch((again: unknown) => Promise.reject(rotten(context, extent, again)))
  }
  return partOf(body, extent)
}

async function recordAt(context: ReadContext, extent: Extent, place: Placement): Promise<Uint8Array> {
  if (place.kind !== 'segment') throw new Error(`blob ${extent.blob} is not in a segment`)
  let last: unknown = null
  for (const id of place.drives) {
    const drive = context.drives.get(id)
    if (drive === undefined) continue
    try {
      return await context.descriptors.use(segmentFile(drive, place.segment), (fd) => readRecord(fd, place.at, extent.blob, extent.blobLength))
    } catch (error) {
      last = error
    }
  }
  throw last ?? new Error(`no drive of segment ${place.segment} is here`)
}

/** Rot and I/O errors are logged with the blob's id and answered alike: never with wrong bytes. */
function rotten(context: ReadContext, extent: Extent, error: unknown): S3Error {
  if (error instanceof S3Error) return error
  context.onRot(extent.blob)
  context.log.error('blob cannot be read', { blob: extent.blob, error: error instanceof Error ? error.message : String(error) })
  return new S3Error('InternalError', undefined, { status: 500, cause: error })
}
