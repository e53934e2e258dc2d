import { randomBytes } from 'node:crypto'
import { appendFile, mkdir, open, readFile, readdir, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { orphanBlobsFloor } from '../../src/domain/limits.ts'
import type { Extent } from '../../src/domain/model.ts'
import { allowOrphans } from '../../src/storage/sweep-allowance.ts'
import { blobPath, crc32c, encodeFooter, encodeSegmentHeader, recordBytes, recordHeaderBytes, scanSegment, sealRecord, segmentHeaderBytes, type Holdings } from '../../src/storage/backend.ts'
import { createSweeper } from '../../src/storage/sweeper.ts'
import type { Others, Sweeper, SweeperOptions, SweeperStore } from '../../src/storage/sweeper.ts'
import { poolOfFile } from './blobs-pool.ts'
import { gonePlace, memoryStore, type MemoryStore } from './sweeper-store.ts'
import { bodyOf, drain, openRoom, patterned, readAll, silent, writeOptions } from './blobs-room.ts'
import type { Room } from './blobs-room.ts'

const smallMax = 20_000

const pool = poolOfFile()
let room: Room
let memory: MemoryStore
beforeEach(async () => {
  memory = memoryStore()
  room = await openRoom({ pool, smallBodyBytesMax: smallMax, segmentBytes: 128 * 1024, relocations: (blobs) => memory.store.relocations(blobs) })
  memory.drives.push({ id: 1, uuid: room.drive.uuid, createdAt: room.drive.createdAt })
})
afterEach(() => room.close())

function sweeper(more: Partial<SweeperOptions> = {}): Sweeper {
  return createSweeper({ store: memory.store, drives: [room.drive], blobs: room.blobs, log: silent, graceMs: 0, segmentBytes: 128 * 1024, ...more })
}

async function store(size: number, seed = 1, key = `k${seed}`): Promise<{ extent: Extent; bytes: Buffer }> {
  const bytes = patterned(size, seed)
  const { manifest } = await room.blobs.write(bodyOf(bytes), writeOptions({ owner: { bucketId: 1, key } }))
  const extent = manifest[0] as Extent
  memory.add(extent)
  return { extent, bytes }
}

/** Lets everything stored so far look two days old. */
async function age(): Promise<void> {
  const then = new Date(Date.now() - 2 * 86_400_000)
  for (const path of Object.keys(await room.files())) await utimes(join(room.root, path), then, then)
}

/** As after a power cut within the first group. */
async function loseHeader(segment: string): Promise<void> {
  const file = await open(join(room.root, 'segments', segment), 'r+')
  await file.write(Buffer.alloc(segmentHeaderBytes), 0, segmentHeaderBytes, 0)
  await file.close()
}

const segments = async (): Promise<string[]> => (await readdir(join(room.root, 'segments'))).filter((name) => !name.endsWith('.notes'))

test('files of released blobs go, all others stay', async () => {
  const kept = await store(50_000, 1)
  const gone = await store(60_000, 2)
  memory.release(gone.extent)
  expect((await sweeper().runOnce()).releasedFiles).toBe(1)
  expect(memory.waiting()).toBe(0)
  expect((await readAll(room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  await expect(readAll(room.blobs, [gone.extent])).rejects.toThrow()
  expect((await sweeper().runOnce()).stopped).toBe(null)
})

test('a blob that an open reader has yet to reach is left until the reader closes', async () => {
  const first = await store(50_000, 1)
  const second = await store(60_000, 2)
  const reader = await room.blobs.read([first.extent, second.extent], 0, 110_000)
  memory.release(second.extent)
  await sweeper().runOnce()
  expect(await drain(reader).then((read) => read.equals(Buffer.concat([first.bytes, second.bytes])), String)).toBe(true)
  await sweeper().runOnce()
  await expect(readAll(room.blobs, [second.extent])).rejects.toThrow()
})

test('nothing goes within the grace after its release, whole files and records alike', async () => {
  const file = await store(50_000, 100)
  const records = await Promise.all(Array.from({ length: 30 }, (_, index) => store(10_000, index + 1)))
  for (const { extent } of [file, ...records]) memory.release(extent, 30_000)
  const before = await room.files()
  expect(await sweeper({ graceMs: 60_000 }).runOnce()).toMatchObject({ stopped: null, releasedFiles: 0, releasedRecords: 0 })
  expect(await room.files()).toEqual(before)
  expect(await sweeper({ graceMs: 20_000 }).runOnce()).toMatchObject({ stopped: null, releasedFiles: 1, releasedRecords: 30 })
})

test('a segment that was emptied stays for the grace: somebody may know only the old places', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => memory.release(extent, 120_000))
  await age()
  const before = await segments()
  expect((await sweeper({ graceMs: 60_000 }).runOnce()).recordsMoved).toBeGreaterThan(0)
  await sweeper({ graceMs: 60_000 }).runOnce()
  expect(await segments()).toEqual(expect.arrayContaining(before))
  expect((await sweeper().runOnce()).segmentsRemoved).toBeGreaterThan(0)
})

test('a pass ends and comes to the segments although more is released all the time', async () => {
  const dead = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  dead.forEach(({ extent }) => memory.release(extent))
  let bursts = 20
  const busy: SweeperStore = {
    ...memory.store,
    async released(...asked) {
      await sleep(2)
      if (bursts-- > 0) for (let count = 0; count < 1000; count++) memory.release({ ...(dead[0] as { extent: Extent }).extent, blob: randomBytes(16).toString('hex') })
      return memory.store.released(...asked)
    },
  }
  expect((await sweeper({ store: busy }).runOnce()).segmentsRemoved).toBeGreaterThan(0)
  expect(bursts).toBeGreaterThan(10)
})

test('a mostly dead segment is emptied, its live records are found at their new place, and it is removed', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => memory.release(extent))
  const before = await segments()
  const active = room.blobs.activeSegments()
  const reports = [await sweeper().runOnce(), await sweeper().runOnce()]
  expect(reports.every(({ stopped }) => stopped === null)).toBe(true)
  expect(reports.reduce((sum, report) => sum + report.releasedRecords, 0)).toBe(54)
  const after = await segments()
  for (const name of before) if (!active.has(name)) expect(after).not.toContain(name)
  for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(room.blobs, [extent])).equals(bytes)).toBe(true)
})

