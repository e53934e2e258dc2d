import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, newerDrive, readMarker } from './local/drive.ts'
import { isNewerSegment, segmentHeaderBytes } from './local/segment.ts'

const readAtOnce = 32

/**
 * Rejects when a newer program wrote to the drive at `root`: its marker or a segment has a format that this one does not know. Asked
 * before the database is migrated or anything is written. One that is not there yet is fine. A terabyte of small objects is 16,000 headers.
 */
export async function assertKnownFormats(root: string): Promise<void> {
  await readMarker(root)
  const folder = join(root, 'segments')
  const names = await readdir(folder).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  })
  const left = names.values()
  const look = async (): Promise<void> => {
    for (const name of left) if (await isNewerFile(join(folder, name))) throw newerDrive(root, `segments/${name} has a format that this program does not know`)
  }
  await Promise.all(Array.from({ length: readAtOnce }, look))
}

async function isNewerFile(path: string): Promise<boolean> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    // Replicas that share the drive may have removed it meanwhile.
    if (codeOf(error) === 'ENOENT') return null
    throw error
  })
  if (handle === null) return false
  try {
    const head = Buffer.alloc(segmentHeaderBytes)
    const { bytesRead } = await handle.read(head, 0, head.length, 0)
    return isNewerSegment(head.subarray(0, bytesRead))
  } finally {
    await handle.close()
  }
}
