import { randomFillSync } from 'node:crypto'
import { createHasher } from '../checksums/algorithms.ts'
import { crcs } from '../checksums/native.ts'
import { S3Error } from '../domain/errors.ts'
import { smallQueueBodiesMax, smallQueueBytesMax, uploadsMax } from '../domain/limits.ts'
import type { CarriedRecord, ChecksumAlgorithm, Extent, Placement } from '../domain/model.ts'
import { assertWritable, distrusted, writeError } from '../storage/backend.ts'
import type { Drive, Log } from '../storage/backend.ts'
import { countOne, type Meters } from '../telemetry/metrics.ts'
import { createDigester, refusalError } from '../workers/digester.ts'
import type { ChunkMark, DigestEnd, DigestPlan } from '../workers/digester.ts'
import type { WorkerPool } from '../workers/pool.ts'
import type { UploadOutcome } from '../workers/worker.ts'
import type { Slabs } from '../workers/slabs.ts'
import type { RequestBody, WriteOptions, WrittenBlob } from './blobs.ts'
import { framingOf, trailerEnd } from './framing.ts'
import { startLargeUpload } from './large.ts'
import type { Appended, Packed } from './packed.ts'
import { receive } from './receive.ts'
import type { Reception, Sink, Watchdog } from './receive.ts'

export interface Writer {
  readonly pool: WorkerPool
  readonly packed: Packed
  readonly slabs: Slabs
  readonly watchdog: Watchdog
  /** A drive that clients may write so many bytes to (0: nobody knows); throws ServiceUnavailable when there is none, InsufficientStorage when all are full. */
  readonly drive: (bytes: number) => Drive
  readonly smallBodyBytesMax: number
  readonly synced: boolean
  readonly meters: Meters
  readonly log: Log
  /** What is in hand now, for admission. */
  readonly load: { smallBytes: number; smallBodies: number; uploads: number }
}

/** Stores one body: a small one in a segment, together with others; a large one in a file of its own. */
export async function write(writer: Writer, body: RequestBody, options: WriteOptions): Promise<WrittenBlob> {
  if (body.length !== null && body.length > options.bytesMax) throw new S3Error('EntityTooLarge')
  const small = body.length !== null && body.length <= writer.smallBodyBytesMax
  return small ? writeSmall(writer, body, options) : writeLarge(writer, body, options)
}

/** A body that cannot be admitted is refused before a byte of it is read: memory is bounded by what is let in. */
function admit({ meters }: Writer, limit: string, allowed: boolean): void {
  if (allowed) return
  countOne(meters.limited, limit)
  throw new S3Error('SlowDown', undefined, { headers: { 'Retry-After': '1' } })
}

const noMarks: readonly ChunkMark[] = []
const never = (): boolean => false

async function writeSmall(writer: Writer, body: RequestBody, options: WriteOptions): Promise<WrittenBlob> {
  const { load } = writer
  const reserved = body.length ?? 0
  admit(writer, 'small_bodies', load.smallBodies < smallQueueBodiesMax && load.smallBytes < smallQueueBytesMax)
  if (reserved > 0) writer.drive(reserved)
  load.smallBodies += 1
  let taken = 0
  try {
    const chunks: Uint8Array[] = []
    const marks: ChunkMark[] = []
    let size = 0
    const sink: Sink = {
      full: never,
      copies: false,
      bytes(bytes) {
        chunks.push(bytes)
        size += bytes.length
        taken += bytes.length
        load.smallBytes += bytes.length
        admit(writer, 'small_bodies', load.smallBytes <= smallQueueBytesMax + reserved)
      },
      mark: (signature) => void marks.push([size, signature]),
    }
    const { trailer } = await receive(body, options.bytesMax, sink, framingOf(body), writer.watchdog).done
    const plan = digestPlan(body, options)
    const end = trailerEnd(options.expect, body.payload, trailer)
    if (size === 0) return emptyBody(plan, end, marks, options)
    const blob = newBlobId()
    const blobOf = ({ place, md5, checksum, carried }: Appended): WrittenBlob => written(blob, size, place, md5, checksum, options, carried)
    let foreseen: WrittenBlob | null = null
    const appended = await writer.packed.append({
      blob, chunks, length: size, owner: options.owner, plan, end, marks: marks.length === 0 ? noMarks : marks, mayBeCarried: options.mayBeCarried ?? null,
      writing: options.writing === undefined ? null : (ahead) => {
        foreseen = ahead === null ? null : blobOf(ahead)
        options.writing?.(foreseen)
      },
    })
    return foreseen ?? blobOf(appended)
  } finally {
    load.smallBodies -= 1
    load.smallBytes -= taken
  }
}

/** Nothing to keep, but everything that was announced is checked all the same. */
function emptyBody(plan: DigestPlan, end: DigestEnd, marks: readonly ChunkMark[], options: WriteOptions): WrittenBlob {
  const digester = createDigester(plan)
  const refusal = digester.update(new Uint8Array(0), marks)
  const digested = refusal === null ? digester.finish(end) : { ok: false as const, refusal }
  if (!digested.ok) throw refusalError(digested.refusal)
  return { size: 0, manifest: [], carried: null, md5: digested.md5, checksum: { algorithm: options.algorithm, type: 'FULL_OBJECT', value: digested.checksum } }
}