test('a dead segment goes although most of it are the names of its records; one of which a quarter is dead stays', async () => {
  const long = 'k'.repeat(900)
  const stored = await Promise.all(Array.from({ length: 600 }, (_, index) => store(5, index + 1, long)))
  const quarter = stored.filter((_, index) => index % 4 === 0)
  quarter.forEach(({ extent }) => memory.release(extent))
  const before = await segments()
  const active = room.blobs.activeSegments()
  expect((await sweeper().runOnce()).recordsMoved).toBe(0)
  expect(await segments()).toEqual(before)
  stored.filter((each) => !quarter.includes(each)).forEach(({ extent }) => memory.release(extent))
  const report = await sweeper().runOnce()
  expect(report.segmentsRemoved).toBe(before.length - active.size)
  expect(report.segmentsRemoved).toBeGreaterThan(0)
  expect((await segments()).filter((name) => !active.has(name))).toEqual([])
})

test('a segment of one small record goes when that is dead, although most of it is its header', async () => {
  const { extent } = await store(5)
  room = await room.reopen()
  memory.release(extent)
  expect((await sweeper().runOnce()).segmentsRemoved).toBe(1)
  expect(await segments()).toEqual([])
})

test('a move that was broken off is done again, also out of the segment that then holds a record twice', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => memory.release(extent))
  let broken = 0
  const away: SweeperStore = { ...memory.store, relocate: () => Promise.reject(new Error(`the database went away ${broken += 1}`)) }
  await sweeper({ store: away }).runOnce().catch(() => undefined)
  expect(broken).toBeGreaterThan(0)
  await sweeper().runOnce()
  // Fills up and kills the segments that the records were moved to.
  const fill = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 100)))
  fill.forEach(({ extent }) => memory.release(extent))
  for (let pass = 0; pass < 3; pass++) expect((await sweeper().runOnce()).stopped).toBe(null)
  for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(room.blobs, [extent])).equals(bytes)).toBe(true)
})

