import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { failpoint } from '../domain/failpoint.ts'
import { assertWritable, createReserve, distrusted, ioFailure, segmentPath, syncData, writeError } from '../storage/backend.ts'
import type { Drive, IoFailure, Log, Reserve } from '../storage/backend.ts'
import type { CarriedSegment, Carrying } from './carrying.ts'

/** A segment that this process appends to, one group at a time. */
export interface Segment extends CarriedSegment {
  readonly drive: Drive
  /** Where the next group begins; 0 until the first one is durable. */
  at: number
  readonly reserve: Reserve
  /** A write to it failed, or a sync, of which a later sync says nothing. */
  broken: boolean
}

/** From the first group of a segment to its last. */
export interface Segments {
  /** A restart never appends to an old segment, so the name is new each time. */
  open(): Segment
  /** Nothing is appended to it any more: what is still to be done is done behind the caller's back. */
  retire(segment: Segment): void
  /** The same after a failed write: the tail of the segment is unknown, and is cut off. */
  abandon(segment: Segment): void
  /**
   * Whether all that the segment holds is synced now. What is not stays in the database until the next start, which writes it again.
   * Nobody may append to it meanwhile, nor sync it by its descriptor, who might use up an error.
   */
  syncCarried(segment: Segment): Promise<boolean>
  /** Those that were retired and are not closed yet. */
  ending(): Iterable<Segment>
  /** Waits for those. */
  close(): Promise<void>
}

export interface SegmentsOptions {
  readonly drive: () => Drive
  readonly carrying: Carrying
  readonly segmentBytes: number
  readonly log: Log
  /** How long a sync took. */
  readonly synced: (seconds: number) => void
}

export function createSegments({ drive, carrying, segmentBytes, log, synced }: SegmentsOptions): Segments {
  const ending = new Map<Segment, Promise<void>>()

  function retire(segment: Segment): void {
    const closing = segment.reserve.close()
    if (closing === null && segment.carried === 0) return end(segment)
    ending.set(segment, endLater(segment, closing).finally(() => ending.delete(segment)))
  }

  async function endLater(segment: Segment, closing: Promise<void> | null): Promise<void> {
    await closing
    await syncCarried(segment)
    end(segment)
  }

  function end(segment: Segment): void {
    try {
      if (segment.at > 0) ftruncateSync(segment.fd, segment.at)
      closeSync(segment.fd)
    } catch (error) {
      log.warn('segment was not closed cleanly', { segment: segment.name, error: String(error) })
    }
  }

  async function syncCarried(segment: Segment): Promise<boolean> {
    if (segment.carried === 0) return true
    if (segment.broken || doubt(segment) !== null) return false
    const began = performance.now()
    try {
      await syncData(segment.fd)
      failpoint?.('carried synced')
    } catch (error) {
      writeError(segment.drive, ioFailure(error), log)
      return false
    } finally {
      synced((performance.now() - began) / 1000)
    }
    if (doubt(segment) !== null) return false
    carrying.synced(segment)
    return true
  }

  return {
    open: () => openSegment(drive(), segmentBytes, log),
    retire,
    abandon(segment) {
      segment.broken = true
      retire(segment)
      try {
        if (segment.at === 0) unlinkSync(join(segment.drive.root, segmentPath(segment.name)))
      } catch (error) {
        log.warn('abandoned segment was not removed', { segment: segment.name, error: String(error) })
      }
    },
    syncCarried,
    ending: () => ending.keys(),
    close: async () => void await Promise.all(ending.values()),
  }
}

/** Why a group of this segment is not durable though its own sync said so; null when there is no such reason. */
export function doubt({ drive, reserve }: Segment): IoFailure | null {
  return reserve.failure ?? distrusted(drive)
}

/** Its name has 22 hex digits that sort by time for the eye. */
function openSegment(drive: Drive, segmentBytes: number, log: Log): Segment {
  assertWritable(drive)
  const name = `${Date.now().toString(16).padStart(12, '0')}${randomBytes(5).toString('hex')}`
  const path = join(drive.root, segmentPath(name))
  const fd = openSync(path, 'wx+', 0o600)
  failpoint?.('segment created')
  return { drive, name, fd, at: 0, carried: 0, broken: false, reserve: createReserve({ drive, path, bytesMax: segmentBytes, log }) }
}
