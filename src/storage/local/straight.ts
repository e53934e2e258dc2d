import { closeSync, constants, openSync, write, writeSync } from 'node:fs'

/**
 * Writes past the page cache. A large body that goes through it is copied to pages that are new each time, and most of the time
 * of a write is spent on getting them; the sync behind it then has everything still to do. Straight from the slab to the disk neither
 * happens. What is written so is not in the page cache: its first reader asks the disk.
 */
export interface StraightFile {
  /** Resolves when all bytes are written; as with any write, only a sync makes them durable. */
  write(bytes: Uint8Array, at: number): Promise<void>
  /** To be called when no write is in flight. */
  close(): void
}

/** Such writes begin and end on a page, in memory and in the file. */
export const pageBytes = 4096
/** A write below it gains nothing: what is left over goes through the page cache, and to the disk with the sync. */
const straightBytesMin = 256 * 1024
/** Writes of this thread at once: each holds a thread of the I/O pool until the disk is done, and readers need these too. */
const writesMax = 4

let writes = 0
const waiting: (() => void)[] = []

async function inLimit(run: () => Promise<number>): Promise<number> {
  if (writes >= writesMax) await new Promise<void>((resolve) => void waiting.push(resolve))
  else writes += 1
  try {
    return await run()
  } finally {
    // The place goes to the next one as it is, so that nobody takes it in between.
    const next = waiting.shift()
    if (next === undefined) writes -= 1
    else next()
  }
}

function writeAt(fd: number, bytes: Uint8Array, at: number): Promise<number> {
  return inLimit(() => new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, at, (error, written) => (error === null ? resolve(written) : reject(error)))
  }))
}

export function writeFully(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}

const isUnfit = (error: unknown): boolean => error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'EOPNOTSUPP')

/** Null where the file system or the platform knows no such writes. */
function openDirect(path: string): number | null {
  if (!Number.isInteger(constants.O_DIRECT)) return null
  try {
    return openSync(path, constants.O_WRONLY | constants.O_DIRECT)
  } catch (error) {
    if (isUnfit(error)) return null
    throw error
  }
}

/** `fd` is a descriptor of the file at `path`, for what does not fit pages and for file systems without such writes. */
export function openStraight(fd: number, path: string): StraightFile {
  const direct = openDirect(path)
  let refused = direct === null

  /** How many bytes from the start of `bytes` went past the page cache. */
  async function writeDirect(bytes: Uint8Array, at: number): Promise<number> {
    const length = bytes.length - (bytes.length % pageBytes)
    if (direct === null || refused || at % pageBytes !== 0 || length < straightBytesMin) return 0
    try {
      return await writeAt(direct, bytes.subarray(0, length), at)
    } catch (error) {
      if (!isUnfit(error)) throw error
      refused = true
      return 0
    }
  }

  return {
    async write(bytes, at) {
      for (let done = await writeDirect(bytes, at); done < bytes.length; ) done += await writeAt(fd, bytes.subarray(done), at + done)
    },
    close() {
      if (direct !== null) closeSync(direct)
    },
  }
}
