import { readdir, readFile } from 'node:fs/promises'

/** A process and all its children: PostgreSQL's processes lead sessions of their own, so a signal to the group reaches only the first. */
export async function familyOf(pid: number): Promise<number[]> {
  const names = (await readdir('/proc').catch(() => [] as string[])).filter((name) => /^\d+$/.test(name))
  const children: number[] = []
  for (const name of names) {
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    if (Number(stat.replace(/^.*\) /s, '').split(' ')[1]) === pid) children.push(Number(name))
  }
  return [pid, ...children]
}

/** Sends a signal to each; those that are gone already are no matter. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
}

/** Memory of a process in bytes: what it holds now (VmRSS) or held at most since it started (VmHWM). */
export async function memoryBytes(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(await readFile(`/proc/${pid}/status`, 'utf8'))
  return Number(found?.[1]) * 1024
}
