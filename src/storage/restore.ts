import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { CarriedRecord } from '../domain/model.ts'
import { segmentPath, type Drive, type Log } from './backend.ts'
import { codeOf } from './local/drive.ts'

/**
 * Puts records that the database carried back into their segments, where a loss of power may have taken them, and syncs those; resolves with
 * the segments whose records are durable now. Each has its own place, which nobody else ever writes to, so that it does no harm to do it again.
 * Where the disk refuses, the database carries on, and what is missing cannot be read until the next start. For the start, before anybody reads.
 */
export async function restoreCarried(drive: Drive, records: readonly CarriedRecord[], log: Log): Promise<string[]> {
  const restored: string[] = []
  for (const [segment, own] of Map.groupBy(records, (record) => record.segment)) {
    try {
      const written = await putAllBack(join(drive.root, segmentPath(segment)), own)
      if (written > 0) log.info('records were put back that a loss of power had taken', { segment, records: written })
      restored.push(segment)
    } catch (error) {
      const isGone = codeOf(error) === 'ENOENT'
      if (isGone) log.warn('the database carries records of a segment that is not there: run fsck, and when it misses nothing of this segment, delete its rows from carried_records', { segment, records: own.length })
      else log.error('records could not be put back; they stay in the database, and the next start tries again', { segment, records: own.length, error: String(error) })
    }
  }
  return restored
}

/** How many were missing. */
async function putAllBack(path: string, records: readonly CarriedRecord[]): Promise<number> {
  const file = await open(path, 'r+')
  try {
    let written = 0
    for (const record of records) written += (await putBack(file, record)) ? 1 : 0
    // Also where all is there: it may be so in memory alone.
    await file.sync()
    return written
  } finally {
    await file.close()
  }
}

/** Whether it was missing. */
async function putBack(file: FileHandle, { at, bytes }: CarriedRecord): Promise<boolean> {
  const there = Buffer.alloc(bytes.length)
  const { bytesRead } = await file.read(there, 0, there.length, at)
  if (bytesRead === bytes.length && there.equals(bytes)) return false
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten
  return true
}
