/** What people see: tables, and the live view of requests. */

type Row = Readonly<Record<string, unknown>>

/** Columns as wide as what is in them; numbers to the right. Texts of clients cannot move the cursor. */
export function table(rows: readonly Row[], columns: readonly string[], colour: boolean): string {
  const cells = rows.map((row) => columns.map((name) => cell(row[name])))
  const widths = columns.map((name, index) => Math.max(name.length, ...cells.map((row) => row[index]?.length ?? 0)))
  const right = columns.map((name) => rows.length > 0 && rows.every((row) => typeof row[name] === 'number'))
  const line = (values: readonly string[]): string => values.map((value, index) => (right[index] === true ? value.padStart(widths[index] ?? 0) : value.padEnd(widths[index] ?? 0))).join('  ').trimEnd()
  const head = line(columns.map((name) => name.replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()))
  return `${[colour ? `\x1b[1m${head}\x1b[0m` : head, ...cells.map(line)].join('\n')}\n`
}

/** A row as lines of name and value. */
export function list(row: Row): string {
  const entries = Object.entries(row).map(([name, value]) => [name.replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase(), cell(value)] as const)
  const width = Math.max(...entries.map(([name]) => name.length))
  return `${entries.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')}\n`
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  const text = typeof value === 'object' ? Object.entries(value).map(([name, each]) => `${name} ${cell(each)}`).join(', ') || '-' : String(value)
  return /[\x00-\x1f\x7f]/.test(text) ? JSON.stringify(text) : text
}

/** The numbers of a text of metrics, by series. */
export function seriesOf(text: string): ReadonlyMap<string, number> {
  return new Map(text.split('\n').flatMap((line) => {
    const space = line.lastIndexOf(' ')
    return line === '' || line.startsWith('#') ? [] : [[line.slice(0, space), Number(line.slice(space + 1))] as const]
  }))
}

export interface TopRow {
  readonly operation: string
  readonly perSecond: number
  readonly meanMs: number
  readonly failed: number
}
export interface Top {
  readonly requestsPerSecond: number
  readonly inFlight: number
  readonly connections: number
  readonly receivedPerSecond: number
  readonly sentPerSecond: number
  readonly cpu: number
  readonly operations: readonly TopRow[]
}

/** What happened between two looks. */
export function topOf(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>, seconds: number): Top {
  const risen = (series: string): number => Math.max(0, (after.get(series) ?? 0) - (before.get(series) ?? 0))
  const byOperation = new Map<string, { count: number; time: number; failed: number }>()
  for (const series of after.keys()) {
    const [, operation, status] = /^holdfast_requests_total\{operation="(\w+)",status="(\w+)"\}$/.exec(series) ?? []
    if (operation === undefined || status === undefined) continue
    const row = byOperation.get(operation) ?? { count: 0, time: 0, failed: 0 }
    row.count += risen(series)
    row.time += risen(`holdfast_request_duration_seconds_sum{operation="${operation}",status="${status}"}`)
    if (status !== '2xx' && status !== '3xx') row.failed += risen(series)
    byOperation.set(operation, row)
  }
  const operations = [...byOperation].filter(([, { count }]) => count > 0)
    .map(([operation, { count, time, failed }]) => ({ operation, perSecond: tenth(count / seconds), meanMs: tenth((time / count) * 1000), failed }))
    .sort((a, b) => b.perSecond - a.perSecond)
  const all = (prefix: string): number => [...after.keys()].filter((series) => series.startsWith(prefix)).reduce((sum, series) => sum + risen(series), 0)
  return {
    requestsPerSecond: tenth(all('holdfast_requests_total') / seconds), inFlight: after.get('holdfast_requests_in_flight') ?? 0, connections: after.get('holdfast_connections') ?? 0,
    receivedPerSecond: Math.round(risen('holdfast_received_bytes_total') / seconds), sentPerSecond: Math.round(risen('holdfast_sent_bytes_total') / seconds),
    cpu: Math.round((all('holdfast_cpu_seconds_total') / seconds) * 100) / 100, operations,
  }
}

const tenth = (value: number): number => Math.round(value * 10) / 10
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB/s`

export function topText({ operations, ...sums }: Top, colour: boolean): string {
  const head = `${sums.requestsPerSecond} requests/s, ${sums.inFlight} in flight, ${sums.connections} connections, in ${megabytes(sums.receivedPerSecond)}, out ${megabytes(sums.sentPerSecond)}, ${sums.cpu} cores`
  return `${head}\n\n${operations.length === 0 ? 'no requests\n' : table(operations.map((row) => ({ ...row })), ['operation', 'perSecond', 'meanMs', 'failed'], colour)}`
}
