import { dirname, join } from 'node:path'
import { S3Error } from '../domain/errors.ts'
import { batchBodiesMax, batchBytesMax, carriedMs, segmentBytesMax, segmentLanes } from '../domain/limits.ts'
import type { CarriedRecord, Placement } from '../domain/model.ts'
import { encodeSegmentHeader, processToken, recordBytes, recordHeaderBytes, segmentHeaderBytes, segmentPath, writeError } from '../storage/backend.ts'
import type { Drive, IoFailure, Log } from '../storage/backend.ts'
import type { Meters } from '../telemetry/metrics.ts'
import { refusalError } from '../workers/digester.ts'
import type { ChunkMark, DigestEnd, DigestPlan } from '../workers/digester.ts'
import type { WorkerPool } from '../workers/pool.ts'
import { sealBodies } from '../workers/seal.ts'
import type { Announced, BatchBodies, Sealed } from '../workers/seal.ts'
import type { BatchOutcome } from '../workers/worker.ts'
import { createCarrying } from './carrying.ts'
import type { ForgetCarried } from './carrying.ts'
import { createSegments, doubt } from './segments.ts'
import type { Segment } from './segments.ts'

/** A small body that was received whole. */
export interface SmallBody {
  readonly blob: string
  readonly chunks: readonly Uint8Array[]
  readonly length: number
  readonly owner: { readonly bucketId: number; readonly key: string }
  readonly plan: DigestPlan
  readonly end: DigestEnd
  readonly marks: readonly ChunkMark[]
  /**
   * Called when its group is on its way to the disk. A small body that is alone in its group is hashed by then, and with it comes what it
   * will be answered with, unless its write fails. Not called for one that is carried: nothing is to be waited for.
   */
  readonly writing: ((foreseen: Appended | null) => void) | null
  /** Whether whoever commits the body would bring its record to the database, were it written now; null: never. */
  readonly mayBeCarried: (() => boolean) | null
}

export interface Appended {
  readonly place: Placement
  readonly md5: string
  readonly checksum: string
  /** Not null: not synced yet, and to be committed with the row that names it. */
  readonly carried: CarriedRecord | null
}

/**
 * Group commit of small bodies. Each lane appends to a segment of its own, one group at a time: while one lane is being
 * synced, the next group gathers for the other. Groups close when a lane is free, never on a timer.
 */
export interface Packed {
  /** Resolves when the record is durable, or is one that is carried. Rejects with the refusal of this body, or with the error of the group's write. */
  append(body: SmallBody): Promise<Appended>
  /** Names of the segments that this process still appends to. */
  active(): ReadonlySet<string>
  /** Ends the segments that nobody is writing to just now, so that the sweeper may look at them: on a full disk they are what it can free. */
  seal(): void
  /** Waits for what is queued, then closes the segments. */
  close(): Promise<void>
}

interface Waiting {
  readonly body: SmallBody
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: Error) => void
}

/** A reserve pays for few bodies, which wait for little else; many share the cost of a longer file, and would write twice as much. */
const reservedBodiesMax = 4

/** So many records that are carried are synced at once: a later sync has more to write, while commits wait for the same disk. */
const carriedRecordsMax = 256

/** Hashed in some ten microseconds: whoever comes meanwhile does not notice. */
const hashedHereBytesMax = 16 * 1024

interface Lane {
  segment: Segment | null
  buffer: SharedArrayBuffer
  running: Promise<void> | null
}

export interface PackedOptions {
  readonly pool: WorkerPool
  readonly drive: () => Drive
  readonly log: Log
  readonly synced: boolean
  readonly segmentBytes?: number
  readonly meters: Meters
  /** Called when the database need not carry the records of a segment before `below` any more; null: it carries none. */
  readonly forgetCarried: ForgetCarried | null
}

