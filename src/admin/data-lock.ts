import { statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

export interface DataLock {
  /** The topmost folder that had to be made for it; null when the data folder was there. */
  readonly made: string | null
  /** Throws when the locked folder is no longer the one at this path: it was removed or replaced under the server. */
  assertHeld(): void
  release(): void
}

/** Another server runs on this data folder. */
export class DataFolderInUse extends Error {
  constructor(dataDir: string) {
    super(`The data folder ${dataDir} is in use by another Holdfast server. Stop that one, or set HOLDFAST_DATA_DIR to another folder. `
      + 'Servers that share one over an external database are all set to HOLDFAST_DATA_SHARED=on.')
    this.name = 'DataFolderInUse'
  }
}

const lockedCode = 5 // SQLITE_BUSY
const isLocked = (error: unknown): boolean => error instanceof Error && 'errcode' in error && error.errcode === lockedCode
const exclusively = 'PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE'
/** Any read takes a shared lock, and an open transaction keeps it. */
const together = 'BEGIN; SELECT name FROM sqlite_master'

/**
 * Takes the data folder for this process; makes it when it is not there. The lock must die with its process, however that dies,
 * and must hold between containers that share a volume: that is what a lock of the operating system on a file does. Node gives
 * no direct access to one, SQLite does: an exclusive transaction on an empty database is that lock and nothing else.
 *
 * @param shared replicas that all say so hold it at once; one that does not say so is refused by them, and refuses them.
 * @throws DataFolderInUse when another process holds it.
 */
export async function lockDataFolder(dataDir: string, shared = false): Promise<DataLock> {
  const made = await mkdir(dataDir, { recursive: true, mode: 0o700 }) ?? null
  const file = path.join(dataDir, 'holdfast.lock')
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    database.exec(shared ? together : exclusively)
  } catch (error) {
    database.close()
    if (isLocked(error)) throw new DataFolderInUse(dataDir)
    throw error
  }
  const inode = (): bigint | undefined => statSync(file, { bigint: true, throwIfNoEntry: false })?.ino
  const locked = inode()
  return {
    made,
    assertHeld() {
      if (inode() !== locked) throw new Error(`The data folder ${dataDir} was removed or replaced while the server was running.`)
    },
    release: () => database.close(),
  }
}

/** How long the server processes of a supervisor that was killed may take to notice and end: they do so at once, unless the machine is stuck. */
const goneMsMax = 15_000

const serversFile = (dataDir: string): string => path.join(dataDir, 'holdfast-servers.lock')

/**
 * Marks this server process as one that works on the data folder, until it ends, however it ends. The supervisor's own lock goes
 * with the supervisor; this one says that there may still be somebody who writes.
 */
export function joinServers(dataDir: string): { release(): void } {
  const database = new DatabaseSync(serversFile(dataDir), { timeout: 0 })
  database.exec(together)
  return { release: () => database.close() }
}

/**
 * Waits until no server process works on the data folder that an earlier supervisor started. The caller holds the folder's lock.
 *
 * @throws when one does not end.
 */
export async function withoutOldServers(dataDir: string): Promise<void> {
  const database = new DatabaseSync(serversFile(dataDir), { timeout: 0 })
  const until = performance.now() + goneMsMax
  try {
    for (;;) {
      try {
        database.exec('BEGIN EXCLUSIVE; COMMIT')
        return
      } catch (error) {
        if (!isLocked(error)) throw error
        if (performance.now() > until) throw new Error(`Server processes of a Holdfast that has ended still work on the data folder ${dataDir} and do not end. Stop them.`, { cause: error })
      }
      await sleep(20)
    }
  } finally {
    database.close()
  }
}
