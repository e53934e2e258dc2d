import { dirname, join } from 'node:path'
import type { OpenBlobs } from '../blobs/blobs.ts'
import { failpoint } from '../domain/failpoint.ts'
import { orphanAgeMs, segmentBytesMax, sweepGraceMs, sweepIntervalMs } from '../domain/limits.ts'
import type { CheckStore, SweepStore } from '../metadata/store.ts'
import type { Drive, Log } from './backend.ts'
import { compactSegment, orphanRecords } from './compaction.ts'
import { isFull, processToken, readMarker, syncFolder } from './local/drive.ts'
import { isSealed, listSegments, readNotes, removeBlobFile, removeFile, removeOldTemporaries, removeSegment, removeStrayNotes, walkFiles, writeNotes } from './local/inventory.ts'
import type { Holdings, SegmentFile, SegmentNotes, StoredFile } from './local/inventory.ts'
import { areTooMany, endAllowance, isAllowed } from './sweep-allowance.ts'

/**
 * The only deleter of bytes. It promises:
 * - It removes what a committed row released longer ago than the grace, or what no row names and is older than a day. Of a record that
 *   its own moves left twice it removes the one that the database does not mean, after it has read the other.
 * - It stops, and says why, when a drive is missing or foreign, when the database is younger than the drive, or when more than
 *   1 % of a drive would go as orphans.
 * - It may be killed anywhere: each step can be done again.
 * - Of all processes over one database one sweeps at a time. It asks the processes that serve beside it what they hold before it
 *   removes anything, and removes nothing while one does not answer. Who has resolved a version and not pinned its blobs yet is
 *   protected by the grace, here as there.
 */
export interface Sweeper {
  /** One pass. With `orphans`, also the walk over everything that is stored. */
  runOnce(pass?: { orphans?: boolean }): Promise<SweepReport>
  start(): void
  status(): SweeperStatus
  /** Ends the passes; one that runs ends between two of its steps, and the next start goes on from there. */
  stop(): Promise<void>
}

/** Sums since the server was started. */
export interface SweeperStatus {
  readonly passes: number
  /** When the last pass ended, epoch ms; null when none did. */
  readonly lastPassAt: number | null
  /** Why the last pass stopped; null when all went well. */
  readonly stopped: string | null
  readonly failedPasses: number
  readonly total: Readonly<Pass['count']>
}

export interface SweepReport {
  /** Why nothing (more) was removed; null when all went well. */
  readonly stopped: string | null
  readonly releasedFiles: number
  readonly releasedRecords: number
  readonly segmentsRemoved: number
  readonly recordsMoved: number
  readonly orphans: number
  /** Segments that could not be compacted. */
  readonly failures: number
}

/** The processes that serve the same drives beside this one. */
export interface Others {
  /** Rejects when one of them does not answer. */
  holdings(): Promise<readonly Holdings[]>
  /** Those that have it open let go of a file that was removed: their descriptor would keep the space. */
  forgetSegment(path: string): void
}

export type SweeperStore = SweepStore & Pick<CheckStore, 'fates'>

export interface SweeperOptions {
  readonly store: SweeperStore
  readonly drives: readonly Drive[]
  readonly blobs: Pick<OpenBlobs, 'pinned' | 'activeSegments' | 'append' | 'forgetSegment'>
  readonly others?: Others
  readonly log: Log
  readonly graceMs?: number
  readonly intervalMs?: number
  readonly orphanAgeMs?: number
  readonly segmentBytes?: number
  /** Passes between two walks for orphans. Default: about an hour's. */
  readonly orphanEvery?: number
}

/** What a pass hands around. */
export interface Pass extends Required<Pick<SweeperOptions, 'graceMs' | 'orphanAgeMs' | 'segmentBytes'>> {
  readonly store: SweeperStore
  readonly drives: readonly Drive[]
  readonly append: OpenBlobs['append']
  /** What all processes hold now. */
  readonly held: () => Promise<Holdings>
  readonly forgetSegment: (path: string) => void
  readonly log: Log
  /** The server is stopping, or another one may be sweeping: a walk over a large drive takes longer than anybody waits for that. */
  readonly stopping: () => boolean
  /** Dead records that could not be noted on a full disk, by `drive/segment`: lengths by blob. They stay in the release queue. */
  readonly unnoted: Map<string, Readonly<Record<string, number>>>
  readonly count: { releasedFiles: number; releasedRecords: number; segmentsRemoved: number; recordsMoved: number; orphans: number; failures: number }
}