test.each([
  ['has forgotten where its records went', () => memory.forgetMoves()],
  ['names places that are gone', () => memory.misplace()],
  ['names places where they have rotted', () => Promise.all([...memory.relocated().values()].map((place) => place.kind === 'segment' && rot(`segments/${place.segment}`, place.at + recordHeaderBytes + 100)))],
])('a segment that was emptied stays when the database %s', async (_what, lose) => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => memory.release(extent))
  expect((await sweeper().runOnce()).recordsMoved).toBeGreaterThan(0)
  await lose()
  for (let pass = 0; pass < 3; pass++) {
    await sweeper().runOnce()
    for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(room.blobs, [extent])).equals(bytes)).toBe(true)
  }
  expect((await segments()).length).toBeLessThan(4)
})

/**
 * Copies of live records in a segment of their own, more than would pass for litter: a compaction died again and again before it told the
 * database of them. The process that did it has ended.
 */
async function brokenOffMove(): Promise<Record<'live' | 'copied', Awaited<ReturnType<typeof store>>[]> & Record<'originals' | 'copies', string[]>> {
  const stored = await Promise.all(Array.from({ length: 400 }, (_, index) => store(1000, index + 1)))
  stored.filter((_, index) => index % 5 > 1).forEach(({ extent }) => memory.release(extent))
  room = await room.reopen()
  const originals = await segments()
  const away: SweeperStore = { ...memory.store, relocate: () => Promise.reject(new Error('the database went away')) }
  for (let tries = 0; tries < 3; tries++) await sweeper({ store: away }).runOnce()
  room = await room.reopen()
  const live = stored.filter((_, index) => index % 5 <= 1)
  const copies = (await segments()).filter((name) => !originals.includes(name))
  const blobs = copies.flatMap((name) => [...scanSegment(join(room.root, 'segments', name))].map(({ blob }) => blob))
  expect(blobs.length).toBeGreaterThan(orphanBlobsFloor)
  return { live, copied: live.filter(({ extent }) => blobs.includes(extent.blob)), originals, copies }
}

/** As a walk looks that comes while the originals are still where they were. */
async function walkBeforeTheMove(): Promise<void> {
  await age()
  expect(await sweeper({ graceMs: 10 * 86_400_000 }).runOnce({ orphans: true })).toMatchObject({ stopped: null, orphans: 0, recordsMoved: 0 })
}

async function sweepAll(): Promise<void> {
  for (let pass = 0; pass < 4; pass++) {
    await age()
    expect(await sweeper().runOnce({ orphans: true })).toMatchObject({ stopped: null, failures: 0 })
  }
}

async function expectReadable(stored: readonly { extent: Extent; bytes: Buffer }[]): Promise<void> {
  for (const { extent, bytes } of stored) expect(await readAll(room.blobs, [extent]).then((read) => read.equals(bytes), String)).toBe(true)
}

test.each([
  ['are moved', async () => undefined],
  ['are moved after a walk saw both', walkBeforeTheMove],
  ['are moved, also those that copies share', async (live: readonly { extent: Extent }[]) => live.forEach(({ extent }) => memory.share(extent))],
])('copies of a move that was broken off go when their originals %s, and are no orphans', async (_what, before) => {
  const { live, copies } = await brokenOffMove()
  await before(live)
  await sweepAll()
  expect((await segments()).filter((name) => copies.includes(name))).toEqual([])
  await expectReadable(live)
})

test('copies of a move that was broken off go when their originals were deleted after a walk saw both', async () => {
  const { live } = await brokenOffMove()
  await walkBeforeTheMove()
  live.forEach(({ extent }) => memory.release(extent))
  await allowOrphans(room.drive, { blobs: 10_000, bytes: 1e9 })
  await sweepAll()
  expect(await segments()).toEqual([...room.blobs.activeSegments()])
})