export function createPacked(options: PackedOptions): Packed {
  const { pool, log, meters } = options
  const segmentBytes = options.segmentBytes ?? segmentBytesMax
  const queue: Waiting[] = []
  const lanes: Lane[] = Array.from({ length: segmentLanes }, () => ({ segment: null, buffer: new SharedArrayBuffer(256 * 1024), running: null }))
  const carrying = createCarrying({ forget: options.synced ? options.forgetCarried : null, log })
  const segments = createSegments({ drive: options.drive, carrying, segmentBytes, log, synced: (seconds) => meters.syncs.of('segment').observe(seconds) })
  let scheduled = false
  let carriedTimer: NodeJS.Timeout | null = null

  /** Bodies that arrive in one turn of the event loop share a group: the turn's end is free of charge. */
  function schedule(): void {
    if (scheduled) return
    scheduled = true
    setImmediate(pump)
  }

  function pump(): void {
    scheduled = false
    for (const lane of lanes) {
      if (queue.length === 0) return
      if (lane.running !== null) continue
      occupy(lane, commit(lane, takeGroup(queue)))
    }
  }

  /** One thing at a time is done with the segment of a lane. */
  function occupy(lane: Lane, work: Promise<void>): void {
    lane.running = work.finally(() => {
      lane.running = null
      if (queue.length > 0) schedule()
    })
  }

  async function commit(lane: Lane, group: readonly Waiting[]): Promise<void> {
    try {
      if (lane.segment !== null && doubt(lane.segment) !== null) retire(lane, lane.segment)
      const segment = lane.segment ?? segments.open()
      lane.segment = segment
      const headBytes = segment.at === 0 ? segmentHeaderBytes : 0
      const { bodies, end } = layOut(lane, headBytes, group)
      const inTheWay = segment.reserve.makeWay(segment.at + end)
      if (inTheWay !== null) await inTheWay
      const task = {
        buffer: lane.buffer, fd: segment.fd, at: segment.at, headBytes, bodies, synced: options.synced,
        newIn: segment.at === 0 ? dirname(join(segment.drive.root, segmentPath(segment.name))) : null,
      }
      const sealed = isSmallAndAlone(group) ? sealBodies(task, Buffer.from(lane.buffer)) : null
      const [first] = group
      if (first !== undefined && sealed !== null && mayBeCarried(first, segment, sealed)) return await carry(lane, segment, first, sealed)
      const writing = pool.batch(sealed === null ? task : { ...task, bodies: sealed })
      announce(group, segment, sealed)
      const outcome = await writing
      const failure = outcome.failure ?? doubt(segment)
      if (failure !== null) abandon(lane, segment)
      else {
        segment.at += outcome.written
        segment.reserve.passed(segment.at, options.synced && group.length <= reservedBodiesMax)
      }
      meters.segmentGroups.observe(group.length)
      meters.syncs.of('segment').observe(outcome.syncSeconds)
      settle(group, segment, outcome, failure, log)
      if (segment.at >= segmentBytes && lane.segment === segment) retire(lane, segment)
    } catch (error) {
      if (lane.segment !== null) abandon(lane, lane.segment)
      const failure = error instanceof S3Error ? error : new S3Error('InternalError', undefined, { cause: error })
      if (failure !== error) log.error('group commit failed', { error: String(error) })
      for (const { reject } of group) reject(failure)
    }
  }

  function mayBeCarried({ body }: Waiting, segment: Segment, { refusals, end }: Sealed): boolean {
    return body.mayBeCarried?.() === true && refusals.size === 0 && carrying.allows(segment, end, segment.at + end)
  }

  /** Writes the record of a body that is alone, which whoever commits it brings to the database: it is synced later, with others. */
  async function carry(lane: Lane, segment: Segment, { resolve, reject }: Waiting, sealed: Sealed): Promise<void> {
    const bytes = Buffer.from(Buffer.from(lane.buffer, 0, sealed.end))
    const failure = carrying.write(segment, bytes)
    if (failure !== null) {
      abandon(lane, segment)
      return reject(writeError(segment.drive, failure, log))
    }
    const at = segment.at
    segment.at += bytes.length
    segment.reserve.passed(segment.at, true)
    meters.segmentGroups.observe(1)
    resolve({ ...appended(segment, at, sealed.md5s, sealed.checksums), carried: { segment: segment.name, at, bytes } })
    carriedTimer ??= setTimeout(syncAll, carriedMs).unref()
    if (segment.carried >= carriedRecordsMax) await syncLane(lane, segment)
    if (segment.at >= segmentBytes && lane.segment === segment) retire(lane, segment)
  }

  function syncAll(): void {
    carriedTimer = null
    for (const lane of lanes) {
      if (lane.segment === null || lane.segment.carried === 0) continue
      if (lane.running === null) occupy(lane, syncLane(lane, lane.segment))
      else carriedTimer ??= setTimeout(syncAll, carriedMs).unref()
    }
  }

  async function syncLane(lane: Lane, segment: Segment): Promise<void> {
    if (!(await segments.syncCarried(segment))) abandon(lane, segment)
  }

  function retire(lane: Lane, segment: Segment): void {
    lane.segment = null
    segments.retire(segment)
  }

  function abandon(lane: Lane, segment: Segment): void {
    lane.segment = null
    segments.abandon(segment)
  }

  meters.watch('holdfast_queue_length', () => [['segments', queue.length]])
  return {
    append: (body) => new Promise((resolve, reject) => {
      queue.push({ body, resolve, reject })
      schedule()
    }),
    seal() {
      for (const lane of lanes) if (lane.running === null && lane.segment !== null && lane.segment.at > 0) retire(lane, lane.segment)
    },
    active: () => new Set([...segments.ending(), ...lanes.flatMap(({ segment }) => segment ?? [])].map(({ name }) => name)),
    async close() {
      while (queue.length > 0 || lanes.some((lane) => lane.running !== null)) {
        pump()
        await Promise.all(lanes.map((lane) => lane.running))
      }
      for (const lane of lanes) if (lane.segment !== null) (lane.segment.at === 0 ? abandon : retire)(lane, lane.segment)
      await segments.close()
      if (carriedTimer !== null) clearTimeout(carriedTimer)
      await carrying.close()
    },
  }
}

