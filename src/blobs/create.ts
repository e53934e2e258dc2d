import { LRUCache } from 'lru-cache'
import { S3Error } from '../domain/errors.ts'
import { blockTablesMax, smallBodyBytesMaxDefault } from '../domain/limits.ts'
import type { Placement } from '../domain/model.ts'
import { hasRoom } from '../storage/backend.ts'
import type { Drive, Log } from '../storage/backend.ts'
import type { WorkerPool } from '../workers/pool.ts'
import { createSlabs } from '../workers/slabs.ts'
import type { Blobs } from './blobs.ts'
import { createReadBuffers } from './buffers.ts'
import { createDescriptors } from './descriptors.ts'
import { digest } from './digest.ts'
import { createPacked } from './packed.ts'
import type { SmallBody, Appended } from './packed.ts'
import { read } from './read.ts'
import type { ReadContext } from './read.ts'
import { createWatchdog } from './receive.ts'
import { write } from './write.ts'
import type { Writer } from './write.ts'

export interface BlobsOptions {
  /** At least one; placements name them by `id`. */
  readonly drives: readonly Drive[]
  readonly pool: WorkerPool
  readonly smallBodyBytesMax?: number
  /** False: bytes are written but not synced before they are answered (HOLDFAST_DURABILITY=relaxed). Default true. */
  readonly synced?: boolean
  /** From the metadata store; looked at only when a record is not at its place. */
  readonly relocations: (blobs: readonly string[]) => Promise<ReadonlyMap<string, Placement>>
  readonly log: Log
  /** Called for each blob that could not be read as it was written. */
  readonly onRot?: (blob: string) => void
  /** Overrides of `domain/limits.ts`, for tests. */
  readonly segmentBytes?: number
  readonly bodyRateWindowMs?: number
  readonly uploadSlabs?: number
  readonly readBuffers?: number
}

/** What the program itself needs besides the door's three calls. */
export interface OpenBlobs extends Blobs {
  /** Blobs that open readers have yet to open: the sweeper leaves them alone. */
  pinned(): ReadonlySet<string>
  /** Segments that this process appends to. */
  activeSegments(): ReadonlySet<string>
  /** Appends a record that rests elsewhere already: compaction. */
  append(body: SmallBody): Promise<Appended>
  /** A segment's file was removed. */
  forgetSegment(path: string): void
  /** Waits for groups in flight and closes the descriptors. The pool is closed by whoever made it. */
  close(): Promise<void>
}

/** Opens the byte room over these drives. */
export function createBlobs(options: BlobsOptions): OpenBlobs {
  const { drives, pool, log } = options
  const watchdog = createWatchdog(options.bodyRateWindowMs)
  const synced = options.synced ?? true
  let turn = 0

  /** Drives take turns; a suspect one is passed over. */
  function drive(): Drive {
    const healthy = drives.filter((candidate) => candidate.suspect === null)
    const chosen = healthy[turn++ % Math.max(1, healthy.length)]
    if (chosen === undefined) throw new S3Error('ServiceUnavailable', undefined, { status: 503, headers: { 'Retry-After': '30' } })
    return chosen
  }

  /** For what clients bring: the reserve of a disk is for the sweeper and the database. */
  function roomyDrive(): Drive {
    for (let tries = 0; tries < drives.length; tries++) {
      const chosen = drive()
      if (hasRoom(chosen)) return chosen
    }
    packed.seal()
    throw new S3Error('InsufficientStorage', undefined, { status: 507 })
  }

  const packed = createPacked({ pool, drive, log, synced, ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }) })
  const writer: Writer = {
    pool, packed, drive: roomyDrive, watchdog, log, synced,
    slabs: createSlabs(options.uploadSlabs),
    smallBodyBytesMax: options.smallBodyBytesMax ?? smallBodyBytesMaxDefault,
    load: { smallBytes: 0, smallBodies: 0, uploads: 0 },
  }
  const context: ReadContext = {
    drives: new Map(drives.map((each) => [each.id, each])),
    buffers: createReadBuffers(options.readBuffers),
    descriptors: createDescriptors(),
    tables: new LRUCache<string, Uint32Array>({ max: blockTablesMax }),
    relocations: options.relocations,
    pins: new Map(),
    onRot: options.onRot ?? (() => undefined),
    log,
  }
  return {
    write: (body, writeOptions) => write(writer, body, writeOptions),
    read: (manifest, start, end) => read(context, manifest, start, end),
    digest: (manifest, algorithms) => digest(context, pool, manifest, algorithms),
    pinned: () => new Set(context.pins.keys()),
    activeSegments: () => packed.active(),
    append: (body) => packed.append(body),
    forgetSegment: (path) => context.descriptors.forget(path),
    async close() {
      await packed.close()
      watchdog.close()
      context.descriptors.close()
    },
  }
}