test('a segment is looked at again while rows have a record elsewhere that was not moved there; once more when it may be that it is here', async () => {
  const stored = await Promise.all([1, 2].map((seed) => store(1000, seed)))
  room = await room.reopen()
  const checked = async (): Promise<boolean[]> => Promise.all((await readdir(join(room.root, 'segments'))).filter((name) => name.endsWith('.notes')).map(async (name) =>
    (JSON.parse(await readFile(join(room.root, 'segments', name), 'utf8')) as { checked: boolean }).checked))
  const walk = async (): Promise<boolean[]> => {
    await age()
    await sweeper().runOnce({ orphans: true })
    return checked()
  }
  stored.forEach(({ extent }) => memory.add({ ...extent, place: gonePlace }))
  expect([...new Set([...await walk(), ...await walk(), ...await walk()])]).toEqual([false])
  for (const name of await segments()) await rm(join(room.root, 'segments', `${name}.notes`))
  stored.forEach(({ extent }) => memory.share(extent))
  expect([...new Set(await walk())]).toEqual([false])
  expect([...new Set(await walk())]).toEqual([true])
})

test('copies whose header did not reach the disk go when their originals were moved', async () => {
  const { live, copies } = await brokenOffMove()
  for (const name of copies) await loseHeader(name)
  await walkBeforeTheMove()
  expect(await segments()).toEqual(expect.arrayContaining(copies))
  await allowOrphans(room.drive, { blobs: 10_000, bytes: 1e9 })
  await sweepAll()
  expect((await segments()).filter((name) => copies.includes(name))).toEqual([])
  await expectReadable(live)
})

test('a copy that was noted is moved on when its original is gone since', async () => {
  const { copied, copies } = await brokenOffMove()
  for (let pass = 0; pass < 2; pass++) {
    await age()
    await sweeper().runOnce({ orphans: true })
  }
  expect(await segments()).toEqual(expect.arrayContaining(copies))
  room = await room.reopen()
  memory.misplace()
  for (const name of await segments()) if (!copies.includes(name)) await rm(join(room.root, 'segments', name))
  await sweepAll()
  await expectReadable(copied)
})

test.each([
  ['is where it is not', ({ extent }: { extent: Extent }) => void memory.relocated().set(extent.blob, gonePlace)],
  ['was never moved', () => undefined],
])('a copy whose original is gone stays when the database says that it %s', async (_what, say) => {
  const { copied, originals, copies } = await brokenOffMove()
  copied.forEach(say)
  for (const name of originals) await rm(join(room.root, 'segments', name))
  const before = await room.files()
  await sweepAll()
  for (const name of copies) expect((await room.files())[`segments/${name}`]).toBe(before[`segments/${name}`])
})

test('one segment that cannot be read holds up no other', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.forEach(({ extent }) => memory.release(extent))
  const [first] = (await segments()).filter((name) => !room.blobs.activeSegments().has(name))
  const there = new Set(stored.filter(({ extent }) => extent.place.kind === 'segment' && extent.place.segment === first).map(({ extent }) => extent.blob))
  const bad: SweeperStore = {
    ...memory.store,
    referenced: (blobs) => (blobs.some(({ blob }) => there.has(blob)) ? Promise.reject(new Error('cannot be told')) : memory.store.referenced(blobs)),
  }
  const before = await segments()
  expect((await sweeper({ store: bad }).runOnce()).segmentsRemoved).toBe(before.length - 1 - room.blobs.activeSegments().size)
  expect(await segments()).toContain(first)
  await sweeper().runOnce()
  expect(await segments()).not.toContain(first)
})

