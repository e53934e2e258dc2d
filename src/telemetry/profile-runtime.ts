import { constants, monitorEventLoopDelay, performance, PerformanceObserver, type ELDHistogram } from 'node:perf_hooks'
import type { ThreadPool } from './profile.ts'

/** Milliseconds. `samples` 0: nothing was seen yet, and the others are 0. */
export interface Delays {
  readonly samples: number
  readonly mean: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface Collections {
  readonly count: number
  readonly timeMs: number
}

export interface RuntimeFigures {
  readonly uptimeSeconds: number
  /** How long the figures below with a beginning (delays, utilization, CPU, collections) were counted. */
  readonly windowSeconds: number
  /**
   * How late a timer of 5 ms came, the 5 ms taken off: an idle loop reads about 0. Sampled only from the first question on, and
   * until nobody has asked for ten minutes, because a timer that always runs costs an idle server 1 % of a core.
   */
  readonly eventLoopDelayMs: Delays
  /** How long one turn of the event loop worked, waiting not counted. Counted from the start on, by Node itself. */
  readonly eventLoopTurnMs: Delays
  /** Share of the window in which the main thread was not waiting for something to do, 0 to 1. */
  readonly eventLoopUtilization: number
  /** Of the whole process with all its threads, within the window. */
  readonly cpuSeconds: { readonly user: number; readonly system: number }
  /** `rss` is the process's; the heap is the main thread's. */
  readonly memoryBytes: { readonly rss: number; readonly heapTotal: number; readonly heapUsed: number; readonly external: number; readonly arrayBuffers: number }
  /** Of the main thread within the window, by kind. */
  readonly garbageCollections: Readonly<Record<CollectionKind, Collections>>
  /** What keeps the process alive: sockets, timers, requests to the file system, by kind. */
  readonly activeHandles: { readonly count: number; readonly kinds: Readonly<Record<string, number>> }
  /** Kinds of profiles that are being taken: the figures are those of a server under observation. */
  readonly profiling: readonly string[]
  readonly pools: readonly { readonly name: string; readonly threads: number; readonly queued: number; readonly running: number }[]
}

export type CollectionKind = 'scavenge' | 'markSweepCompact' | 'incremental' | 'weakCallbacks'

export interface RuntimeMeter {
  read(reset: boolean, profiling: readonly string[]): RuntimeFigures
  close(): void
}

/** Long enough to cost little, short enough to see what delays a request. */
const sampleMs = 5
const samplingEndsMs = 10 * 60 * 1000

const kinds: ReadonlyMap<number, CollectionKind> = new Map([
  [constants.NODE_PERFORMANCE_GC_MINOR, 'scavenge'],
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'markSweepCompact'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakCallbacks'],
])

/** Counts what the runtime does. While nobody asks that is a hook in each turn of the loop and one entry for each collection. */
export function createRuntimeMeter(pools: () => readonly ThreadPool[]): RuntimeMeter {
  const turns = monitorEventLoopDelay({ samplePerIteration: true })
  turns.enable()
  // Node counts the time before the first turn as one.
  setImmediate(() => setImmediate(() => turns.reset()))
  const collections = countCollections()
  const sampling = createSampling()
  let began = { at: performance.now(), utilization: performance.eventLoopUtilization(), cpu: process.cpuUsage() }

  return {
    read(reset, profiling) {
      const cpu = process.cpuUsage(began.cpu)
      const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage()
      const figures: RuntimeFigures = {
        uptimeSeconds: rounded(process.uptime()),
        windowSeconds: rounded((performance.now() - began.at) / 1000),
        eventLoopDelayMs: sampling.read(reset),
        eventLoopTurnMs: delays(turns, 0),
        eventLoopUtilization: rounded(performance.eventLoopUtilization(began.utilization).utilization),
        cpuSeconds: { user: rounded(cpu.user / 1e6), system: rounded(cpu.system / 1e6) },
        memoryBytes: { rss, heapTotal, heapUsed, external, arrayBuffers },
        garbageCollections: collections.read(),
        activeHandles: activeHandles(),
        profiling,
        pools: pools().map(({ name, threads, queued, running }) => ({ name, threads: threads.length, queued, running })),
      }
      if (reset) {
        turns.reset()
        collections.reset()
        began = { at: performance.now(), utilization: performance.eventLoopUtilization(), cpu: process.cpuUsage() }
      }
      return figures
    },
    close() {
      turns.disable()
      sampling.close()
      collections.close()
    },
  }
}

/** The histogram by timer, which runs only while somebody asks now and then. */
function createSampling(): { read(reset: boolean): Delays; close(): void } {
  const histogram = monitorEventLoopDelay({ resolution: sampleMs })
  let idle: NodeJS.Timeout | null = null
  function end(): void {
    idle = null
    histogram.disable()
    histogram.reset()
  }
  return {
    read(reset) {
      const before = delays(histogram, sampleMs)
      if (reset) histogram.reset()
      if (idle === null) {
        histogram.enable()
        idle = setTimeout(end, samplingEndsMs).unref()
      } else idle.refresh()
      return before
    },
    close() {
      if (idle !== null) clearTimeout(idle)
      end()
    },
  }
}

function delays(histogram: ELDHistogram, baseMs: number): Delays {
  const milliseconds = (nanoseconds: number): number => rounded(Math.max(0, nanoseconds / 1e6 - baseMs))
  if (histogram.count === 0) return { samples: 0, mean: 0, p50: 0, p99: 0, p999: 0, max: 0 }
  return {
    samples: histogram.count,
    mean: milliseconds(histogram.mean),
    p50: milliseconds(histogram.percentile(50)),
    p99: milliseconds(histogram.percentile(99)),
    p999: milliseconds(histogram.percentile(99.9)),
    max: milliseconds(histogram.max),
  }
}

/** What Node's types leave out of an entry of this type. */
type GarbageCollection = PerformanceEntry & { readonly detail: { readonly kind: number } }

function countCollections() {
  const none = (): Record<CollectionKind, { count: number; timeMs: number }> => ({
    scavenge: { count: 0, timeMs: 0 }, markSweepCompact: { count: 0, timeMs: 0 }, incremental: { count: 0, timeMs: 0 }, weakCallbacks: { count: 0, timeMs: 0 },
  })
  let counts = none()
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as GarbageCollection[]) {
      const kind = kinds.get(entry.detail.kind)
      if (kind === undefined) continue
      counts[kind].count += 1
      counts[kind].timeMs += entry.duration
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    read: () => {
      const read = none()
      for (const kind of kinds.values()) read[kind] = { count: counts[kind].count, timeMs: rounded(counts[kind].timeMs) }
      return read
    },
    reset: () => void (counts = none()),
    close: () => observer.disconnect(),
  }
}

function activeHandles(): { count: number; kinds: Record<string, number> } {
  const all = process.getActiveResourcesInfo()
  const byKind: Record<string, number> = {}
  for (const kind of all) byKind[kind] = (byKind[kind] ?? 0) + 1
  return { count: all.length, kinds: byKind }
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000
