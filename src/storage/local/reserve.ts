import { close, open, write } from 'node:fs'
import { promisify } from 'node:util'
import type { Log } from '../backend.ts'
import { hasRoom, ioFailure, syncData, writeError } from './drive.ts'
import type { Drive, IoFailure } from './drive.ts'

/** So much is laid out at a time, and so much less than a step is left when the next one begins. */
const stepBytes = 1024 ** 2
const leftBytesMin = 256 * 1024

const zeros = new Uint8Array(stepBytes)
const openFile = promisify(open)
const writeAt = promisify(write)
const closeFile = promisify(close)

/**
 * Zeros that lie ahead of a segment's last record. To sync a group that makes the file longer is to commit the file system's journal
 * too; over blocks that are there already it is the data alone, less than half the time for a small group. Who appends and who lays
 * out never touch the same bytes: zeros go behind all that a group may reach.
 */
export interface Reserve {
  /** A group is to end at `at`: waits for zeros that are on their way, when it would meet them. */
  makeWay(at: number): Promise<void> | null
  /** Whether what ends at `at` goes over zeros that are on the disk, blocks and all. */
  holds(at: number): boolean
  /** A group has ended at `at`. With `lay`, lays out the next stretch in the background when little is left. */
  passed(at: number, lay: boolean): void
  /** A sync that failed: what the file holds from the reserve on is in doubt for good, whatever a later sync says. */
  readonly failure: IoFailure | null
  /** Nothing is written any more once this resolves; null when that is so already. */
  close(): Promise<void> | null
}

export interface ReserveOptions {
  readonly drive: Drive
  readonly path: string
  /** The file stays below this length: a full one counts as ended. */
  readonly bytesMax: number
  readonly log: Log
}

/** The reserve of a new segment; it opens the file only with its first stretch. When there is no room for zeros it only ends: groups find their own. */
export function createReserve({ drive, path, bytesMax, log }: ReserveOptions): Reserve {
  let end = 0
  let fd: number | null = null
  let running: Promise<void> | null = null
  let ended = false
  let failure: IoFailure | null = null

  async function layOut(from: number, to: number): Promise<void> {
    try {
      // A descriptor of its own: an error of a sync must not be used up here before a group's sync asks for it.
      fd ??= await openFile(path, 'r+')
      for (let at = from; at < to;) at += (await writeAt(fd, zeros, 0, to - at, at)).bytesWritten
      await syncData(fd)
      end = to
    } catch (error) {
      ended = true
      const met = ioFailure(error)
      if (met.phase !== 'write') failure = met
      writeError(drive, met, log)
    }
  }

  async function closeAfter(last: Promise<void> | null): Promise<void> {
    await last
    if (fd !== null) await closeFile(fd)
    fd = null
  }

  return {
    makeWay: (at) => (at > end ? running : null),
    holds: (at) => at <= end && failure === null,
    passed(at, lay) {
      end = Math.max(end, at)
      const to = Math.min(end + stepBytes, bytesMax - 1)
      if (!lay || ended || running !== null || end - at > leftBytesMin || to - end < leftBytesMin || drive.suspect !== null || !hasRoom(drive, to - end)) return
      running = layOut(end, to).finally(() => {
        running = null
      })
    },
    get failure() {
      return failure
    },
    close() {
      ended = true
      return fd === null && running === null ? null : closeAfter(running)
    },
  }
}
