import { close, fstat, open, read, readSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createCaution } from '../../domain/caution.ts'
import { blockBytes } from '../../domain/limits.ts'
import { crc32c } from './crc32c.ts'
import { blobPath, decodeFooter } from './file.ts'
import { recordBody, recordHeaderBytes } from './segment.ts'

const statOf = promisify(fstat)
const openFd = promisify(open)

/**
 * Plain descriptors, not FileHandles: Node ends the process when a FileHandle is collected open, which would make one forgotten
 * reader fatal.
 */
export async function openToRead(path: string): Promise<number> {
  return openFd(path, 'r')
}

/** Closes a descriptor that was only read from: a failure to close it loses nothing. */
export function closeRead(fd: number): void {
  close(fd, () => undefined)
}

/** Bytes that are not what was written. Readers look for another copy, and otherwise answer an error. */
export class RotError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'RotError'
  }
}

/** One pread of what is missing of `target` behind its first `done` bytes. By hand, because every small read passes here. */
function readAt(fd: number, target: Uint8Array, done: number, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, target, done, target.length - done, at, (error, bytesRead) => (error === null ? resolve(bytesRead) : reject(error)))
  })
}

/** Fills `target` from `at`; short only at the end of the file. */
export async function readFully(fd: number, target: Uint8Array, at: number): Promise<number> {
  let done = 0
  while (done < target.length) {
    const bytesRead = await readAt(fd, target, done, at + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

/** An open blob file. */
export interface BlobFile {
  readonly blob: string
  readonly length: number
  readonly blocks: Uint32Array
  readonly fd: number
}

/** Opens a blob's file; `known` spares the read of a block table that was verified before. Throws RotError, ENOENT. */
export async function openBlobFile(root: string, blob: string, length: number, known?: Uint32Array): Promise<BlobFile> {
  const fd = await openToRead(join(root, blobPath(blob)))
  try {
    return { blob, length, fd, blocks: known ?? (await readTable(fd, blob, length)) }
  } catch (error) {
    closeRead(fd)
    throw error
  }
}

async function readTable(fd: number, blob: string, length: number): Promise<Uint32Array> {
  const { size } = await statOf(fd)
  const bytes = Buffer.alloc(Math.max(0, size - length))
  await readFully(fd, bytes, length)
  const footer = decodeFooter(bytes, blob, length)
  if (footer === null) throw new RotError(`block table of blob ${blob} is damaged`)
  return footer.blocks
}

/**
 * What is in the page cache is read in a few microseconds; to hand the read to another thread costs more than that. So bytes are
 * read in place while this is quick. Two reads in a row that were not, because the disk was asked (one alone may be the scheduler's
 * doing), send the following ones to the threads, for a hundred times as long as they took: the event loop waits for the disk no more
 * than one part in a hundred.
 */
const quickReadMs = 0.05
const quickReadMsPerByte = 0.5 / 1024 ** 2
const quickReadBytesMax = 256 * 1024
const cautionTimes = 100
const cautionMsMax = 60_000

const caution = createCaution(cautionTimes, cautionMsMax)

/** Gives how many bytes were read in place; 0 when they have to be read by another thread. */
function readQuickly(fd: number, target: Uint8Array, at: number): number {
  const before = performance.now()
  if (target.length > quickReadBytesMax || !caution.allows(before)) return 0
  const got = readSync(fd, target, 0, target.length, at)
  const tookMs = performance.now() - before
  caution.took(tookMs, tookMs > quickReadMs + target.length * quickReadMsPerByte, before)
  return got
}

/** One block of a blob file, with all that is needed to read it: plain data, for any thread. */
export interface Block {
  readonly blob: string
  readonly index: number
  /** Descriptors belong to the process. */
  readonly fd: number
  readonly length: number
  readonly crc: number
}

export function blockOf({ blob, fd, length, blocks }: BlobFile, index: number): Block {
  return { blob, index, fd, length: Math.min(blockBytes, length - index * blockBytes), crc: blocks[index] ?? 0 }
}

/** Reads and verifies a block into the first bytes of `buffer` and returns them. Throws RotError. */
export async function readBlock(block: Block, buffer: Uint8Array): Promise<Uint8Array> {
  const bytes = buffer.subarray(0, block.length)
  return verified(block, bytes, await readFully(block.fd, bytes, block.index * blockBytes))
}

/** The same on a thread that may wait. */
export function readBlockHere(block: Block, buffer: Uint8Array): Uint8Array {
  const bytes = buffer.subarray(0, block.length)
  let done = 0
  for (let got = -1; got !== 0 && done < bytes.length; done += got) got = readSync(block.fd, bytes, done, bytes.length - done, block.index * blockBytes + done)
  return verified(block, bytes, done)
}

function verified({ blob, index, crc }: Block, bytes: Uint8Array, got: number): Uint8Array {
  if (got < bytes.length || crc32c(bytes) !== crc) throw new RotError(`block ${index} of blob ${blob} is damaged`)
  return bytes
}

/** Reads and verifies the record of `blob` at offset `at` of a segment with one pread. Throws RotError. */
export async function readRecord(fd: number, at: number, blob: string, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(recordHeaderBytes + length)
  const got = await readFully(fd, bytes, at)
  const body = got < bytes.length ? null : recordBody(bytes, blob, length)
  if (body === null) throw new RotError(`record of blob ${blob} at ${at} is damaged or missing`)
  return body
}

/** Small records are read into pieces of one memory: to allocate each its own takes as long as to copy it. Whoever still sends one keeps the whole. */
const sharedBytes = 64 * 1024
const sharedRecordBytesMax = 16 * 1024
let shared = Buffer.alloc(0)
let sharedUsed = 0

function recordMemory(length: number): Buffer {
  if (length > sharedRecordBytesMax) return Buffer.allocUnsafe(length)
  if (sharedUsed + length > shared.length) {
    shared = Buffer.allocUnsafeSlow(sharedBytes)
    sharedUsed = 0
  }
  sharedUsed += length
  return shared.subarray(sharedUsed - length, sharedUsed)
}

/** The same without waiting; null when the read would not be quick or gave no whole record: `readRecord` then says why. */
export function readRecordAtHand(fd: number, at: number, blob: string, length: number): Uint8Array | null {
  const bytes = recordMemory(recordHeaderBytes + length)
  return readQuickly(fd, bytes, at) === bytes.length ? recordBody(bytes, blob, length) : null
}
