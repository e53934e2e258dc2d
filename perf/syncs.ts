import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openBench } from './bench.ts'
import type { Figure } from './figure.ts'
import type { Subject } from './peers.ts'
import { measure } from './scenarios.ts'

/** Calls that make bytes durable; a file that is opened to sync each write counts once. */
const calls = ['fsync', 'fdatasync', 'sync_file_range', 'syncfs', 'msync']
const seconds = 2

export function hasStrace(): boolean {
  try {
    execFileSync('strace', ['--version'], { stdio: 'ignore' })
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}

/**
 * Syncs for one PUT of 4 KiB, counted by strace over the server and all its helpers. A run apart: the traced server is slower, so
 * its groups are not those of a free one, and no rate of it counts.
 */
export async function measureSyncs(subject: Subject, dataDir: string, connectionCounts: readonly number[]): Promise<Figure[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-strace-'))
  const file = path.join(folder, 'calls')
  try {
    // -D: the tracer is a process beside the server, which so keeps its place and its signals.
    const wrapper = ['strace', '-D', '-f', '--seccomp-bpf', '-qq', '-ttt', '-e', `trace=${calls.join(',')},open,openat`, '-e', 'signal=none', '-o', file]
    const server = await subject.start({ dataDir, wrapper })
    const figures: Figure[] = []
    try {
      const bench = await openBench(server, { seconds, objects: 2000, round: 'syncs' })
      for (const connections of connectionCounts) {
        const from = Date.now() / 1000
        const { requests } = await measure(bench, 'put', connections)
        const syncs = countSyncs(file, from, Date.now() / 1000)
        figures.push({ name: `put ${connections}: syncs/object`, unit: '', value: requests === 0 ? 0 : syncs / requests, better: 'less' })
      }
    } finally {
      await server.stop()
    }
    return figures
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A call that another thread's interrupts is printed twice; the second line names no arguments and says `resumed`. */
function countSyncs(file: string, from: number, to: number): number {
  if (!existsSync(file)) throw new Error('strace has written nothing')
  let count = 0
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const match = /^[0-9]+\s+([0-9.]+) (\w+)\((.*)/.exec(line)
    if (match === null) continue
    const [, at = '', call = '', rest = ''] = match
    if (Number(at) < from || Number(at) > to) continue
    if (calls.includes(call) || /\bO_D?SYNC\b/.test(rest)) count++
  }
  return count
}
