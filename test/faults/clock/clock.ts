import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { randomUUID } from 'node:crypto'
import { preloadedLibrary } from '../journal/library.ts'

/** The time of day of a server and its PostgreSQL, to be moved while they run. */
export interface Clock {
  /** For the server that is to live by it. */
  readonly env: Readonly<Record<string, string>>
  /** What it says now, in epoch ms. */
  now(): number
  /** How far it is from the true time. */
  readonly offsetMs: number
  jumpTo(offsetMs: number): void
  remove(): Promise<void>
}

export const clockLibrary = (): Promise<string> => preloadedLibrary(fileURLToPath(new URL('clock.c', import.meta.url)), 'Jumps of the clock')

/** Why its tests cannot run on this machine; null where they can. In CI they must. */
export async function clockMissing(): Promise<string | null> {
  if (process.env['CI'] === 'true') return null
  return clockLibrary().then(() => null, (error: Error) => error.message)
}

export async function openClock(): Promise<Clock> {
  const library = await clockLibrary()
  const file = join(tmpdir(), `holdfast-clock-${randomUUID()}`)
  const bytes = Buffer.alloc(8)
  let offsetMs = 0
  // In place: whoever has mapped it sees the new one with the next look at the clock.
  const write = (): void => writeFileSync(file, bytes, { flag: 'r+' })
  writeFileSync(file, bytes)
  return {
    env: { LD_PRELOAD: library, CLOCK_OFFSET_FILE: file },
    now: () => Date.now() + offsetMs,
    get offsetMs() {
      return offsetMs
    },
    jumpTo(target) {
      offsetMs = target
      bytes.writeBigInt64LE(BigInt(target) * 1_000_000n)
      write()
    },
    remove: () => rm(file, { force: true }),
  }
}
