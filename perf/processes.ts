import { readdirSync, readFileSync } from 'node:fs'

/** What a server and all its helper processes have used. */
export interface Usage {
  /** CPU seconds of user and system time: the process that was started, and all below it. */
  readonly serverSeconds: number
  readonly helperSeconds: number
}

export interface Memory {
  /** Proportional set size in bytes: memory that processes share (PostgreSQL's buffers) counts once in the sum. */
  readonly serverBytes: number
  readonly helperBytes: number
  readonly helpers: number
}

/** Linux's USER_HZ, the same on all platforms that Node runs on. */
const ticksPerSecond = 100

interface Stat {
  readonly pid: number
  readonly parent: number
  readonly seconds: number
}

/** CPU time of the process and its descendants, those that have ended and were waited for included. */
export function usageOf(pid: number): Usage {
  const [server, ...helpers] = treeOf(pid)
  return { serverSeconds: server?.seconds ?? 0, helperSeconds: helpers.reduce((sum, helper) => sum + helper.seconds, 0) }
}

export function memoryOf(pid: number): Memory {
  const [server, ...helpers] = treeOf(pid)
  return {
    serverBytes: server === undefined ? 0 : pssOf(server.pid),
    helperBytes: helpers.reduce((sum, helper) => sum + pssOf(helper.pid), 0),
    helpers: helpers.length,
  }
}

/** What runs below a process, with its command line. */
export function descendantsOf(pid: number): { readonly pid: number; readonly command: string }[] {
  return treeOf(pid).slice(1).map((child) => ({ pid: child.pid, command: (readProc(`/proc/${child.pid}/cmdline`) ?? '').replaceAll('\0', ' ').trimEnd() }))
}

/** The process first, then everything below it. */
function treeOf(root: number): Stat[] {
  const all = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).map((name) => statOf(Number(name))).filter((stat) => stat !== null)
  const tree = all.filter((stat) => stat.pid === root)
  for (let at = 0; at < tree.length; at++) {
    tree.push(...all.filter((stat) => stat.parent === tree[at]?.pid && stat.pid !== root))
  }
  return tree
}

/** proc_pid_stat(5). The name of the program is in brackets and may hold spaces, so the fields are counted from behind it. */
function statOf(pid: number): Stat | null {
  const text = readProc(`/proc/${pid}/stat`)
  if (text === null) return null
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number)
  const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15)
  return { pid, parent: fields[1] ?? 0, seconds: (utime + stime + cutime + cstime) / ticksPerSecond }
}

function pssOf(pid: number): number {
  const match = /^Pss:\s+([0-9]+) kB$/m.exec(readProc(`/proc/${pid}/smaps_rollup`) ?? '')
  return Number(match?.[1] ?? 0) * 1024
}

/** Null when the process has ended between the listing and the reading. */
function readProc(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return null
    throw error
  }
}