const nothing: Pass['count'] = { releasedFiles: 0, releasedRecords: 0, segmentsRemoved: 0, recordsMoved: 0, orphans: 0, failures: 0 }
const releasedPage = 1000
/**
 * So many releases are gathered before the segments' notes are written: each of those is a file that is synced, and a thousand
 * overwritten keys lie in twenty segments.
 */
const notedAtOnce = 50_000
/** So many segments that fail are no matter of one segment: the drive or the database is in trouble, and the pass ends. */
const failuresMax = 10
/** A database that was made this much later than the drive cannot know all of the drive's blobs. */
const youngerByMs = 60_000

export function createSweeper(options: SweeperOptions): Sweeper {
  const intervalMs = options.intervalMs ?? sweepIntervalMs
  const orphanEvery = options.orphanEvery ?? Math.max(1, Math.round(3_600_000 / intervalMs))
  let timer: NodeJS.Timeout | null = null
  let running: Promise<unknown> = Promise.resolve()
  let passes = 0
  let stopping = false
  const done = { passes: 0, lastPassAt: null as number | null, stopped: null as string | null, failedPasses: 0, total: { ...nothing } }

  async function sweep(withOrphans: boolean, lost: () => boolean): Promise<SweepReport> {
    const pass: Pass = {
      store: options.store, drives: options.drives, log: options.log,
      append: (body) => options.blobs.append(body),
      held: () => heldByAll(options),
      forgetSegment(path) {
        options.blobs.forgetSegment(path)
        options.others?.forgetSegment(path)
      },
      graceMs: options.graceMs ?? sweepGraceMs,
      orphanAgeMs: options.orphanAgeMs ?? orphanAgeMs,
      segmentBytes: options.segmentBytes ?? segmentBytesMax,
      stopping: () => stopping || lost(),
      unnoted: new Map(),
      count: { ...nothing },
    }
    const doubt = await doubtOf(options)
    let stopped = doubt
    if (doubt === null) {
      await sweepReleased(pass, options.drives)
      for (const drive of options.drives) {
        if (withOrphans) stopped ??= await sweepOrphans(pass, drive)
        await sweepSegments(pass, drive)
      }
    }
    if (stopped !== null) options.log.error('sweeper stopped', { reason: stopped })
    done.passes += 1
    done.lastPassAt = Date.now()
    done.stopped = stopped
    for (const name of Object.keys(pass.count) as (keyof Pass['count'])[]) done.total[name] += pass.count[name]
    return { stopped, ...pass.count }
  }

  /** One pass after the other, whoever asks. */
  function runOnce(pass: { orphans?: boolean } = {}): Promise<SweepReport> {
    const alone = (): Promise<SweepReport | null> => options.store.sweeping((lost) => sweep(pass.orphans === true, lost))
    const result = running.then(async () => await alone() ?? { stopped: 'another process is sweeping', ...nothing })
    running = result.catch(() => undefined)
    return result
  }

  return {
    runOnce,
    start() {
      let idle = true
      timer ??= setInterval(() => {
        // A pass over a large drive takes longer than the interval.
        if (!idle) return
        idle = false
        runOnce({ orphans: passes++ % orphanEvery === 0 })
          .catch((error: unknown) => {
            done.failedPasses += 1
            options.log.error('sweep failed', { error: String(error) })
          })
          .finally(() => { idle = true })
      }, intervalMs)
      timer.unref()
    },
    status: () => ({ ...done, total: { ...done.total } }),
    async stop() {
      if (timer !== null) clearInterval(timer)
      timer = null
      stopping = true
      await running
    },
  }
}

async function heldByAll({ blobs, others }: SweeperOptions): Promise<Holdings> {
  const beside = await others?.holdings() ?? []
  const all = [...beside, { writers: new Set([processToken]), segments: blobs.activeSegments(), pinned: blobs.pinned() }]
  const union = (of: (each: Holdings) => ReadonlySet<string>): ReadonlySet<string> => new Set(all.flatMap((each) => [...of(each)]))
  return { writers: union((each) => each.writers), segments: union((each) => each.segments), pinned: union((each) => each.pinned), elsewhere: all.some((each) => each.elsewhere === true) }
}

