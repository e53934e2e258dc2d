import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { CarriedRecord } from '../domain/model.ts'
import { segmentPath, type Drive, type Log } from './backend.ts'

/**
 * Puts records that the database carried back into their segments, where a loss of power may have taken them, and syncs those; resolves with
 * the segments whose records are durable now. Each has its own place, which nobody else ever writes to, so that it does no harm to do it again.
 * Rejects with the error of the disk. For the start, before anybody reads.
 */
export async function restoreCarried(drive: Drive, records: readonly CarriedRecord[], log: Log): Promise<string[]> {
  const restored: string[] = []
  for (const [segment, own] of Map.groupBy(records, (record) => record.segment)) {
    const file = await open(join(drive.root, segmentPath(segment)), 'r+').catch((error: unknown) => {
      if ((error as { code?: string }).code === 'ENOENT') return null
      throw error
    })
    if (file === null) {
      log.warn('the database carries records of a segment that is not there: run fsck, and when it misses nothing of this segment, delete its rows from carried_records', { segment, records: own.length })
      continue
    }
    try {
      let written = 0
      for (const record of own) written += (await putBack(file, record)) ? 1 : 0
      // Also where all is there: it may be so in memory alone.
      await file.sync()
      if (written > 0) log.info('records were put back that a loss of power had taken', { segment, records: written })
    } finally {
      await file.close()
    }
    restored.push(segment)
  }
  return restored
}

/** Whether it was missing. */
async function putBack(file: FileHandle, { at, bytes }: CarriedRecord): Promise<boolean> {
  const there = Buffer.alloc(bytes.length)
  const { bytesRead } = await file.read(there, 0, there.length, at)
  if (bytesRead === bytes.length && there.equals(bytes)) return false
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten
  return true
}
