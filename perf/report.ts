import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import path from 'node:path'
import type { Memory } from './processes.ts'
import { isLarge, pageKeys, type Row } from './scenarios.ts'
import { outDir, root } from './server.ts'

export interface Results {
  readonly server: string
  readonly durability: Readonly<Record<string, string>>
  readonly startSeconds: { readonly empty: number; readonly again: number }
  readonly memory: { readonly idle: Memory; readonly loaded: Memory; readonly after: Memory }
  readonly rows: readonly Row[]
}

const columns = ['scenario', 'conn.', 'per second', 'MB/s', 'p50 ms', 'p99 ms', 'CPU us/req', 'node', 'postgres', 'refused', 'broken']

export function tableHead(): string {
  return columns.map((name, index) => (index === 0 ? name.padEnd(12) : name.padStart(11))).join('')
}

export function tableLine(row: Row): string {
  const { scenario, connections, requests, seconds } = row
  const cells = [
    String(connections),
    decimals(requests / seconds, isLarge(scenario) ? 1 : 0),
    scenario === 'put' || scenario === 'get' || isLarge(scenario) ? decimals(row.bytes / seconds / 1e6, 1) : scenario === 'list' ? `${decimals((requests * pageKeys) / seconds / 1e3, 0)}k keys` : '',
    decimals(row.p50Ms, 2), decimals(row.p99Ms, 2),
    decimals(row.serverCpuMicroseconds + row.helperCpuMicroseconds, 0), decimals(row.serverCpuMicroseconds, 0), decimals(row.helperCpuMicroseconds, 0),
    String(row.refused), String(row.broken),
  ]
  return scenario.padEnd(12) + cells.map((cell) => cell.padStart(11)).join('')
}

export function summary({ durability, startSeconds, memory }: Results): string {
  return [
    `start: ${decimals(startSeconds.empty, 2)} s in an empty folder, ${decimals(startSeconds.again, 2)} s in one that has data`,
    ...Object.entries(memory).map(([when, { serverBytes, helperBytes, helpers }]: [string, Memory]) =>
      `memory ${when}: ${megabytes(serverBytes + helperBytes)} MB (node ${megabytes(serverBytes)}, PostgreSQL ${megabytes(helperBytes)} in ${helpers} processes)`),
    `durability: ${Object.entries(durability).map(([name, value]) => `${name} ${value}`).join(', ')}`,
  ].join('\n')
}

/** Writes everything as JSON; gives the path. */
export function writeResults(results: Results, options: object): string {
  mkdirSync(outDir, { recursive: true })
  const date = new Date().toISOString()
  const file = path.join(outDir, `${date.replaceAll(':', '').slice(0, 17)}.json`)
  const machine = { cpu: cpus()[0]?.model ?? '', cores: cpus().length, memoryBytes: totalmem(), system: `${platform()} ${arch()} ${release()}`, node: process.version }
  writeFileSync(file, `${JSON.stringify({ date, commit: commit(), machine, options, ...results }, null, 2)}\n`)
  return file
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

function decimals(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

function megabytes(bytes: number): string {
  return decimals(bytes / 1e6, 0)
}