/** Why nothing may be removed now, or null. */
export async function doubtOf(options: { store: Pick<SweepStore, 'drives'>; drives: readonly Pick<Drive, 'root' | 'uuid'>[] }): Promise<string | null> {
  const known = new Map((await options.store.drives()).map((drive) => [drive.uuid, drive]))
  for (const drive of options.drives) {
    const marker = await readMarker(drive.root).catch(() => null)
    if (marker === null) return `drive ${drive.root} is missing: its marker cannot be read`
    if (marker.uuid !== drive.uuid) return `drive ${drive.root} is another one than at the start`
    const registered = known.get(drive.uuid)
    if (registered === undefined) return `drive ${drive.root} is not known to the database`
    if (registered.createdAt > marker.createdAt + youngerByMs) return `the database is younger than drive ${drive.root}`
  }
  return null
}

interface Gathered {
  /** Lengths of dead records by blob, by `drive/segment`. */
  readonly dead: Map<string, Record<string, number>>
  /** Releases that are done once these are noted. */
  readonly done: { readonly id: number; readonly names: readonly string[] }[]
}

/** Bytes of deleted versions: files go at once, records are noted as dead beside their segment. */
async function sweepReleased(pass: Pass, drives: readonly Drive[]): Promise<void> {
  const byId = new Map(drives.map((drive) => [drive.id, drive]))
  // What falls due from now on is the next pass's: under load this one would never come to the segments.
  const startedAt = Date.now()
  let after: number | null = 0
  while (after !== null && !pass.stopping()) {
    const gathered: Gathered = { dead: new Map(), done: [] }
    while (after !== null && gathered.done.length < notedAtOnce && !pass.stopping()) {
      after = await gatherReleased(pass, byId, pass.graceMs + Date.now() - startedAt, after, gathered)
    }
    await noteDead(pass, byId, gathered.dead)
    failpoint?.('dead noted', gathered.done.length > 0 ? 'some' : '')
    const forgotten = gathered.done.filter(({ names }) => !names.some((name) => pass.unnoted.has(name)))
    for (const { names } of forgotten) pass.count[names.length === 0 ? 'releasedFiles' : 'releasedRecords'] += 1
    for (let from = 0; from < forgotten.length; from += releasedPage) {
      await pass.store.forgetReleased(forgotten.slice(from, from + releasedPage).map(({ id }) => id))
      failpoint?.('dead forgotten')
    }
  }
}

/** One page of the queue, behind `after`. Gives its last id, null at the end. What this pass cannot finish stays in the queue. */
async function gatherReleased(pass: Pass, byId: ReadonlyMap<number, Drive>, olderThanMs: number, after: number, { dead, done }: Gathered): Promise<number | null> {
  const page = await pass.store.released(olderThanMs, releasedPage, after)
  if (page.length === 0) return null
  const moved = await pass.store.relocations(page.filter(({ place }) => place.kind === 'segment').map(({ blob }) => blob))
  const { pinned } = await pass.held()
  for (const { id, blob, length, place: oldPlace } of page) {
    const place = moved.get(blob) ?? oldPlace
    if (pinned.has(blob) || place.drives.some((drive) => !byId.has(drive))) continue
    const names = place.kind === 'segment' ? place.drives.map((drive) => `${drive}/${place.segment}`) : []
    for (const name of names) {
      const blobs = dead.get(name) ?? {}
      blobs[blob] = length
      dead.set(name, blobs)
    }
    for (const drive of place.drives) if (place.kind === 'file') await removeBlobFile(byId.get(drive) as Drive, blob)
    failpoint?.('dead removed', place.kind)
    done.push({ id, names })
  }
  return page.at(-1)?.id ?? null
}

