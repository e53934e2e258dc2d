import { metricNames, metrics, type Metric, type MetricName } from './metric-table.ts'

/**
 * Door of the metrics. It promises:
 * - What a request costs is one addition to an array of numbers that is there: no labels are made, nothing is allocated.
 * - Everything else is read when somebody asks.
 * - A snapshot is plain data, so that those of several processes can be added up in one place.
 */
export { metricsMarkdown, metricNames, metrics, usageBucketsMax, type Metric, type MetricName } from './metric-table.ts'

/** Seconds: a small request takes about one millisecond, a large one as long as its client's line needs. */
export const durationBounds: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60]
const sizeBounds: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256]

/** Counts of what was observed, by size. */
export class Histogram {
  readonly bounds: readonly number[]
  /** One more than there are bounds: the last one is for what is above all of them. Not cumulative. */
  readonly counts: Float64Array
  sum = 0

  constructor(bounds: readonly number[] = durationBounds) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    const { bounds, counts } = this
    let index = 0
    while (index < bounds.length && value > (bounds[index] as number)) index += 1
    counts[index] = (counts[index] as number) + 1
    this.sum += value
  }
}

/** Histograms by the value of one label, made when a value is first seen. Only for labels whose values the program itself makes. */
export class HistogramFamily {
  readonly members = new Map<string, Histogram>()

  of(label: string): Histogram {
    const known = this.members.get(label)
    if (known !== undefined) return known
    const made = new Histogram()
    this.members.set(label, made)
    return made
  }
}

const statusClasses = ['gone', '1xx', '2xx', '3xx', '4xx', '5xx'] as const

/** Requests by operation and class of the status. */
export class RequestMeter {
  inFlight = 0
  readonly byOperation = new Map<string, (Histogram | null)[]>()
  /** By `operation code`. */
  readonly errors = new Map<string, number>()

  /** `status` 0: the client left before there was one. */
  answered(operation: string, status: number, seconds: number): void {
    let classes = this.byOperation.get(operation)
    if (classes === undefined) this.byOperation.set(operation, classes = [null, null, null, null, null, null])
    const index = (status / 100) | 0
    let histogram = classes[index]
    if (histogram === undefined) return
    if (histogram === null) classes[index] = histogram = new Histogram()
    histogram.observe(seconds)
  }

  refused(operation: string, code: string): void {
    const key = `${operation} ${code}`
    this.errors.set(key, (this.errors.get(key) ?? 0) + 1)
  }
}

export interface CacheMeter {
  hits: number
  misses: number
}

/** Counts by one label. */
export type Counts = Map<string, number>

export function countOne(counts: Counts, label: string, by = 1): void {
  counts.set(label, (counts.get(label) ?? 0) + by)
}

export type Sample =
  | { readonly labels: readonly string[]; readonly value: number }
  | { readonly labels: readonly string[]; readonly bounds: readonly number[]; readonly counts: readonly number[]; readonly sum: number }

export type Snapshot = Partial<Record<MetricName, readonly Sample[]>>

type Reading = number | readonly (readonly [label: string, value: number])[]

/** What one process counts. Rooms take it as an option, and count into one of their own when nobody asks. */
export interface Meters {
  readonly requests: RequestMeter
  readonly segmentGroups: Histogram
  readonly transactions: Histogram
  readonly syncs: HistogramFamily
  readonly queries: HistogramFamily
  readonly eventLoopDelay: Histogram
  /** By name of the cache. */
  readonly caches: Map<string, CacheMeter>
  readonly rot: Counts
  /** Requests that were refused, or made to wait, by what limited them. */
  readonly limited: Counts
  readonly connectionsLost: Counts
  /** What is read when somebody asks: a number, or one for each value of the metric's first own label. Several of a name are added up. */
  watch(name: MetricName, read: () => Reading): void
  snapshot(): Snapshot
}

export function cacheMeter(meters: Meters, name: string): CacheMeter {
  const made: CacheMeter = { hits: 0, misses: 0 }
  meters.caches.set(name, made)
  return made
}

export function createMeters(): Meters {
  const watched: { readonly name: MetricName; readonly read: () => Reading }[] = []
  const meters: Meters = {
    requests: new RequestMeter(), segmentGroups: new Histogram(sizeBounds), transactions: new Histogram(sizeBounds), syncs: new HistogramFamily(),
    queries: new HistogramFamily(), eventLoopDelay: new Histogram(), caches: new Map(), rot: new Map(), limited: new Map(), connectionsLost: new Map(),
    watch: (name, read) => void watched.push({ name, read }),
    snapshot() {
      const snapshot = counted(meters)
      for (const { name, read } of watched) snapshot[name] = [...snapshot[name] ?? [], ...samplesOf(read())]
      return snapshot
    },
  }
  return meters
}

