import { createCaution } from '../domain/caution.ts'
import { failpoint } from '../domain/failpoint.ts'
import { carriedBytesMax } from '../domain/limits.ts'
import { ioFailure, writeFully } from '../storage/backend.ts'
import type { IoFailure, Log } from '../storage/backend.ts'

/**
 * Records that whoever commits them carries to the database with the row that names them (`CarriedRecord`): they are written here, to the
 * page cache, and synced a moment later, many at a time. Until then the database has their bytes.
 */
export interface Carrying {
  /** Whether a record may be written so now: `end` is where it will end. */
  allows(segment: CarriedSegment, bytes: number, end: number): boolean
  /** Writes a record that is carried to where the segment ends; what went wrong. */
  write(segment: CarriedSegment, bytes: Buffer): IoFailure | null
  /** What the segment holds up to its end is synced, and no doubt is left: the database may forget it. */
  synced(segment: CarriedSegment): void
  /** Waits until the database has been told. */
  close(): Promise<void>
}

export interface CarriedSegment {
  readonly name: string
  readonly fd: number
  readonly at: number
  readonly reserve: { holds(at: number): boolean }
  /** Records that are carried and not known to be synced. */
  carried: number
}

/** For so many records in all the database may have what is not synced yet: what a start reads and writes again, some 30 MiB at most. */
const carriedMax = 4096
/** Into the page cache a record goes in ten microseconds; where that takes milliseconds, the disk is busy and the main thread must not wait for it. */
const slowMs = 4
const cautionTimes = 100
const cautionMsMax = 60_000

/** The store's `forgetCarried`. */
export type ForgetCarried = (segment: string, below: number) => Promise<void>

/** `forget`: null: nothing is carried. */
export function createCarrying({ forget, log }: { forget: ForgetCarried | null; log: Log }): Carrying {
  const caution = createCaution(cautionTimes, cautionMsMax)
  const forgetting = new Set<Promise<void>>()
  let outstanding = 0

  async function tell(name: string, below: number, count: number): Promise<void> {
    try {
      await forget?.(name, below)
    } catch (error) {
      // They are told with the next ones of their segment, or found to be in their place by the next start.
      log.warn('synced records were not forgotten by the database', { segment: name, error: String(error) })
    } finally {
      outstanding -= count
    }
  }

  return {
    allows: (segment, bytes, end) =>
      forget !== null && segment.at > 0 && bytes <= carriedBytesMax && outstanding < carriedMax && segment.reserve.holds(end) && caution.allows(performance.now()),
    write(segment, bytes) {
      const began = performance.now()
      try {
        writeFully(segment.fd, bytes, segment.at)
        failpoint?.('record carried')
        segment.carried += 1
        outstanding += 1
        return null
      } catch (error) {
        return ioFailure(error)
      } finally {
        const now = performance.now()
        caution.took(now - began, now - began > slowMs, now)
      }
    },
    synced(segment) {
      if (segment.carried === 0) return
      const told = tell(segment.name, segment.at, segment.carried).finally(() => forgetting.delete(told))
      forgetting.add(told)
      segment.carried = 0
    },
    async close() {
      await Promise.all(forgetting)
    },
  }
}
