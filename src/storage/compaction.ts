import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { failpoint } from '../domain/failpoint.ts'
import { keyBytesMax } from '../domain/limits.ts'
import type { Placement } from '../domain/model.ts'
import { segmentPath } from './backend.ts'
import type { Drive } from './backend.ts'
import { fatesAt, isAt } from './fates.ts'
import { isSealed, readNotes, removeFile, writeNotes } from './local/inventory.ts'
import type { Holdings, SegmentFile, SegmentNotes } from './local/inventory.ts'
import { closeRead, openToRead, readRecord } from './local/reading.ts'
import { brokenRecord, recordBytes, scanSegment, segmentHeaderBytes, trimSegment } from './local/segment.ts'
import type { ScannedRecord } from './local/segment.ts'
import type { Pass } from './sweeper.ts'

/** Share of dead bytes above which moving the rest pays. */
const deadShareMin = 0.5
const askedAtOnce = 1000

const movedAtOnce = 64

/** All records of a segment. The event loop gets its turn in between: a segment is 64 MiB of checksums. */
async function recordsOf(segment: SegmentFile): Promise<ScannedRecord[]> {
  const records: ScannedRecord[] = []
  for (const record of scanSegment(segment.path)) {
    records.push(record)
    if (records.length % 32 === 0) await setImmediate()
  }
  return records
}

/**
 * Whether something that is no record lies before a record, or a record does not say whose it is. What lies behind the last one is
 * only the group that a crash cut off.
 */
function isDamaged(records: readonly ScannedRecord[]): boolean {
  let expected = segmentHeaderBytes
  for (const record of records) {
    if (record.at !== expected || record.key === '') return true
    expected = record.at + recordBytes(record.length, record.keyBytes)
  }
  return false
}

/**
 * Whether the rest of the segment behind its last whole record begins with one that a row names: damage, not a group that a crash
 * cut off, of which no row ever came to be.
 */
async function endsInDamage(pass: Pass, segment: SegmentFile, records: readonly ScannedRecord[]): Promise<boolean> {
  const last = records.at(-1)
  const broken = brokenRecord(segment.path, last === undefined ? segmentHeaderBytes : last.at + recordBytes(last.length, last.keyBytes))
  return broken !== null && (await pass.store.referenced([broken])).size > 0
}

/** Of these records, the ones that a committed row (or the release queue) still names. */
async function liveBlobs(pass: Pass, records: readonly ScannedRecord[]): Promise<Set<string>> {
  const live = new Set<string>()
  for (let from = 0; from < records.length; from += askedAtOnce) {
    for (const blob of await pass.store.referenced(records.slice(from, from + askedAtOnce))) live.add(blob)
  }
  return live
}

/**
 * Empties a segment that is mostly dead: appends its live records elsewhere and tells the store where. Answers `empty` when
 * nothing in it is live, so that it can go at once; a moved one goes after the grace, for readers that know only the old place, and
 * only when the store still knows where everything went and it is there: one that was restored from a backup may not.
 */