test('notes whose segment is gone go, those of a segment that is there stay', async () => {
  const stored = await Promise.all(Array.from({ length: 4 }, (_, index) => store(1000, index + 1)))
  memory.release(stored[0]?.extent as Extent)
  await sweeper().runOnce()
  const notes = async (): Promise<string[]> => (await readdir(join(room.root, 'segments'))).filter((name) => name.endsWith('.notes'))
  const before = await notes()
  expect(before.length).toBe(1)
  await writeFile(join(room.root, 'segments', 'gone.notes'), '{}')
  await sweeper().runOnce({ orphans: true })
  expect(await notes()).toEqual(before)
})

test('a segment in use is never touched', async () => {
  const { extent } = await store(1000)
  memory.release(extent)
  await age()
  await sweeper().runOnce({ orphans: true })
  expect(await segments()).toEqual([...room.blobs.activeSegments()])
})

test('orphans older than a day go, younger ones stay, temporary files too', async () => {
  const kept = await store(50_000, 1)
  const orphan = (await room.blobs.write(bodyOf(patterned(70_000)), writeOptions())).manifest
  await mkdir(join(room.root, 'tmp', 'elsewhere.1.1.aa'), { recursive: true })
  await writeFile(join(room.root, 'tmp', 'elsewhere.1.1.aa', 'half'), 'x')
  await age()
  const young = (await room.blobs.write(bodyOf(patterned(80_000)), writeOptions())).manifest
  expect((await sweeper().runOnce({ orphans: true })).orphans).toBe(1)
  expect((await readAll(room.blobs, young)).length).toBe(80_000)
  expect((await readAll(room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  await expect(readAll(room.blobs, orphan)).rejects.toThrow()
  expect(await readdir(join(room.root, 'tmp', 'elsewhere.1.1.aa'))).toEqual([])
})

test('an orphan in a segment of which all else is dead goes with it, and is not moved first', async () => {
  const stored = await Promise.all(Array.from({ length: 20 }, (_, index) => store(1000, index + 1)))
  room = await room.reopen()
  stored.forEach(({ extent }, index) => (index < 2 ? memory.forget(extent) : memory.release(extent)))
  await age()
  expect(await sweeper().runOnce({ orphans: true })).toMatchObject({ orphans: 2, recordsMoved: 0 })
  await sweeper().runOnce()
  expect(await segments()).toEqual([])
})

test('a first group of which the header did not reach the disk goes; where a row names a record, all stays', async () => {
  const kept = await store(1000, 1)
  room = await room.reopen()
  for (const name of await segments()) await loseHeader(name)
  await writeFile(join(room.root, 'segments', 'torn'), Buffer.concat([Buffer.alloc(segmentHeaderBytes), await orphanRecord()]))
  await age()
  const before = await segments()
  await sweeper().runOnce({ orphans: true })
  expect(before).toContain('torn')
  expect(await segments()).toEqual(before.filter((name) => name !== 'torn'))
  expect((await readAll(room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
})

test('a segment of a newer program stays, which a replica of it may have begun while this one runs', async () => {
  const head = Buffer.alloc(segmentHeaderBytes)
  encodeSegmentHeader(head, { createdAt: 1, writer: 'elsewhere.1.1.aa' })
  head.writeUInt32BE(2, 8)
  head.writeUInt32BE(crc32c(head.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4)
  await writeFile(join(room.root, 'segments', 'newer'), Buffer.concat([head, await orphanRecord()]))
  await age()
  await sweeper().runOnce({ orphans: true })
  await sweeper().runOnce({ orphans: true })
  expect(await segments()).toContain('newer')
})

/** A whole record that no row names. */
async function orphanRecord(): Promise<Buffer> {
  const body = patterned(500, 9)
  const record = Buffer.alloc(recordBytes(body.length, 1))
  body.copy(record, recordHeaderBytes)
  record.write('k', recordHeaderBytes + body.length)
  sealRecord(record, { blob: 'cd'.repeat(16), length: body.length, bucketId: 1, keyBytes: 1 })
  return record
}

test('it stops when much would go as orphans', async () => {
  for (let index = 0; index < 101; index++) await room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  const before = await room.files()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
  expect(await room.files()).toEqual(before)
})

test('it stops when a few blobs would go that are most of the drive', async () => {
  const blob = 'ab'.repeat(16)
  const length = 2 * 1024 ** 3
  const folder = join(room.root, 'blobs', 'ab', 'ab')
  await mkdir(folder, { recursive: true })
  const path = join(folder, blob)
  await writeFile(path, '')
  await truncate(path, length)
  await appendFile(path, encodeFooter({ blob, length, bucketId: 1, key: 'k', blocks: new Uint32Array(length / 1024 ** 2) }))
  await age()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('1 blobs')
  expect(await readdir(folder)).toEqual([blob])
})

/** Changes one byte of a file. */
async function rot(path: string, at: number): Promise<void> {
  const file = await open(join(room.root, path), 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, at)
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 0x10]), 0, 1, at)
  await file.close()
}

/** As the database has it: a blob is found by the key that it was written for. */
function byKey(): SweeperStore {
  const isKey = ({ key }: { key: string }): boolean => /^k\d+$/.test(key)
  const nobodys = { live: false, here: false, released: false, shared: false, moved: null }
  return {
    ...memory.store,
    referenced: async (blobs) => memory.store.referenced(blobs.filter(isKey)),
    fates: async (blobs) => new Map([...blobs.map(({ blob }) => [blob, nobodys] as const), ...await memory.store.fates(blobs.filter(isKey))]),
  }
}

test('a live file whose owner’s key has rotted is no orphan', async () => {
  const { extent, bytes } = await store(50_000, 1)
  const path = blobPath(extent.blob)
  const keyAt = bytes.length + 20
  await rot(path, keyAt)
  await age()
  expect((await sweeper({ store: byKey() }).runOnce({ orphans: true })).orphans).toBe(0)
  await rot(path, keyAt)
  expect((await readAll(room.blobs, [extent])).equals(bytes)).toBe(true)
})

test('a file under the name of another blob is kept: it may be the other’s last copy', async () => {
  const first = await store(50_000, 1)
  const second = await store(60_000, 2)
  const [a, b] = [first, second].map(({ extent }) => join(room.root, blobPath(extent.blob))) as [string, string]
  await rename(a, `${a}.aside`)
  await rename(b, a)
  await rename(`${a}.aside`, b)
  memory.forget(second.extent)
  await age()
  expect((await sweeper().runOnce({ orphans: true })).orphans).toBe(0)
  await rename(b, a)
  expect((await readAll(room.blobs, [first.extent])).equals(first.bytes)).toBe(true)
})

test('a live record whose owner’s key has rotted is kept with its segment', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  const [live, ...dead] = stored
  if (live === undefined || live.extent.place.kind !== 'segment') throw new Error('no record')
  const { segment, at } = live.extent.place
  await rot(`segments/${segment}`, at + 64 + live.bytes.length)
  dead.forEach(({ extent }) => memory.release(extent))
  await age()
  for (let pass = 0; pass < 3; pass++) await sweeper({ store: byKey() }).runOnce({ orphans: true })
  expect(await segments()).toContain(segment)
  expect((await readAll(room.blobs, [live.extent])).equals(live.bytes)).toBe(true)
})

test('a segment whose last record is live and has rotted is kept', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  const inSegments = stored.flatMap((each) => (each.extent.place.kind === 'segment' ? [{ ...each, place: each.extent.place }] : []))
  const { segment } = inSegments[0]?.place ?? { segment: '' }
  const last = inSegments.filter(({ place }) => place.segment === segment).sort((a, b) => b.place.at - a.place.at)[0]
  if (last === undefined) throw new Error('no record')
  await rot(`segments/${segment}`, last.place.at + 64 + 5000)
  for (const each of stored) if (each.extent !== last.extent) memory.release(each.extent)
  await age()
  for (let pass = 0; pass < 3; pass++) await sweeper({ store: byKey() }).runOnce({ orphans: true })
  expect(await segments()).toContain(segment)
})

test('orphans that an operator allowed to go do so once, and no more than those', async () => {
  const kept = await store(50_000, 1)
  for (let index = 0; index < 101; index++) await room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  await allowOrphans(room.drive, { blobs: 0, bytes: 0 })
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
  await allowOrphans(room.drive, { blobs: 101, bytes: 101 * (smallMax + 1) })
  expect(await sweeper().runOnce({ orphans: true })).toMatchObject({ stopped: null, orphans: 101 })
  expect((await readAll(room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  for (let index = 0; index < 101; index++) await room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
})

test('it stops when the drive is missing or foreign, or the database younger or another one', async () => {
  const gone = await store(60_000)
  memory.release(gone.extent)
  const [known] = memory.drives
  if (known === undefined) throw new Error('no drive')
  memory.drives[0] = { ...known, createdAt: known.createdAt + 120_000 }
  expect((await sweeper().runOnce()).stopped).toContain('younger')
  memory.drives[0] = { ...known, uuid: 'another' }
  expect((await sweeper().runOnce()).stopped).toContain('not known')
  memory.drives[0] = known
  const marker = join(room.root, 'holdfast-drive.json')
  await writeFile(marker, JSON.stringify({ format: 1, uuid: 'other', createdAt: 1 }))
  expect((await sweeper().runOnce()).stopped).toContain('another one')
  await rm(marker)
  expect((await sweeper().runOnce()).stopped).toContain('missing')
  expect((await readAll(room.blobs, [gone.extent])).equals(gone.bytes)).toBe(true)
  expect(memory.waiting()).toBe(1)
})

/** Another process on the same drive, with its own segments: a token of somebody who lives, and what it says that it holds. */
async function besides(): Promise<{ held: Holdings; others: Others; forgotten: string[] }> {
  const writer = `elsewhere.${process.pid}.0.ab`
  const name = '000000000001aabbccddee'
  const bytes = Buffer.alloc(segmentHeaderBytes)
  encodeSegmentHeader(bytes, { createdAt: 1, writer })
  await writeFile(join(room.root, 'segments', name), bytes)
  await writeFile(join(room.root, 'segments', `${name}.notes`), JSON.stringify({ dead: { ['ab'.repeat(16)]: 1000 } }))
  const held: Holdings = { writers: new Set([writer]), segments: new Set([name]), pinned: new Set() }
  const forgotten: string[] = []
  return { held, forgotten, others: { holdings: async () => [held], forgetSegment: (path) => void forgotten.push(path) } }
}

test('a segment of another process stays while that appends to it or does not say, and goes when it is done with it', async () => {
  const { held, others, forgotten } = await besides()
  const [name = ''] = held.segments
  await sweeper().runOnce()
  await sweeper({ others }).runOnce()
  expect(await segments()).toContain(name)
  const done = { ...others, holdings: async () => [{ ...held, segments: new Set<string>() }] }
  expect((await sweeper({ others: done }).runOnce()).segmentsRemoved).toBe(1)
  expect(await segments()).not.toContain(name)
  expect(forgotten).toEqual([join(room.root, 'segments', name)])
})

test('what a reader of another process has yet to open stays, and everything does while that process does not answer', async () => {
  const { extent, bytes } = await store(50_000)
  memory.release(extent)
  const { held, others } = await besides()
  await sweeper({ others: { ...others, holdings: async () => [{ ...held, pinned: new Set([extent.blob]) }] } }).runOnce()
  await expect(sweeper({ others: { ...others, holdings: () => Promise.reject(new Error('no answer')) } }).runOnce()).rejects.toThrow('no answer')
  expect((await readAll(room.blobs, [extent])).equals(bytes)).toBe(true)
  expect((await sweeper({ others }).runOnce()).releasedFiles).toBe(1)
})

test('nothing is removed while another process sweeps', async () => {
  const { extent } = await store(50_000)
  memory.release(extent)
  expect((await sweeper({ store: { ...memory.store, sweeping: async () => null } }).runOnce()).stopped).toContain('another process')
  expect(memory.waiting()).toBe(1)
})
