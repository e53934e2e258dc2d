import { open, readdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import type { Extent } from '../../src/domain/model.ts'
import { segmentHeaderBytes } from '../../src/storage/backend.ts'
import { createSweeper, type Sweeper, type SweeperOptions } from '../../src/storage/sweeper.ts'
import { poolOfFile } from './blobs-pool.ts'
import { bodyOf, openRoom, patterned, silent, writeOptions, type Room } from './blobs-room.ts'
import { memoryStore, type MemoryStore } from './sweeper-store.ts'

export const smallMax = 20_000

/** A byte room with what a database would know of it, fresh for each test of a file, and a sweeper of both. */
export interface SweeperRoom {
  room: Room
  readonly memory: MemoryStore
  sweeper(more?: Partial<SweeperOptions>): Sweeper
  store(size: number, seed?: number, key?: string): Promise<Stored>
  /** Lets everything stored so far look two days old. */
  age(): Promise<void>
  /** As after a power cut within the first group. */
  loseHeader(segment: string): Promise<void>
  /** Changes one byte of a file of the drive. */
  rot(path: string, at: number): Promise<void>
  segments(): Promise<string[]>
}

export interface Stored {
  readonly extent: Extent
  readonly bytes: Buffer
}

export function sweeperOfFile(): SweeperRoom {
  const pool = poolOfFile()
  let room: Room
  let memory: MemoryStore
  beforeEach(async () => {
    memory = memoryStore()
    room = await openRoom({ pool, smallBodyBytesMax: smallMax, segmentBytes: 128 * 1024, relocations: (blobs) => memory.store.relocations(blobs) })
    memory.drives.push({ id: 1, uuid: room.drive.uuid, createdAt: room.drive.createdAt })
  })
  afterEach(() => room.close())
  return {
    get room() { return room },
    set room(reopened) { room = reopened },
    get memory() { return memory },

    sweeper: (more = {}) => createSweeper({ store: memory.store, drives: [room.drive], blobs: room.blobs, log: silent, graceMs: 0, segmentBytes: 128 * 1024, ...more }),

    async store(size, seed = 1, key = `k${seed}`) {
      const bytes = patterned(size, seed)
      const { manifest } = await room.blobs.write(bodyOf(bytes), writeOptions({ owner: { bucketId: 1, key } }))
      const extent = manifest[0] as Extent
      memory.add(extent)
      return { extent, bytes }
    },

    async age() {
      const then = new Date(Date.now() - 2 * 86_400_000)
      for (const path of Object.keys(await room.files())) await utimes(join(room.root, path), then, then)
    },

    async loseHeader(segment) {
      const file = await open(join(room.root, 'segments', segment), 'r+')
      await file.write(Buffer.alloc(segmentHeaderBytes), 0, segmentHeaderBytes, 0)
      await file.close()
    },

    async rot(path, at) {
      const file = await open(join(room.root, path), 'r+')
      const byte = Buffer.alloc(1)
      await file.read(byte, 0, 1, at)
      await file.write(Buffer.from([(byte[0] ?? 0) ^ 0x10]), 0, 1, at)
      await file.close()
    },

    segments: async () => (await readdir(join(room.root, 'segments'))).filter((name) => !name.endsWith('.notes')),
  }
}
