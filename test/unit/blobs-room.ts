import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createBlobs } from '../../src/blobs/blobs.ts'
import type { BlobReader, BlobsOptions, OpenBlobs, PayloadSignature, RequestBody, WriteOptions } from '../../src/blobs/blobs.ts'
import type { Extent } from '../../src/domain/model.ts'
import { openDrive } from '../../src/storage/backend.ts'
import type { Drive, Log } from '../../src/storage/backend.ts'
import { createPool } from '../../src/workers/pool.ts'
import type { WorkerPool } from '../../src/workers/pool.ts'

/** A byte room over a real folder and real threads. */
export interface Room {
  readonly root: string
  readonly drive: Drive
  readonly pool: WorkerPool
  readonly blobs: OpenBlobs
  readonly logged: string[]
  /** Every file below blobs, segments and tmp with its size, to see that nothing was left behind. */
  files(): Promise<Record<string, number>>
  reopen(): Promise<Room>
  close(): Promise<void>
}

export const silent: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** With threads of its own, which end with it, unless a pool is given. */
export async function openRoom(options: Partial<BlobsOptions> & { root?: string } = {}): Promise<Room> {
  const root = options.root ?? (await mkdtemp(join(tmpdir(), 'holdfast-blobs-')))
  const logged: string[] = []
  const note = (message: string, fields?: Readonly<Record<string, unknown>>) => void logged.push(`${message} ${JSON.stringify(fields)}`)
  const log: Log = { info: note, warn: note, error: note }
  const drive = await openDrive({ root, register: async () => 1 })
  const pool = options.pool ?? createPool({ uploadThreads: 2 })
  const blobs = createBlobs({ drives: [drive], relocations: async () => new Map(), log, ...options, pool })
  const end = async () => {
    await blobs.close()
    if (options.pool === undefined) await pool.close()
  }
  return {
    root, drive, pool, blobs, logged,
    files: () => filesBelow(root),
    async reopen() {
      await end()
      return openRoom({ ...options, root })
    },
    async close() {
      await end()
      await rm(root, { recursive: true, force: true })
    },
  }
}

export async function filesBelow(root: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === 'holdfast-drive.json') continue
    const path = join(entry.parentPath, entry.name)
    found[path.slice(root.length + 1)] = (await stat(path)).size
  }
  return found
}

/** Bytes that do not repeat, the same for the same seed. */
export function patterned(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed * 2654435761 + 1
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    bytes[index] = state >>> 24
  }
  return bytes
}

export function bodyOf(wire: Uint8Array, more: { payload?: PayloadSignature; length?: number | null; pieceBytes?: number } = {}): RequestBody {
  const pieceBytes = more.pieceBytes ?? 65536
  let at = 0
  const stream = new Readable({
    read() {
      this.push(at < wire.length ? wire.subarray(at, (at += pieceBytes)) : null)
    },
  })
  return { stream, wireLength: wire.length, length: more.length === undefined ? wire.length : more.length, payload: more.payload ?? { kind: 'unsigned' } }
}

export function writeOptions(more: Partial<WriteOptions> = {}): WriteOptions {
  return { expect: {}, algorithm: 'CRC64NVME', owner: { bucketId: 7, key: 'folder/ключ' }, bytesMax: 5 * 1024 ** 3, ...more }
}

export async function drain(reader: BlobReader): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let bytes = await reader.next(); bytes !== null; bytes = await reader.next()) parts.push(Buffer.from(bytes))
  reader.close()
  return Buffer.concat(parts)
}

export async function readAll(blobs: OpenBlobs, manifest: readonly Extent[], start = 0, end = Infinity): Promise<Buffer> {
  const size = manifest.reduce((sum, extent) => sum + extent.length, 0)
  return drain(await blobs.read(manifest, start, Math.min(end, size)))
}
