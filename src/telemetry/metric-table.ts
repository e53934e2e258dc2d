/** Every metric once: `/metrics`, the table in METRICS.md and what alerts and dashboards may name come from here. */

export interface Metric {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
  /** How the figures of several server processes become one. `each`: they stay apart, by a label `process`. Default: their sum. */
  readonly processes?: 'max' | 'each'
}

const counter = (help: string, ...labels: readonly string[]): Metric => ({ type: 'counter', labels, help })
const gauge = (help: string, ...labels: readonly string[]): Metric => ({ type: 'gauge', labels, help })
const histogram = (help: string, ...labels: readonly string[]): Metric => ({ type: 'histogram', labels, help })
const each = (metric: Metric): Metric => ({ ...metric, labels: ['process', ...metric.labels], processes: 'each' })
const highest = (metric: Metric): Metric => ({ ...metric, processes: 'max' })

export const metrics = {
  holdfast_build_info: gauge('1, with what runs as labels.', 'version', 'node'),
  holdfast_ready: gauge('1 when /health/ready answers 200, else 0.'),
  holdfast_start_time_seconds: gauge('When the server was started, seconds since the epoch.'),
  holdfast_server_processes: gauge('Server processes that answered for this scrape; those that did not are missing in all sums.'),
  holdfast_server_processes_wanted: gauge('Server processes that are to run.'),

  holdfast_requests_total: counter('Requests that were answered, by S3 operation (none: refused before it was known) and class of the status (gone: the client left first).', 'operation', 'status'),
  holdfast_request_duration_seconds: histogram('From the headers of a request to the last byte of its answer that was handed to the socket.', 'operation', 'status'),
  holdfast_request_errors_total: counter('Requests that were answered with an error, by its S3 code.', 'operation', 'code'),
  holdfast_requests_in_flight: gauge('Requests that came and are not answered yet.'),
  holdfast_connections: gauge('Open connections that brought at least one request.'),
  holdfast_received_bytes_total: counter('Bytes that clients sent to the S3 port, headers included.'),
  holdfast_sent_bytes_total: counter('Bytes that were sent to clients of the S3 port, headers included.'),
  holdfast_limited_requests_total: counter(
    'Requests that a limit refused, by limit: address, access_key, account and bucket (requests, bytes), account_queue, account_wait, event_loop, memory, small_bodies, uploads, commands, documents.', 'limit',
  ),

  holdfast_spans_total: counter('Spans of traces, by result: exported, failed (the collector did not take them), dropped (too many waited).', 'result'),
  holdfast_access_lines_dropped_total: counter('Lines of the access log that were dropped because nobody took them in time.'),

  holdfast_segment_group_bodies: histogram('Small bodies that were appended to a segment and synced together.'),
  holdfast_transaction_commands: histogram('Commands that were committed in one transaction of the database.'),
  holdfast_sync_duration_seconds: histogram('Time of the syncs of data before an answer: of a group in a segment, of a large body’s file with its folders.', 'target'),
  holdfast_queue_length: gauge('What waits, by queue: segments (small bodies), committer (commands), documents (of many keys or parts), batch and upload (tasks of threads).', 'queue'),
  holdfast_pool_threads: gauge('Worker threads, by pool.', 'pool'),
  holdfast_pool_running_tasks: gauge('Tasks that worker threads are at, by pool.', 'pool'),
  holdfast_uploads_in_flight: gauge('Large bodies that are being received.'),

  holdfast_query_duration_seconds: histogram('From handing a statement to its connection to its last row, waiting included; transaction_whole, _ahead, _read, _write: round trips of a group of writes.', 'statement'),
  holdfast_database_connections: gauge('Connections to PostgreSQL for rare work, by state (used, idle).', 'state'),
  holdfast_database_waiting: gauge('Callers that wait for one of those connections.'),
  holdfast_database_connections_lost_total: counter('Connections to PostgreSQL that were lost; each is made anew by itself.'),
  holdfast_cache_lookups_total: counter('Look-ups of what is remembered in memory, by cache and result (hit, miss).', 'cache', 'result'),

  holdfast_event_loop_delay_seconds: each(histogram('How late a timer came that looks ten times a second.')),
  holdfast_event_loop_active_seconds_total: each(counter('Time in which the main thread was not waiting for something to do.')),
  holdfast_cpu_seconds_total: each(counter('CPU time of the process with all its threads, by mode (user, system).', 'mode')),
  holdfast_memory_bytes: each(gauge('Memory, by kind: resident (the process), heap_used, heap_total (main thread), external, array_buffers.', 'kind')),

  holdfast_drive_size_bytes: highest(gauge('Size of the file system that a drive is on.', 'drive')),
  holdfast_drive_free_bytes: highest(gauge('Bytes of it that are free for the server.', 'drive')),
  holdfast_drive_suspect: highest(gauge('1 when a process writes no more to the drive because a sync failed or the device did, until it is started anew.', 'drive')),
  holdfast_drive_errors_total: counter('Writes that failed, by drive and kind (full, sync, write).', 'drive', 'kind'),
  holdfast_rot_found_total: counter('Bytes that were not as they were written, by who found it: read (a request), scrub (the background).', 'found_by'),

  holdfast_sweeper_passes_total: counter('Passes of the sweeper that ended.'),
  holdfast_sweeper_last_pass_timestamp_seconds: gauge('When the last one ended, seconds since the epoch; 0: none did since the start.'),
  holdfast_sweeper_stopped: gauge('1 when the last pass removed nothing (more) because something is wrong; the log says what.'),
  holdfast_sweeper_removed_total: counter('What was removed, by kind: files, records, segments, orphans.', 'kind'),
  holdfast_sweeper_moved_records_total: counter('Records that compaction moved out of segments which are mostly dead.'),
  holdfast_sweeper_failures_total: counter('Segments that could not be compacted, and passes that failed.'),
  holdfast_scrubber_passes_total: counter('Passes of the background scrub that ended since the data folder was made.'),
  holdfast_scrubber_last_pass_timestamp_seconds: gauge('When the last one ended, seconds since the epoch; 0: none did.'),
  holdfast_scrubber_read_bytes_total: counter('Bytes that the background scrub read and verified since the start.'),
  holdfast_scrubber_rows_total: counter('Versions and parts that it compared with their bytes since the start.'),
  holdfast_scrubber_findings_total: counter('Differences that it found since the start, by kind.', 'kind'),

  holdfast_buckets: gauge('Buckets.'),
  holdfast_objects: gauge('Current objects of all buckets.'),
  holdfast_stored_bytes: gauge('Bytes of all versions of all buckets, as clients count them.'),
  holdfast_bucket_objects: gauge('Current objects of a bucket; the largest buckets by bytes only.', 'bucket'),
  holdfast_bucket_versions: gauge('Versions of a bucket, delete markers included.', 'bucket'),
  holdfast_bucket_bytes: gauge('Bytes of all versions of a bucket.', 'bucket'),
} as const satisfies Readonly<Record<string, Metric>>

export type MetricName = keyof typeof metrics

export const metricNames = Object.keys(metrics) as MetricName[]

/** Buckets whose usage is told, the largest ones by bytes: a label with a value for each bucket would be as many series as an account likes. */
export const usageBucketsMax = 100

/** The page of all metrics. */
export function metricsMarkdown(): string {
  const rows = metricNames.map((name) => {
    const { type, labels, help } = metrics[name] as Metric
    return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`
  })
  return [
    '# Metrics', '', 'What `/metrics` on the control port tells, in Prometheus’ text format. Written from `metric-table.ts`; `npx vitest run --project unit test/unit/metrics.test.ts -u` writes it again.', '',
    '| name | type | labels | meaning |', '|---|---|---|---|', ...rows, '',
  ].join('\n')
}
