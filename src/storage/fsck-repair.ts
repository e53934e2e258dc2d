import { mkdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { CheckStore } from '../metadata/store.ts'
import { codeOf, syncFolder } from './local/drive.ts'
import { notesSuffix } from './local/inventory.ts'
import { trashName } from './fsck.ts'
import type { Repairable } from './fsck.ts'

export interface Repaired {
  /** Files that were moved to a trash folder: orphans, segments without anything live, old temporary files. */
  moved: number
  movedBytes: number
  /** Records that the database finds again. */
  relocations: number
  /** The trash folders, each with a command that puts everything back. */
  trash: { folder: string; back: string }[]
}

/**
 * Moves what no row names to a trash folder on its own drive, below the same path that it had; deletes nothing. Tells the database
 * where records are that it lost: that only adds rows. Both may be done again.
 */
export async function repair(store: Pick<CheckStore, 'addRelocations' | 'namesStill'>, found: Repairable, now: Date): Promise<Repaired> {
  const repaired: Repaired = { moved: 0, movedBytes: 0, relocations: 0, trash: [] }
  const stamp = now.toISOString().replaceAll(/[:.]/g, '-')
  const used = new Set<string>()

  async function toTrash(root: string, path: string, bytes: number): Promise<void> {
    const folder = join(root, trashName, stamp)
    const target = join(folder, path.slice(root.length + 1))
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    try {
      await rename(path, target)
    } catch (error) {
      // The sweeper was here first.
      if (codeOf(error) === 'ENOENT') return
      throw error
    }
    for (const each of [dirname(target), dirname(path)]) syncFolder(each)
    if (!used.has(folder)) {
      used.add(folder)
      for (const each of [folder, join(root, trashName), root]) syncFolder(each)
      repaired.trash.push({ folder, back: `cp -a --no-clobber ${quoted(folder)}/. ${quoted(root)}/` })
    }
    repaired.moved += 1
    repaired.movedBytes += bytes
  }

  for (const { drive, path, bytes } of [...found.orphanFiles, ...found.temporaries]) await toTrash(drive.root, path, bytes)
  for (const { drive, segment } of found.segments) {
    await toTrash(drive.root, segment.path, segment.bytes)
    await toTrash(drive.root, segment.path + notesSuffix, 0).then(() => undefined)
  }
  for (const { blob, place, row } of found.lost) {
    if (await store.namesStill(row)) repaired.relocations += await store.addRelocations([{ blob, place }])
  }
  return repaired
}

const quoted = (path: string): string => `'${path.replaceAll(`'`, `'\\''`)}'`
