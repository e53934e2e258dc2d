/**
 * Door of the storage room. It promises:
 * - What a write acknowledged is durable; what it refused left nothing behind.
 * - A placement stays readable until the sweeper removes it; an open reader outlives even that.
 * - Formats on disk carry a version and can be read without the database.
 * - A drive whose sync failed once is not written to again by this process.
 */
import { join } from 'node:path'
import { openDrive } from './local/drive.ts'
import type { Drive } from './local/drive.ts'

export type { Drive, IoFailure } from './local/drive.ts'
export { assertWritable, distrusted, driveFigures, durably, hasRoom, ioFailure, openDrive, processToken, syncData, syncFolder, SyncError, writeError } from './local/drive.ts'
export type { BlobFooter } from './local/file.ts'
export { blobPath, decodeFooter, encodeFooter } from './local/file.ts'
export { encodeSegmentHeader, recordBody, recordBytes, recordHeaderBytes, scanSegment, sealRecord, segmentHeaderBytes } from './local/segment.ts'
export { crc32c } from './local/crc32c.ts'
export type { Reserve } from './local/reserve.ts'
export { createReserve } from './local/reserve.ts'
export type { StraightFile } from './local/straight.ts'
export { openStraight, pageBytes, writeFully } from './local/straight.ts'

/** Where operators read what happened to their drives; wired to the program's logger by `start.ts`. */
export interface Log {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
}

/** The drive of a data folder. `register` gives the number of a drive's uuid (the metadata store's `registerDrive`). */
export async function openLocal(options: { dataDir: string; register: (uuid: string) => Promise<number> }): Promise<Drive[]> {
  return [await openDrive({ root: join(options.dataDir, 'drive'), register: options.register })]
}

/** Where a segment's file is below the root of its drive. */
export function segmentPath(segment: string): string {
  return `segments/${segment}`
}
export type { Holdings } from './local/inventory.ts'
export type { Block, BlobFile } from './local/reading.ts'
export type { ScrubStatus } from './scrub-background.ts'
export type { SweeperStatus, SweepReport } from './sweeper.ts'
export { blockOf, closeRead, openBlobFile, openToRead, readBlock, readBlockHere, readRecord, readRecordAtHand, RotError } from './local/reading.ts'