/**
 * Of a large body that is alone this thread, which has time then, computes the checksum that S3 stores for those that bring none: MD5 of
 * them all keeps a worker busy for 1.2 ms a MiB, and this one takes 0.5; without the native binding it would take the event loop's time.
 */
const sharedAlgorithm: ChecksumAlgorithm = 'CRC64NVME'
const mayShare = ({ algorithms }: DigestPlan): boolean => crcs.native && algorithms.includes(sharedAlgorithm)

async function writeLarge(writer: Writer, body: RequestBody, options: WriteOptions): Promise<WrittenBlob> {
  const { load } = writer
  admit(writer, 'uploads', load.uploads < uploadsMax)
  const drive = writer.drive(body.length ?? 0)
  assertWritable(drive)
  load.uploads += 1
  try {
    const blob = newBlobId()
    const plan = digestPlan(body, options)
    const elsewhere = load.uploads === 1 && mayShare(plan) ? sharedAlgorithm : null
    const session = writer.pool.upload({
      memory: writer.slabs.memory, root: drive.root, tmp: drive.tmp, blob, bucketId: options.owner.bucketId, key: options.owner.key, plan, elsewhere, synced: writer.synced,
    })
    let reception: Reception | null = null
    let received = false
    const large = startLargeUpload({ session, slabs: writer.slabs, hasher: elsewhere === null ? null : createHasher(elsewhere), onReady: () => reception?.ready() })
    // A worker that gives its verdict early ends the reception: the rest of the body is not wanted.
    const early = new Promise<never>((_, reject) => {
      large.outcome.then((outcome) => received || reject(outcomeError(writer, drive, outcome)), reject)
    })
    early.catch(() => undefined)
    try {
      reception = receive(body, options.bytesMax, large.sink, framingOf(body), writer.watchdog)
      const { size, trailer } = await Promise.race([reception.done, early])
      received = true
      const outcome = await large.finish(trailerEnd(options.expect, body.payload, trailer))
      if (!('md5' in outcome)) throw outcomeError(writer, drive, outcome)
      const failure = distrusted(drive)
      if (failure !== null) throw writeError(drive, failure, writer.log)
      writer.meters.syncs.of('file').observe(outcome.syncSeconds ?? 0)
      return written(blob, size, { kind: 'file', drives: [drive.id] }, outcome.md5, outcome.checksum, options)
    } catch (error) {
      received = true
      reception?.fail(error)
      await large.abort()
      throw error
    }
  } finally {
    load.uploads -= 1
  }
}

function outcomeError(writer: Writer, drive: Drive, outcome: UploadOutcome): S3Error {
  if ('refusal' in outcome) return refusalError(outcome.refusal)
  if ('failure' in outcome) return writeError(drive, outcome.failure, writer.log)
  return new S3Error('IncompleteBody')
}

const randomPool = Buffer.alloc(16 * 1024)
let randomUsed = randomPool.length

/** Random bytes are drawn by the kilobyte: one draw costs as much as a thousand ids. */
function newBlobId(): string {
  if (randomUsed === randomPool.length) {
    randomFillSync(randomPool)
    randomUsed = 0
  }
  randomUsed += 16
  return randomPool.toString('hex', randomUsed - 16, randomUsed)
}

/** Plans that only compute are one object for each algorithm: a group's plans go to the worker as one then. */
const plainPlans = new Map<string, DigestPlan>()

function plainPlan(algorithm: ChecksumAlgorithm): DigestPlan {
  const known = plainPlans.get(algorithm)
  if (known !== undefined) return known
  const plan: DigestPlan = { algorithms: [algorithm], sha256: null, chain: null, md5: null }
  plainPlans.set(algorithm, plan)
  return plan
}

function digestPlan(body: RequestBody, options: WriteOptions): DigestPlan {
  const { expect, algorithm } = options
  const algorithms = [algorithm]
  for (const other of [expect.checksum?.algorithm, expect.trailer]) if (other !== undefined && !algorithms.includes(other)) algorithms.push(other)
  const sha256 = body.payload.kind === 'sha256' ? body.payload.hex : null
  const chain = body.payload.kind === 'chunked-signed' ? body.payload.chain : null
  const md5 = expect.md5 ?? null
  if (algorithms.length === 1 && sha256 === null && chain === null && md5 === null) return plainPlan(algorithm)
  return { algorithms, sha256, chain, md5 }
}

function written(blob: string, size: number, place: Placement, md5: string, checksum: string, options: WriteOptions, carried: CarriedRecord | null = null): WrittenBlob {
  const extent: Extent = { blob, offset: 0, length: size, blobLength: size, codec: 'none', dataKey: null, place }
  return { size, manifest: size === 0 ? [] : [extent], carried, md5, checksum: { algorithm: options.algorithm, type: 'FULL_OBJECT', value: checksum } }
}
