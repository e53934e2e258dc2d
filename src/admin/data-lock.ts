import { statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface DataLock {
  /** Throws when the locked folder is no longer the one at this path: it was removed or replaced under the server. */
  assertHeld(): void
  release(): void
}

/** Another server runs on this data folder. */
export class DataFolderInUse extends Error {
  constructor(dataDir: string) {
    super(`The data folder ${dataDir} is in use by another Holdfast server. Stop that one, or set HOLDFAST_DATA_DIR to another folder.`)
    this.name = 'DataFolderInUse'
  }
}

const lockedCode = 5 // SQLITE_BUSY

/**
 * Takes the data folder for this process; makes it when it is not there. The lock must die with its process, however that dies,
 * and must hold between containers that share a volume: that is what a lock of the operating system on a file does. Node gives
 * no direct access to one, SQLite does: an exclusive transaction on an empty database is that lock and nothing else.
 *
 * @throws DataFolderInUse when another process holds it.
 */
export async function lockDataFolder(dataDir: string): Promise<DataLock> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const file = path.join(dataDir, 'holdfast.lock')
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === lockedCode) throw new DataFolderInUse(dataDir)
    throw error
  }
  const inode = (): bigint | undefined => statSync(file, { bigint: true, throwIfNoEntry: false })?.ino
  const locked = inode()
  return {
    assertHeld() {
      if (inode() !== locked) throw new Error(`The data folder ${dataDir} was removed or replaced while the server was running.`)
    },
    release: () => database.close(),
  }
}
