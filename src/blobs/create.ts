import { LRUCache } from 'lru-cache'
import { S3Error } from '../domain/errors.ts'
import { blockTablesMax, smallBodyBytesMaxDefault } from '../domain/limits.ts'
import type { Placement } from '../domain/model.ts'
import { driveFigures, hasRoom } from '../storage/backend.ts'
import type { Drive, Log } from '../storage/backend.ts'
import { cacheMeter, countOne, createMeters, type Meters } from '../telemetry/metrics.ts'
import type { WorkerPool } from '../workers/pool.ts'
import { createSlabs } from '../workers/slabs.ts'
import type { Blobs } from './blobs.ts'
import { createReadBuffers } from './buffers.ts'
import type { ForgetCarried } from './carrying.ts'
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
  /** The store's; default null: no record is carried. */
  readonly forgetCarried?: ForgetCarried | null
  readonly log: Log
  /** Called for each blob that could not be read as it was written. */
  readonly onRot?: (blob: string) => void
  /** Overrides of `domain/limits.ts`, for tests. */
  readonly segmentBytes?: number
  readonly bodyRateWindowMs?: number
  readonly uploadSlabs?: number
  readonly readBuffers?: number
  readonly meters?: Meters
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
  const meters = options.meters ?? createMeters()
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
  function roomyDrive(bytes: number): Drive {
    for (let tries = 0; tries < drives.length; tries++) {
      const chosen = drive()
      if (hasRoom(chosen, bytes)) return chosen
    }
    packed.seal()
    throw new S3Error('InsufficientStorage', undefined, { status: 507 })
  }

  const packed = createPacked({ pool, drive, log, synced, meters, forgetCarried: options.forgetCarried ?? null, ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }) })
  const writer: Writer = {
    pool, packed, drive: roomyDrive, watchdog, log, synced, meters,
    slabs: createSlabs(options.uploadSlabs),
    smallBodyBytesMax: options.smallBodyBytesMax ?? smallBodyBytesMaxDefault,
    load: { smallBytes: 0, smallBodies: 0, uploads: 0 },
  }
  const context: ReadContext = {
    drives: new Map(drives.map((each) => [each.id, each])),
    buffers: createReadBuffers(options.readBuffers),
    readBlock: (block, buffer) => pool.read(block, buffer),
    descriptors: createDescriptors(undefined, cacheMeter(meters, 'segments')),
    tables: new LRUCache<string, Uint32Array>({ max: blockTablesMax }),
    relocations: options.relocations,
    pins: new Map(),
    onRot(blob) {
      countOne(meters.rot, 'read')
      options.onRot?.(blob)
    },
    log,
  }
  // What alerts look at is there before it happens: a counter that appears with 1 shows no increase.
  countOne(meters.rot, 'read', 0)
  watch(meters, pool, writer.load, drives)
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

/** What is looked at when somebody asks. */
function watch(meters: Meters, pool: WorkerPool, load: Writer['load'], drives: readonly Drive[]): void {
  meters.watch('holdfast_uploads_in_flight', () => load.uploads)
  meters.watch('holdfast_queue_length', () => pool.pools().map(({ name, queued }) => [name, queued]))
  meters.watch('holdfast_pool_threads', () => pool.pools().map(({ name, threads }) => [name, threads.length]))
  meters.watch('holdfast_pool_running_tasks', () => pool.pools().map(({ name, running }) => [name, running]))
  const figures = () => drives.map((drive) => ({ name: String(drive.id), ...driveFigures(drive) }))
  meters.watch('holdfast_drive_size_bytes', () => figures().flatMap(({ name, size }) => (size === null ? [] : [[name, size]])))
  meters.watch('holdfast_drive_free_bytes', () => figures().flatMap(({ name, free }) => (free === null ? [] : [[name, free]])))
  meters.watch('holdfast_drive_suspect', () => figures().map(({ name, suspect }) => [name, suspect ? 1 : 0]))
  meters.watch('holdfast_drive_errors_total', () => figures().flatMap(({ name, failures }) => ['full', 'sync', 'write'].map((kind): [string, number] => [`${name} ${kind}`, failures.get(kind) ?? 0])))
}