export async function compactSegment(pass: Pass, drive: Drive, segment: SegmentFile, notes: SegmentNotes): Promise<'kept' | 'moved' | 'empty'> {
  const unnoted = pass.unnoted.get(`${drive.id}/${segment.name}`) ?? {}
  const dead = [...Object.values({ ...notes.dead, ...unnoted }), ...Object.values(notes.copies)]
  const bytes = dead.length === 0 ? segment.bytes : trimSegment(segment.path)
  // Notes know no keys, which may be most of a record: a segment that could be dead by the longest of them is looked at, once. The header
  // is no record: beside it a segment of one small record would never be mostly dead.
  const isDead = (keyBytes: number): boolean =>
    dead.length > 0 && dead.reduce((sum, length) => sum + recordBytes(length, keyBytes), 0) >= (bytes - segmentHeaderBytes) * deadShareMin
  if (notes.movedAt === null && !isDead(notes.keyBytes ?? keyBytesMax)) return 'kept'
  const records = await recordsOf(segment)
  if (notes.movedAt === null && notes.keyBytes === null) {
    const keyBytes = Math.ceil(records.reduce((sum, record) => sum + record.keyBytes, 0) / Math.max(1, records.length))
    if (!isDead(keyBytes)) {
      await writeNotes(drive, segment, { ...notes, keyBytes })
      return 'kept'
    }
  }
  const live = await liveBlobs(pass, records)
  const { pinned } = await pass.held()
  // A record that is neither noted as dead nor named by a row may belong to an upload that is being committed.
  const kept = records.filter((record) => pinned.has(record.blob) || (!(record.blob in unnoted) && (live.has(record.blob) || !isNoted(notes, record))))
  if (isDamaged(records) || (await endsInDamage(pass, segment, records))) {
    pass.log.error('segment is damaged: it is kept', { segment: segment.name })
    return 'kept'
  }
  if (kept.length === 0) return 'empty'
  const places = await pass.store.relocations(kept.map(({ blob }) => blob))
  const elsewhere = await wholeElsewhere(pass, segment, kept, places)
  // A move that was broken off may have left a record here twice.
  const unmoved = [...new Map(kept.filter((record) => !elsewhere.has(record)).map((record) => [record.blob, record])).values()]
  // What was of unknown fate at the move went with the rest then.
  const toMove = notes.movedAt === null ? unmoved : unmoved.filter(({ blob }) => live.has(blob))
  if (notes.movedAt !== null && toMove.length === 0) return 'empty'
  const fd = await openToRead(segment.path)
  try {
    for (let from = 0; from < toMove.length; from += movedAtOnce) {
      const group = toMove.slice(from, from + movedAtOnce)
      const moved = await Promise.all(group.map(async (record) => ({ blob: record.blob, from: places.get(record.blob) ?? null, place: await moveRecord(pass, fd, record) })))
      failpoint?.('records copied')
      await pass.store.relocate(moved)
      failpoint?.('records relocated')
    }
  } finally {
    closeRead(fd)
  }
  await writeNotes(drive, segment, { ...notes, movedAt: Date.now() })
  failpoint?.('move noted')
  pass.count.recordsMoved += toMove.length
  return 'moved'
}

/**
 * Of these records, those that the database has at another place and that are whole there. One that was restored from a backup may name a
 * place that is no more: then the record that was found here may be the last one.
 */
async function wholeElsewhere(pass: Pass, segment: SegmentFile, records: readonly ScannedRecord[], places: ReadonlyMap<string, Placement>): Promise<Set<ScannedRecord>> {
  const elsewhere = records.flatMap((record) => {
    const place = places.get(record.blob)
    if (place?.kind !== 'segment' || isAt(place, segment.name, record.at)) return []
    const drives = pass.drives.filter(({ id }) => place.drives.includes(id))
    return drives.length < place.drives.length ? [] : drives.map(({ root }) => ({ record, path: join(root, segmentPath(place.segment)), at: place.at }))
  })
  const whole = new Set(elsewhere.map(({ record }) => record))
  for (const [path, there] of Map.groupBy(elsewhere, (each) => each.path)) {
    const broken = await brokenAt(path, there)
    for (const record of broken) whole.delete(record)
    if (broken.length > 0) pass.log.warn('records are not where the database has them', { segment: basename(path), records: broken.length })
  }
  return whole
}

/** Of these records, those of which no whole one can be read at its offset of a segment file, for whatever reason. */
async function brokenAt(path: string, there: readonly { record: ScannedRecord; at: number }[]): Promise<ScannedRecord[]> {
  const fd = await openToRead(path).catch(() => null)
  if (fd === null) return there.map(({ record }) => record)
  try {
    const broken: ScannedRecord[] = []
    for (const { record, at } of there) {
      const body = await readRecord(fd, at, record.blob, record.length).catch(() => null)
      if (body === null) broken.push(record)
    }
    return broken
  } finally {
    closeRead(fd)
  }
}

async function moveRecord(pass: Pass, fd: number, record: ScannedRecord): Promise<Placement> {
  const body = await readRecord(fd, record.at, record.blob, record.length)
  const { place } = await pass.append({
    blob: record.blob, chunks: [body], length: record.length, owner: { bucketId: record.bucketId, key: record.key },
    plan: { algorithms: [], sha256: null, chain: null, md5: null }, end: { checksums: [], trailer: null }, marks: [], writing: null, mayBeCarried: null,
  })
  return place
}

