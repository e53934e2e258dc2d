import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CheckPosition, CheckStore, SweepStore } from '../metadata/store.ts'
import type { Drive, Log } from './backend.ts'
import { codeOf, durably, isFull } from './local/drive.ts'
import { scrubRow } from './scrub.ts'
import type { Finding, ScrubCounts } from './scrub.ts'

/** Where a drive keeps how far the scrub of a running server has come. */
export const positionName = 'scrub.json'

/**
 * Reads all bytes that rows name, slowly, over and over, so that rot is found before the last good copy elsewhere is thrown away.
 * It keeps its place across restarts. The other way round, from bytes to rows, is the sweeper's walk for orphans.
 * Only one process at a time may run it.
 */
export interface Scrubber {
  start(): void
  /** Ends between two blocks and keeps the place. */
  stop(): Promise<void>
  /** One pass now, from the place that was kept to the end; for tests. */
  runOnce(): Promise<void>
  status(): ScrubStatus
}

export interface ScrubStatus {
  /** Passes that were ended since the data folder was made. */
  readonly passes: number
  /** When the last one ended; null when none did. */
  readonly lastPassAt: number | null
  readonly bytesRead: number
  readonly rowsChecked: number
  /** Differences since the server started, by kind. */
  readonly findings: Readonly<Record<string, number>>
}

export interface ScrubberOptions {
  readonly store: CheckStore & Pick<SweepStore, 'relocations'>
  readonly drives: readonly Drive[]
  readonly log: Log
  /** 0: off. */
  readonly bytesPerSecond: number
  /** Runs a pass while no other process scrubs; null when one does. Without: there is no other. */
  readonly alone?: (pass: () => Promise<void>) => Promise<void | null>
  readonly firstAfterMs?: number
  readonly passEveryMs?: number
}

interface Kept {
  readonly format: 1
  readonly after: CheckPosition | null
  readonly passes: number
  readonly lastPassAt: number | null
}

/** A start has more urgent things to do. */
const firstAfterMsDefault = 60_000
/** Small data is not read again all the time. */
const passEveryMsDefault = 3_600_000
const keepEveryMs = 30_000
/** A small record costs the disk as much as some blocks that are read in order. */
const costBytesMin = 16 * 1024

export function createScrubber(options: ScrubberOptions): Scrubber {
  const { store, drives, log, bytesPerSecond } = options
  const ending = new AbortController()
  const counts: ScrubCounts['rows'] = { checked: 0, extents: 0, bytesRead: 0, digestsCompared: 0, changedMeanwhile: 0 }
  const findings: Record<string, number> = {}
  const firstAfterMs = options.firstAfterMs ?? firstAfterMsDefault
  const alone = options.alone ?? ((run: () => Promise<void>) => run())
  let kept: Kept | null = null
  let running: Promise<void> = Promise.resolve()
  const pace = createPace(bytesPerSecond, ending.signal)

  const found = (finding: Finding): void => {
    findings[finding.kind] = (findings[finding.kind] ?? 0) + 1
    const { object, kind, blob, place, detail } = finding
    log.error('scrub: an object is not as it was written', { ...object, kind, blob, place, detail })
  }
  const check = { store, drives, found, pace, stopping: () => ending.signal.aborted, share: null, digests: false }

  async function pass(): Promise<void> {
    const [drive] = drives
    if (drive === undefined) return
    // Another replica may have gone on from there.
    if (kept === null || options.alone !== undefined) kept = await readKept(drive)
    let keptAt = performance.now()
    for (;;) {
      const { rows, next } = await store.checkedRows(kept.after)
      for (const row of rows) {
        await scrubRow(check, row, counts)
        if (ending.signal.aborted) return keep(drive, kept, log)
        kept = { ...kept, after: row.position }
        if (performance.now() - keptAt < keepEveryMs) continue
        await keep(drive, kept, log)
        keptAt = performance.now()
      }
      if (next === null) break
    }
    kept = { ...kept, after: null, passes: kept.passes + 1, lastPassAt: Date.now() }
    await keep(drive, kept, log)
  }

  async function loop(): Promise<void> {
    let waitMs = firstAfterMs
    while (await rested(waitMs, ending.signal)) {
      const begun = performance.now()
      const done = await alone(pass).catch((error: unknown) => log.warn('scrub was broken off and goes on later', { error: String(error) }))
      waitMs = done === null ? firstAfterMs : Math.max(0, begun + (options.passEveryMs ?? passEveryMsDefault) - performance.now())
    }
  }

  return {
    start() {
      if (bytesPerSecond > 0) running = loop()
    },
    async stop() {
      ending.abort()
      await running
    },
    runOnce: () => (running = running.then(pass)),
    status: () => ({ passes: kept?.passes ?? 0, lastPassAt: kept?.lastPassAt ?? null, bytesRead: counts.bytesRead, rowsChecked: counts.checked, findings: { ...findings } }),
  }
}

/** False when it was ended. */
async function rested(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal, ref: false }).catch(() => false)
}

/** Spreads reads evenly: each waits until what was read before it is paid for. */
function createPace(bytesPerSecond: number, signal: AbortSignal): (bytes: number) => Promise<void> {
  let paidUntil = 0
  return async (bytes) => {
    if (bytesPerSecond === 0) return
    const now = performance.now()
    const waitMs = paidUntil - now
    paidUntil = Math.max(paidUntil, now) + (Math.max(bytes, costBytesMin) * 1000) / bytesPerSecond
    if (waitMs > 0) await rested(waitMs, signal)
  }
}

async function readKept(drive: Drive): Promise<Kept> {
  const none: Kept = { format: 1, after: null, passes: 0, lastPassAt: null }
  try {
    const read = JSON.parse(await readFile(join(drive.root, positionName), 'utf8')) as Kept
    return read.format === 1 ? read : none
  } catch (error) {
    if (error instanceof SyntaxError || codeOf(error) === 'ENOENT') return none
    throw error
  }
}

/** Losing the place costs a pass from the start, nothing else. */
async function keep(drive: Drive, kept: Kept, log: Log): Promise<void> {
  try {
    await durably({ root: drive.root, tmp: drive.tmp, path: positionName }, async (fd) => {
      writeFileSync(fd, JSON.stringify(kept))
      return true
    })
  } catch (error) {
    if (!isFull(error)) log.warn('the place of the scrub could not be kept', { error: String(error) })
  }
}
