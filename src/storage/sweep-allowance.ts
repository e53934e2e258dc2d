import { writeFileSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { orphanBlobsFloor, orphanBytesFloor, orphanShareMax } from '../domain/limits.ts'
import { codeOf, durably, processToken } from './local/drive.ts'
import type { Drive } from './local/drive.ts'

/**
 * An operator's word that so many orphans of a drive may go, after the sweeper stopped because it found too many. It is a file on the
 * drive, so that it reaches whichever process sweeps; it serves once, for what was counted then, and for a week.
 */
export const allowanceName = 'allow-orphans.json'
const allowanceMs = 7 * 86_400_000

export interface Orphans {
  readonly blobs: number
  readonly bytes: number
}

/** Whether so many orphans look like a wrong database rather than litter. */
export function areTooMany({ blobs, bytes }: Orphans, driveBytes: number): boolean {
  return (blobs > orphanBlobsFloor || bytes > orphanBytesFloor) && bytes > driveBytes * orphanShareMax
}

export async function allowOrphans(drive: Pick<Drive, 'root'>, { blobs, bytes }: Orphans): Promise<void> {
  const tmp = join(drive.root, 'tmp', processToken)
  await mkdir(tmp, { recursive: true, mode: 0o700 })
  const text = JSON.stringify({ format: 1, allowedAt: Date.now(), blobs, bytes })
  await durably({ root: drive.root, tmp, path: allowanceName }, async (fd) => {
    writeFileSync(fd, text)
    return true
  })
}

/** Whether an operator allowed these to go. What came of age since then is litter like any other. */
export async function isAllowed(drive: Pick<Drive, 'root'>, { blobs, bytes }: Orphans): Promise<boolean> {
  const text = await readFile(join(drive.root, allowanceName), 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  })
  if (text === null) return false
  try {
    const allowed = JSON.parse(text) as Partial<Orphans & { format: number; allowedAt: number }>
    return allowed.format === 1 && (allowed.allowedAt ?? 0) > Date.now() - allowanceMs
      && blobs <= (allowed.blobs ?? 0) + orphanBlobsFloor && bytes <= (allowed.bytes ?? 0) + orphanBytesFloor
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}

export async function endAllowance(drive: Pick<Drive, 'root'>): Promise<void> {
  await rm(join(drive.root, allowanceName), { force: true })
}