/** What the database says of the records of a segment. */
interface Judged {
  /** That nothing names. */
  readonly orphans: ScannedRecord[]
  /** That rows name, and that the database has elsewhere, where they are whole. */
  readonly copies: ScannedRecord[]
  /** That the database has here, or of which nothing can be told. */
  readonly here: number
  /** That rows name elsewhere, and that were not moved there: copies of a move that was broken off, until it is done again. */
  readonly doubtful: number
  /** The same of blobs that copies share, or they are here: any row may name those, and where that has them cannot be told. */
  readonly shared: number
}

async function judge(pass: Pass, drive: Drive, segment: SegmentFile): Promise<Judged> {
  const records = await recordsOf(segment)
  const orphans: ScannedRecord[] = []
  const moved: ScannedRecord[] = []
  const places = new Map<string, Placement>()
  let [here, doubtful, shared] = [0, 0, 0]
  for (let from = 0; from < records.length; from += askedAtOnce) {
    const some = records.slice(from, from + askedAtOnce)
    const fates = await fatesAt(pass.store, drive, segment.name, some)
    for (const record of some) {
      const fate = fates.get(record.at)
      if (fate !== undefined && !fate.live && !fate.released) orphans.push(record)
      else if (fate !== undefined && fate.moved !== null && !isAt(fate.moved, segment.name, record.at)) {
        moved.push(record)
        places.set(record.blob, fate.moved)
      } else if (fate === undefined || fate.moved !== null || fate.here) here += 1
      else if (fate.live && fate.shared) shared += 1
      else doubtful += 1
    }
  }
  const copies = [...await wholeElsewhere(pass, segment, moved, places)]
  return { orphans, copies, here: here + moved.length - copies.length, doubtful, shared }
}

/**
 * Records of an old segment that no row names: uploads that were refused or died between write and commit. Each segment is
 * looked through once, unless something is in doubt; later deaths come through the release queue. What a compaction copied and did not
 * come to tell the database is noted on the way: it is no orphan, because its row is there, and so are its bytes, elsewhere.
 */
export async function orphanRecords(pass: Pass, drive: Drive, segment: SegmentFile, held: Holdings): Promise<{ bytes: number; remove: () => Promise<void> }[]> {
  // Records of which this program can read none would all look like nobody's.
  if (segment.newer) return []
  const notes = await readNotes(segment)
  if (segment.writer === null) {
    // The process died within its first group, of which any part may have reached the disk: records without the header, too. Where there
    // are notes, or a row names a record here, the header was there once and was damaged: all is kept.
    if (notes.looked || notes.checked || notes.movedAt !== null || Object.keys(notes.dead).length > 0) return []
    const { here, doubtful, shared } = await judge(pass, drive, segment)
    return here + doubtful + shared === 0 ? [{ bytes: segment.bytes, remove: () => removeFile(segment.path) }] : []
  }
  if (notes.checked || notes.movedAt !== null || !isSealed(segment, held, pass.segmentBytes)) return []
  trimSegment(segment.path)
  const judged = await judge(pass, drive, segment)
  // A record whose key is damaged may be anybody's: by the key that it seems to have nothing would name it.
  const orphans = judged.orphans.filter((record) => record.key !== '' && !isNoted(notes, record))
  const dead = { ...notes.dead }
  const copies = { ...notes.copies, ...Object.fromEntries(judged.copies.map(({ at, length }) => [at, length])) }
  for (const { blob, at, length } of orphans) {
    if (blob in dead) copies[at] = length
    else dead[blob] = length
  }
  // What is in doubt is looked at again by the next walk: by then the move has been done again. What is shared only once: nearly all of it is here.
  const checked = judged.doubtful === 0 && (judged.shared === 0 || notes.looked)
  const note = () => writeNotes(drive, segment, { ...notes, looked: true, checked, dead, copies })
  if (orphans.length === 0 && (checked || !notes.looked || judged.copies.some((record) => !isNoted(notes, record)))) await note()
  return orphans.map((orphan, index) => ({ bytes: orphan.length, remove: () => (index === 0 ? note() : Promise.resolve()) }))
}

const isNoted = (notes: SegmentNotes, { blob, at }: ScannedRecord): boolean => blob in notes.dead || at in notes.copies
