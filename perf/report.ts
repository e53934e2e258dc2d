import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import path from 'node:path'
import type { Sample } from './figure.ts'
import type { Memory } from './processes.ts'
import type { ServerRound } from './samples.ts'
import { unitOf, type Row } from './scenarios.ts'
import { outDir, root } from './server.ts'
import { comparisonLines, markdown } from './tables.ts'

/** One run as it is written: everything that its tables are made of. */
export interface Results {
  readonly date: string
  readonly commit: string | null
  readonly command: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly options: object
  readonly servers: readonly ServerRound[]
  readonly samples: readonly Sample[]
}

const columns = ['conn.', 'per second', '', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU us/req', 'server', 'helpers', 'loop ms', 'refused', 'broken']
const nameWidth = 18
const scenarioWidth = 16

export function tableHead(): string {
  return 'server'.padEnd(nameWidth) + 'scenario'.padEnd(scenarioWidth) + columns.map((name) => name.padStart(11)).join('')
}

export function tableLine(row: Row, server = 'holdfast'): string {
  const { scenario, connections, requests, seconds } = row
  const unit = unitOf(row)
  const cells = [
    String(connections), decimals((requests * unit.perRequest) / seconds, 0), unit.name === 'requests' ? '' : unit.name,
    decimals(row.p50Ms, 2), decimals(row.p99Ms, 2), decimals(row.p999Ms, 2),
    decimals(row.serverCpuMicroseconds + row.helperCpuMicroseconds, 0), decimals(row.serverCpuMicroseconds, 0), decimals(row.helperCpuMicroseconds, 0),
    row.loopDelayMs === null ? '' : decimals(row.loopDelayMs.p999, 1),
    String(row.refused), String(row.broken),
  ]
  const probe = row.probeRefused === undefined ? '' : `  times of one client beside the load; ${row.probeRefused} of its requests refused`
  return server.padEnd(nameWidth) + scenario.padEnd(scenarioWidth) + cells.map((cell) => cell.padStart(11)).join('') + probe
}

/** What is not in the rows, of each server's last round. */
export function summary(servers: readonly ServerRound[]): string {
  const last = new Map(servers.map((round) => [round.server, round]))
  const first = new Map(servers.toReversed().map((round) => [round.server, round]))
  return [...last.values()].flatMap(({ server, durability, version, settings, startSeconds, memory }) => [
    `${server} ${version}, class ${durability}${Object.entries(settings).map(([name, value]) => `, ${name} ${value}`).join('')}`,
    `  start: ${decimals(startSeconds.empty, 2)} s in an empty folder, ${decimals(startSeconds.again, 2)} s in one that has data`,
    ...Object.entries(memory).flatMap(([when, found]: [string, Memory | null]) => found === null ? [] : [
      `  memory ${when === 'loaded' ? 'under PUT' : when}: ${megabytes(found.serverBytes + found.helperBytes)} MB (server ${megabytes(found.serverBytes)}, ${found.helpers} helpers ${megabytes(found.helperBytes)})`,
    ]),
    ...(first.get(server)?.others ?? []).map(({ name, value, unit }) => `  ${name}: ${decimals(value, 2)} ${unit}`),
  ]).join('\n')
}

export function makeResults(servers: readonly ServerRound[], samples: readonly Sample[], options: object): Results {
  const machine = { cpu: cpus()[0]?.model ?? '', cores: cpus().length, memoryBytes: totalmem(), system: `${platform()} ${arch()} ${release()}`, node: process.version }
  return { date: new Date().toISOString(), commit: commit(), command: `npm run perf -- ${process.argv.slice(2).join(' ')}`.trim(), machine, options, servers, samples }
}

/** Writes everything as JSON below perf/out, with a name for the next run to compare itself with; gives the path. */
export function writeOut(results: Results): string {
  mkdirSync(outDir, { recursive: true })
  const file = path.join(outDir, `${results.date.replaceAll(':', '').slice(0, 17)}.json`)
  for (const each of [file, latestFile]) writeFileSync(each, `${JSON.stringify(results, null, 2)}\n`)
  return file
}

export const latestFile = path.join(outDir, 'latest.json')
const resultsDir = path.join(root, 'perf', 'results')

/** The files that are committed. */
export function writeCommitted(name: string, results: Results): string {
  mkdirSync(resultsDir, { recursive: true })
  writeFileSync(path.join(resultsDir, `${name}.json`), `${JSON.stringify(results)}\n`)
  const file = path.join(resultsDir, `${name}.md`)
  writeFileSync(file, markdown([results]))
  return file
}

/** This run beside the one before it: rates and CPU, where both have the figure. */
export function changes(results: Results, before: Results): string[] {
  const shown = /(?:\/s|\/CPU-second|: p99)$/
  return comparisonLines(results.samples, before.samples, ({ name }) => shown.test(name))
}

function commit(): string | null {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch (error) {
    // A copy of the tree without its history has no commit to name.
    if (error instanceof Error) return null
    throw error
  }
}

export function decimals(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

function megabytes(bytes: number): string {
  return decimals(bytes / 1e6, 0)
}