async function noteDead(pass: Pass, byId: ReadonlyMap<number, Drive>, dead: ReadonlyMap<string, Readonly<Record<string, number>>>): Promise<void> {
  for (const [id, drive] of byId) {
    const names = [...dead.keys()].filter((name) => name.startsWith(`${id}/`))
    if (names.length === 0) continue
    for (const segment of await listSegments(drive)) {
      const name = `${id}/${segment.name}`
      const blobs = dead.get(name)
      if (blobs === undefined) continue
      const notes = await readNotes(segment)
      try {
        await writeNotes(drive, segment, { ...notes, dead: { ...notes.dead, ...blobs } })
      } catch (error) {
        if (!isFull(error)) throw error
        pass.log.warn('no room for notes on dead records', { segment: segment.name })
        pass.unnoted.set(name, { ...pass.unnoted.get(name), ...blobs })
      }
    }
  }
}

/** Removes segments that are wholly dead or were moved; moves the live records out of those that are mostly dead. */
async function sweepSegments(pass: Pass, drive: Drive): Promise<void> {
  const segments = await listSegments(drive)
  const held = await pass.held()
  for (const segment of segments) {
    if (pass.stopping()) return
    if (!isSealed(segment, held, pass.segmentBytes)) continue
    if (segment.changedAt > Date.now() - pass.graceMs) continue
    const notes = await readNotes(segment)
    if (notes.movedAt !== null && notes.movedAt > Date.now() - pass.graceMs) continue
    if (await compact(pass, drive, segment, notes) === 'empty') await drop(pass, segment)
  }
}

/** A disk without room for the live records of one segment, or that cannot read it, may still be rid of the next one. */
async function compact(pass: Pass, drive: Drive, segment: SegmentFile, notes: SegmentNotes): Promise<'kept' | 'moved' | 'empty'> {
  try {
    return await compactSegment(pass, drive, segment, notes)
  } catch (error) {
    if (isFull(error)) pass.log.warn('no room to compact a segment', { segment: segment.name })
    else {
      pass.log.error('a segment could not be compacted: it is kept', { segment: segment.name, error: String(error) })
      pass.count.failures += 1
      if (pass.count.failures > failuresMax) throw error
    }
    return 'kept'
  }
}

async function drop(pass: Pass, segment: SegmentFile): Promise<void> {
  await removeSegment(segment)
  pass.forgetSegment(segment.path)
  pass.count.segmentsRemoved += 1
}

/** What no row names: found by a walk over everything, removed only when it is little. Returns why it was not removed, or null. */
async function sweepOrphans(pass: Pass, drive: Drive): Promise<string | null> {
  const olderThan = Date.now() - pass.orphanAgeMs
  let total = 0
  let batch: StoredFile[] = []
  const orphans: { bytes: number; remove: () => Promise<void> }[] = []
  async function flush(): Promise<void> {
    const owners = batch.flatMap(({ owner }) => (owner === null ? [] : [owner]))
    const referenced = await pass.store.referenced(owners)
    const { pinned } = await pass.held()
    for (const { path, bytes, owner } of batch) {
      if (owner === null || referenced.has(owner.blob) || pinned.has(owner.blob)) continue
      orphans.push({ bytes, remove: () => removeFile(path) })
    }
    batch = []
  }
  for await (const file of walkFiles(drive, olderThan)) {
    if (pass.stopping()) return null
    total += file.bytes
    if (file.owner !== null) batch.push(file)
    if (batch.length >= 500) await flush()
  }
  await flush()
  const segments = await listSegments(drive)
  const held = await pass.held()
  for (const segment of segments) {
    if (pass.stopping()) return null
    total += segment.bytes
    if (segment.changedAt > olderThan || held.segments.has(segment.name)) continue
    orphans.push(...(await orphanRecords(pass, drive, segment, held)))
  }
  const bytes = orphans.reduce((sum, orphan) => sum + orphan.bytes, 0)
  const many = areTooMany({ blobs: orphans.length, bytes }, total)
  if (many && !(await isAllowed(drive, { blobs: orphans.length, bytes }))) {
    return `${orphans.length} blobs (${bytes} of ${total} bytes) of drive ${drive.root} are named by no row: too many to be litter. Look with fsck; fsck --allow-orphans lets them go`
  }
  for (const orphan of orphans) await orphan.remove()
  pass.count.orphans += orphans.length
  if (many) await endAllowance(drive)
  await removeOldTemporaries(drive, olderThan)
  await removeStrayNotes(drive)
  if (orphans.length > 0) syncFolder(dirname(join(drive.root, 'segments', 'any')))
  return null
}
