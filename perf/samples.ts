import { spawnSync } from 'node:child_process'
import type { Figure, Sample } from './figure.ts'
import type { DurabilityClass } from './launch.ts'
import type { Memory } from './processes.ts'
import { isOpenLoop, unitOf, type Row } from './scenarios.ts'
import { median } from './statistics.ts'

/** Everything about one server in one round. */
export interface ServerRound {
  readonly server: string
  readonly round: string
  readonly durability: DurabilityClass
  readonly version: string
  readonly settings: Readonly<Record<string, string>>
  readonly startSeconds: { readonly empty: number; readonly again: number }
  readonly memory: { readonly idle: Memory; readonly loaded: Memory | null; readonly after: Memory }
  readonly rows: readonly MeasuredRow[]
  /** What is measured once: syncs, bytes on disk. */
  readonly others: readonly Figure[]
}

export interface MeasuredRow extends Row {
  /** What the data folder grew by, for each object; null where no objects are made. */
  readonly diskBytesPerObject: number | null
}

/** A server that refuses more than this has no figures for the scenario. */
const failedShareMax = 0.001

export function samplesOf(run: ServerRound): Sample[] {
  const { server, round, startSeconds, memory } = run
  const megabytes = ({ serverBytes, helperBytes }: Memory): number => (serverBytes + helperBytes) / 1e6
  const figures: Figure[] = [
    ...run.rows.flatMap(figuresOf),
    less('start in an empty folder', 's', startSeconds.empty),
    less('start with data', 's', startSeconds.again),
    less('memory idle', 'MB', megabytes(memory.idle)),
    ...memory.loaded === null ? [] : [less('memory under PUT load', 'MB', megabytes(memory.loaded))],
    less('memory after the load', 'MB', megabytes(memory.after)),
    ...run.others,
  ]
  return figures.map((figure) => ({ server, round, ...figure }))
}

export function figuresOf(row: MeasuredRow): Figure[] {
  const { scenario, connections, requests, seconds } = row
  const unit = unitOf(row)
  const named = (figure: Figure): Figure => ({ ...figure, name: `${scenario} ${connections}: ${figure.name}` })
  const units = requests * unit.perRequest
  const cpuSeconds = ((row.serverCpuMicroseconds + row.helperCpuMicroseconds) * requests) / 1e6
  // Past the limit a refusal is an answer; elsewhere it is one that did no work, and a rate of those says nothing.
  const failed = row.broken + (scenario === 'saturated' ? 0 : row.refused)
  if (failed > requests * failedShareMax) return [less('refused or broken', '', failed)].map(named)
  return [
    ...isOpenLoop(scenario) ? [] : [more(`${unit.name}/s`, '', units / seconds)],
    ...cpuSeconds > 0 ? [more(`${unit.name}/CPU-second`, '', units / cpuSeconds)] : [],
    less('p50', 'ms', row.p50Ms), less('p99', 'ms', row.p99Ms), less('p99.9', 'ms', row.p999Ms),
    ...row.loopDelayMs === null ? [] : [less('event loop p99.9', 'ms', row.loopDelayMs.p999)],
    ...row.diskBytesPerObject === null ? [] : [less('disk bytes/object', '', row.diskBytesPerObject)],
    ...row.memory === null ? [] : [less('memory', 'MB', (row.memory.serverBytes + row.memory.helperBytes) / 1e6)],
    // Both should be none, and what is none has no ratio.
    ...row.refused > 0 ? [less('refused', '', row.refused)] : [], ...row.broken > 0 ? [less('broken', '', row.broken)] : [],
    ...row.probeRefused === undefined ? [] : [less('refused to the one client', '', row.probeRefused)],
  ].map(named)
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly rounds: number
}

export function spreadOf(values: readonly number[]): Spread | null {
  return values.length === 0 ? null : { median: median(values), min: Math.min(...values), max: Math.max(...values), rounds: values.length }
}

/** What one server had for one figure, by round. */
export function byRound(samples: readonly Sample[], server: string, name: string): Map<string, number> {
  return new Map(samples.filter((sample) => sample.server === server && sample.name === name).map(({ round, value }) => [round, value]))
}

/** Ratios of neighbours: each round's value over the best of the others in the same round. */
export function ratiosOf(samples: readonly Sample[], name: string, ours: string, others: readonly string[]): number[] {
  const better = samples.find((sample) => sample.name === name)?.better ?? 'more'
  const peers = others.map((other) => byRound(samples, other, name))
  return [...byRound(samples, ours, name)].flatMap(([round, value]) => {
    const values = peers.map((peer) => peer.get(round)).filter((peer) => peer !== undefined && peer > 0) as number[]
    if (values.length === 0) return []
    return [value / (better === 'more' ? Math.max(...values) : Math.min(...values))]
  })
}

/** Bytes of blocks on the disk, as `du` counts them. What a server removes meanwhile is no failure, though `du` says so. */
export function diskBytesOf(folder: string): number {
  const { stdout, stderr } = spawnSync('du', ['-s', '-B1', folder], { encoding: 'utf8', maxBuffer: 256 * 1024 ** 2 })
  const bytes = Number.parseInt(stdout, 10)
  if (Number.isNaN(bytes)) throw new Error(`du has not counted ${folder}: ${stderr}`)
  return bytes
}

function more(name: string, unit: string, value: number): Figure {
  return { name, unit, value, better: 'more' }
}

function less(name: string, unit: string, value: number): Figure {
  return { name, unit, value, better: 'less' }
}
