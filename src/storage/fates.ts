import type { Placement } from '../domain/model.ts'
import type { BlobFate, CheckStore } from '../metadata/store.ts'
import type { ScannedRecord } from './local/segment.ts'

type Found = Pick<ScannedRecord, 'at' | 'blob' | 'bucketId' | 'key'>

/** What the database says of records that were found in a segment, some hundred at a time; by their offsets. */
export async function fatesAt(store: Pick<CheckStore, 'fates'>, drive: { readonly id: number }, segment: string, records: readonly Found[]): Promise<Map<number, BlobFate>> {
  const fates = new Map<number, BlobFate>()
  // One segment may hold a blob twice, after a move that was broken off.
  for (let left = records; left.length > 0;) {
    const once = new Map(left.map((record) => [record.blob, record]))
    const found = await store.fates([...once.values()].map(({ at, blob, bucketId, key }) => ({ blob, bucketId, key, place: recordPlace(drive, segment, at) })))
    for (const { blob, at } of once.values()) {
      const fate = found.get(blob)
      if (fate !== undefined) fates.set(at, fate)
    }
    left = left.filter((record) => once.get(record.blob) !== record)
  }
  return fates
}

export function recordPlace(drive: { readonly id: number }, segment: string, at: number): Placement {
  return { kind: 'segment', drives: [drive.id], segment, at }
}

export function isAt(place: Placement, segment: string, at: number): boolean {
  return place.kind === 'segment' && place.segment === segment && place.at === at
}