/** Takes the oldest bodies that fit one group; at least one. */
function takeGroup(queue: Waiting[]): Waiting[] {
  let bytes = 0
  let count = 0
  while (count < queue.length && count < batchBodiesMax && (count === 0 || bytes < batchBytesMax)) bytes += queue[count++]?.body.length ?? 0
  return queue.splice(0, count)
}

/** Copies the bodies and keys of a group to the lane's buffer, each where its record will be; `end` is where the last one ends at most. */
function layOut(lane: Lane, headBytes: number, group: readonly Waiting[]): { bodies: BatchBodies; end: number } {
  const bodies = columnsOf(group)
  const starts: number[] = []
  let end = headBytes
  for (const [index, length] of bodies.lengths.entries()) {
    starts.push(end)
    end += recordBytes(length, bodies.keyBytes[index] ?? 0)
  }
  if (end > lane.buffer.byteLength) lane.buffer = new SharedArrayBuffer(2 ** Math.ceil(Math.log2(end)))
  const buffer = Buffer.from(lane.buffer)
  if (headBytes > 0) encodeSegmentHeader(buffer, { createdAt: Date.now(), writer: processToken })
  group.forEach(({ body }, index) => {
    let at = (starts[index] ?? 0) + recordHeaderBytes
    for (const chunk of body.chunks) {
      buffer.set(chunk, at)
      at += chunk.length
    }
    buffer.write(body.owner.key, at, 'utf8')
  })
  return { bodies, end }
}

function columnsOf(group: readonly Waiting[]): BatchBodies {
  let blobs = ''
  const lengths: number[] = []
  const keyBytes: number[] = []
  const bucketIds: number[] = []
  const plans: DigestPlan[] = []
  const announced = new Map<number, Announced>()
  group.forEach(({ body: { blob, length, owner, plan, end, marks } }, index) => {
    blobs += blob
    lengths.push(length)
    keyBytes.push(Buffer.byteLength(owner.key))
    bucketIds.push(owner.bucketId)
    plans.push(plan)
    if (end.checksums.length > 0 || end.trailer !== null || marks.length > 0) announced.set(index, { end, marks })
  })
  return { blobs, lengths, keyBytes, bucketIds, plans, announced }
}

/**
 * A small body that is alone is hashed here, before its bytes are on their way: that takes less than to wake a thread, and as all is
 * known of it then, its row can be on its way to the database meanwhile.
 */
function isSmallAndAlone(group: readonly Waiting[]): boolean {
  return group.length === 1 && group.every(({ body }) => body.length <= hashedHereBytesMax)
}

/** Tells the bodies of a group that they are on their way; `sealed`: of the only one, which is not when it is refused. */
function announce(group: readonly Waiting[], segment: Segment, sealed: Sealed | null): void {
  if (sealed !== null && sealed.refusals.size > 0) return
  const foreseen = sealed && appended(segment, sealed.at[0] ?? -1, sealed.md5s, sealed.checksums)
  for (const { body } of group) body.writing?.(foreseen)
}

/** Gives each body of a group its own answer: a refusal is its own, a failed write is everybody's. */
function settle(group: readonly Waiting[], segment: Segment, outcome: BatchOutcome, failure: IoFailure | null, log: Log): void {
  const failed = failure === null ? null : writeError(segment.drive, failure, log)
  const md5s = outcome.md5s.split(' ')
  const checksums = outcome.checksums.split(' ')
  group.forEach(({ resolve, reject }, index) => {
    const refusal = outcome.refusals.get(index)
    const at = outcome.at[index] ?? -1
    const md5 = md5s[index] ?? ''
    if (refusal !== undefined) reject(refusalError(refusal))
    else if (failed !== null) reject(failed)
    else if (md5 === '' || at < 0) reject(new S3Error('InternalError'))
    else resolve(appended(segment, at, md5, checksums[index] ?? ''))
  })
}

function appended({ drive, name }: Segment, at: number, md5: string, checksum: string): Appended {
  return { place: { kind: 'segment', drives: [drive.id], segment: name, at }, md5, checksum, carried: null }
}