function samplesOf(reading: Reading): Sample[] {
  return typeof reading === 'number' ? [{ labels: [], value: reading }] : reading.map(([label, value]) => ({ labels: label.split(' '), value }))
}

const histogramSample = (labels: readonly string[], { bounds, counts, sum }: Histogram): Sample => ({ labels, bounds, counts: [...counts], sum })
const family = ({ members }: HistogramFamily): Sample[] => [...members].map(([label, histogram]) => histogramSample([label], histogram))
const countSamples = (counts: Counts): Sample[] => [...counts].map(([label, value]) => ({ labels: label.split(' '), value }))

function counted({ requests, segmentGroups, transactions, syncs, queries, eventLoopDelay, caches, rot, limited, connectionsLost }: Meters): { -readonly [Name in keyof Snapshot]: Snapshot[Name] } {
  const durations = [...requests.byOperation].flatMap(([operation, classes]) => classes.flatMap((histogram, index) => (
    histogram === null ? [] : [histogramSample([operation, statusClasses[index] ?? ''], histogram)]
  )))
  return {
    holdfast_request_duration_seconds: durations,
    holdfast_requests_total: durations.map((sample) => ({ labels: sample.labels, value: 'counts' in sample ? sample.counts.reduce((sum, count) => sum + count, 0) : 0 })),
    holdfast_request_errors_total: countSamples(requests.errors),
    holdfast_requests_in_flight: [{ labels: [], value: requests.inFlight }],
    holdfast_segment_group_bodies: [histogramSample([], segmentGroups)],
    holdfast_transaction_commands: [histogramSample([], transactions)],
    holdfast_sync_duration_seconds: family(syncs),
    holdfast_query_duration_seconds: family(queries),
    holdfast_event_loop_delay_seconds: [histogramSample([], eventLoopDelay)],
    holdfast_cache_lookups_total: [...caches].flatMap(([name, { hits, misses }]) => [{ labels: [name, 'hit'], value: hits }, { labels: [name, 'miss'], value: misses }]),
    holdfast_limited_requests_total: countSamples(limited),
    holdfast_rot_found_total: countSamples(rot),
    holdfast_database_connections_lost_total: [{ labels: [], value: [...connectionsLost.values()].reduce((sum, count) => sum + count, 0) }],
  }
}

/** One snapshot of those of several processes, by their names. */
export function merged(all: readonly { readonly process: string; readonly snapshot: Snapshot }[]): Snapshot {
  const result: { -readonly [Name in keyof Snapshot]: Snapshot[Name] } = {}
  for (const name of metricNames) {
    const { processes } = metrics[name] as Metric
    const byLabels = new Map<string, Sample>()
    for (const { process, snapshot } of all) {
      for (const sample of snapshot[name] ?? []) {
        const labelled = processes === 'each' ? { ...sample, labels: [process, ...sample.labels] } : sample
        const key = labelled.labels.join('\0')
        const before = byLabels.get(key)
        byLabels.set(key, before === undefined ? labelled : together(before, labelled, processes === 'max'))
      }
    }
    if (byLabels.size > 0) result[name] = [...byLabels.values()]
  }
  return result
}

function together(one: Sample, other: Sample, highest: boolean): Sample {
  if ('counts' in one && 'counts' in other) return { ...one, counts: one.counts.map((count, index) => count + (other.counts[index] ?? 0)), sum: one.sum + other.sum }
  if ('value' in one && 'value' in other) return { labels: one.labels, value: highest ? Math.max(one.value, other.value) : one.value + other.value }
  return other
}

export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8'

/** Prometheus' text format, version 0.0.4. */
export function metricsText(snapshot: Snapshot): string {
  const lines: string[] = []
  for (const name of metricNames) {
    const samples = snapshot[name]
    if (samples === undefined || samples.length === 0) continue
    const { type, labels, help } = metrics[name] as Metric
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const sample of samples) {
      const pairs = labels.map((label, index) => `${label}="${escaped(sample.labels[index] ?? '')}"`)
      if ('value' in sample) lines.push(`${name}${braced(pairs)} ${sample.value}`)
      else lines.push(...histogramLines(name, pairs, sample))
    }
  }
  return `${lines.join('\n')}\n`
}

function histogramLines(name: string, pairs: readonly string[], { bounds, counts, sum }: Extract<Sample, { readonly sum: number }>): string[] {
  let total = 0
  const buckets = counts.map((count, index) => {
    total += count
    return `${name}_bucket${braced([...pairs, `le="${bounds[index] ?? '+Inf'}"`])} ${total}`
  })
  return [...buckets, `${name}_sum${braced(pairs)} ${sum}`, `${name}_count${braced(pairs)} ${total}`]
}

const braced = (pairs: readonly string[]): string => (pairs.length === 0 ? '' : `{${pairs.join(',')}}`)
const escaped = (text: string): string => text.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
