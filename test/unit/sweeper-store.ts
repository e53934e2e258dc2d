import type { Extent } from '../../src/domain/model.ts'
import { segmentHeaderBytes } from '../../src/storage/backend.ts'
import type { SweeperStore } from '../../src/storage/sweeper.ts'

/** A place in a segment that is no more. */
export const gonePlace: Extent['place'] = { kind: 'segment', drives: [1], segment: 'ff'.repeat(11), at: segmentHeaderBytes }

/** The sweeper's view of the metadata, kept in memory by its documented rules. */
export function memoryStore() {
  const rows = new Map<string, Extent>()
  const released: { id: number; at: number; blob: string; length: number; place: Extent['place'] }[] = []
  const moved = new Map<string, Extent['place']>()
  const shared = new Set<string>()
  const drives: { id: number; uuid: string; createdAt: number }[] = []
  let nextId = 1
  const store: SweeperStore = {
    sweeping: (work) => work(() => false),
    scrubbing: (work) => work(() => false),
    released: async (olderThanMs, limit, afterId = 0) => released.filter(({ id, at }) => id > afterId && at <= Date.now() - olderThanMs).slice(0, limit),
    async forgetReleased(ids) {
      for (const id of ids) for (const { blob } of released.splice(released.findIndex((entry) => entry.id === id), 1)) moved.delete(blob)
    },
    referenced: async (blobs) => new Set(blobs.map(({ blob }) => blob).filter((blob) => rows.has(blob) || released.some((entry) => entry.blob === blob))),
    fates: async (blobs) => new Map(blobs.map(({ blob, place }) => {
      const [row, release] = [rows.get(blob), released.find((entry) => entry.blob === blob)]
      const here = [row, release].some((named) => JSON.stringify(named?.place) === JSON.stringify(place))
      return [blob, { live: row !== undefined, here, released: row === undefined && release !== undefined, shared: shared.has(blob), moved: moved.get(blob) ?? null }]
    })),
    relocations: async (blobs) => new Map([...moved].filter(([blob]) => blobs.includes(blob))),
    async relocate(moves) {
      // As PostgreSQL has it for one statement.
      if (new Set(moves.map(({ blob }) => blob)).size < moves.length) throw new Error('a row cannot be changed twice')
      for (const { blob, from, place } of moves) if (JSON.stringify(moved.get(blob) ?? null) === JSON.stringify(from)) moved.set(blob, place)
    },
    drives: async () => drives,
    registerDrive: async () => 1,
  }
  return {
    store, drives,
    add: (extent: Extent) => void rows.set(extent.blob, extent),
    release(extent: Extent, agoMs = 0) {
      rows.delete(extent.blob)
      released.push({ id: nextId++, at: Date.now() - agoMs, blob: extent.blob, length: extent.blobLength, place: extent.place })
    },
    /** As a copy does, of which the row of its own may have gone since. */
    share: (extent: Extent) => void shared.add(extent.blob),
    waiting: () => released.length,
    /** As if there had never been a row. */
    forget: (extent: Extent) => void rows.delete(extent.blob),
    /** As a database does that was restored from a backup. */
    forgetMoves: () => moved.clear(),
    /** As one does that was restored from a backup of before another compaction. */
    misplace: () => [...moved.keys()].forEach((blob) => moved.set(blob, gonePlace)),
    relocated: () => moved,
  }
}

export type MemoryStore = ReturnType<typeof memoryStore>
