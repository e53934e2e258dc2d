import type { MetadataStore } from './metadata/store.ts'
import type { ProcessSnapshot } from './processes.ts'
import type { Scrubber } from './storage/scrub-background.ts'
import type { Sweeper } from './storage/sweeper.ts'
import { merged, metricsText, usageBucketsMax, type Meters } from './telemetry/metrics.ts'

/** What the whole server tells, beside what each of its processes counts. */
export interface ServerMetricsParts {
  readonly meters: Meters
  readonly version: string
  /** How this process is called among the others. */
  readonly name: string
  /** The server processes beside this one; null: this one serves. */
  readonly others: (() => Promise<readonly ProcessSnapshot[]>) | null
  readonly processesWanted: number
  readonly ready: () => Promise<boolean>
  readonly store: MetadataStore
  readonly sweeper: Sweeper
  readonly scrubber: Scrubber
}

type Usage = Awaited<ReturnType<MetadataStore['usageOverview']>>

/** Sums over all buckets are read from the database no more often than this, however often somebody scrapes. */
const usageMs = 15_000

/** The text of `/metrics`, gathered anew by each call. */
export function createServerMetrics(parts: ServerMetricsParts): () => Promise<string> {
  const { meters, sweeper, scrubber, store } = parts
  const startedAt = Math.round(performance.timeOrigin) / 1000
  const now: { ready: boolean; answered: number; usage: Usage | null; usageAt: number } = { ready: false, answered: 0, usage: null, usageAt: -Infinity }

  meters.watch('holdfast_build_info', () => [[`${parts.version} ${process.versions.node}`, 1]])
  meters.watch('holdfast_start_time_seconds', () => startedAt)
  meters.watch('holdfast_ready', () => (now.ready ? 1 : 0))
  meters.watch('holdfast_server_processes', () => now.answered)
  meters.watch('holdfast_server_processes_wanted', () => parts.processesWanted)
  meters.watch('holdfast_buckets', () => now.usage === null ? [] : now.usage.buckets)
  meters.watch('holdfast_objects', () => now.usage === null ? [] : now.usage.objects)
  meters.watch('holdfast_stored_bytes', () => now.usage === null ? [] : now.usage.bytes)
  for (const [name, field] of [['holdfast_bucket_objects', 'objects'], ['holdfast_bucket_versions', 'versions'], ['holdfast_bucket_bytes', 'bytes']] as const) {
    meters.watch(name, () => (now.usage?.largest ?? []).map((bucket) => [bucket.name, bucket[field]]))
  }

  const sweep = sweeper.status
  meters.watch('holdfast_sweeper_passes_total', () => sweep().passes)
  meters.watch('holdfast_sweeper_last_pass_timestamp_seconds', () => (sweep().lastPassAt ?? 0) / 1000)
  meters.watch('holdfast_sweeper_stopped', () => (sweep().stopped === null ? 0 : 1))
  meters.watch('holdfast_sweeper_removed_total', () => {
    const { releasedFiles, releasedRecords, segmentsRemoved, orphans } = sweep().total
    return [['files', releasedFiles], ['records', releasedRecords], ['segments', segmentsRemoved], ['orphans', orphans]]
  })
  meters.watch('holdfast_sweeper_moved_records_total', () => sweep().total.recordsMoved)
  meters.watch('holdfast_sweeper_failures_total', () => sweep().total.failures + sweep().failedPasses)

  const scrub = scrubber.status
  meters.watch('holdfast_scrubber_passes_total', () => scrub().passes)
  meters.watch('holdfast_scrubber_last_pass_timestamp_seconds', () => (scrub().lastPassAt ?? 0) / 1000)
  meters.watch('holdfast_scrubber_read_bytes_total', () => scrub().bytesRead)
  meters.watch('holdfast_scrubber_rows_total', () => scrub().rowsChecked)
  meters.watch('holdfast_scrubber_findings_total', () => Object.entries(scrub().findings))
  meters.watch('holdfast_rot_found_total', () => [['scrub', Object.values(scrub().findings).reduce((sum, count) => sum + count, 0)]])

  async function refreshUsage(): Promise<void> {
    if (performance.now() - now.usageAt < usageMs) return
    now.usageAt = performance.now()
    // While the database is away there is no usage to tell; everything else is told all the same.
    now.usage = await store.usageOverview(usageBucketsMax).catch(() => null)
  }

  return async () => {
    const [others] = await Promise.all([
      parts.others?.() ?? [],
      parts.ready().then((ready) => { now.ready = ready }),
      Promise.race([refreshUsage(), new Promise((resolve) => setTimeout(resolve, 1000).unref())]),
    ])
    now.answered = parts.others === null ? 1 : others.length
    return metricsText(merged([{ process: parts.name, snapshot: meters.snapshot() }, ...others]))
  }
}
