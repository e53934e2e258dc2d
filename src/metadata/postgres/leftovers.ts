import { execFile } from 'node:child_process'
import { readFile, readdir, readlink, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/**
 * Clears the way after a start that was never stopped (kill -9, power loss): stops a PostgreSQL that still runs on this very
 * folder because its parent was killed, and removes a lock file whose process id now belongs to somebody else. The caller
 * holds the data folder's lock, so that nobody else can be using this PostgreSQL.
 */
export async function clearLeftovers(cluster: string, socketFolder: string): Promise<void> {
  const lockFile = join(cluster, 'postmaster.pid')
  const postmaster = await pidIn(lockFile)
  if (postmaster === null) return
  await stopRunning(cluster, postmaster)
  if (alive(postmaster)) {
    // The id was given to another program since: PostgreSQL would take it for a server that still runs.
    await rm(lockFile, { force: true })
  }
  // The socket's own lock file holds the same process id and would be misread in the same way.
  await rm(join(socketFolder, '.s.PGSQL.5432.lock'), { force: true })
  await rm(join(socketFolder, '.s.PGSQL.5432'), { force: true })
}

/** Fast shutdown first, which writes a checkpoint; then the one that leaves recovery to the next start; then none at all. */
async function stopRunning(cluster: string, postmaster: number): Promise<void> {
  const steps = [{ signal: 'SIGINT', waitMs: 20_000 }, { signal: 'SIGQUIT', waitMs: 5_000 }] as const
  for (const { signal, waitMs } of steps) {
    if (!(await runningOn(cluster)).includes(postmaster)) break
    kill(postmaster, signal)
    await within(waitMs, async () => !(await runningOn(cluster)).includes(postmaster))
  }
  // Without a postmaster they end by themselves at once, except one that waits for a lock of another that died with it: for ever.
  const ended = async (): Promise<boolean> => (await runningOn(cluster)).length === 0
  if (await within(500, ended)) return
  for (const pid of await runningOn(cluster)) kill(pid, 'SIGKILL')
  if (!(await within(5_000, ended))) throw new Error(`A PostgreSQL that does not end is still running on ${cluster}.`)
}

/** Whether it came true in time. */
async function within(waitMs: number, isTrue: () => Promise<boolean>): Promise<boolean> {
  for (const until = Date.now() + waitMs; ;) {
    if (await isTrue()) return true
    if (Date.now() >= until) return false
    await sleep(20)
  }
}

/** Process ids that work in the folder: a postmaster and all its children have it as their working directory. */
async function runningOn(cluster: string): Promise<number[]> {
  const folder = await realpath(cluster)
  if (process.platform !== 'linux') {
    const { stdout } = await promisify(execFile)('ps', ['-axo', 'pid=,command='])
    return stdout.split('\n').filter((line) => line.includes(`-D ${cluster}`)).map((line) => parseInt(line, 10))
  }
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')))
  const found: number[] = []
  for (const [index, pid] of pids.entries()) {
    // A shell that somebody left in this folder is not ours to end.
    if (folders[index] === folder && (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).startsWith('postgres')) found.push(Number(pid))
  }
  return found
}

async function pidIn(lockFile: string): Promise<number | null> {
  const text = await readFile(lockFile, 'utf8').catch(() => '')
  const pid = parseInt(text, 10)
  return Number.isSafeInteger(pid) && pid > 1 ? pid : null
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  return true
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
