import { randomBytes } from 'node:crypto'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { orphanBlobsFloor } from '../../src/domain/limits.ts'
import type { Extent } from '../../src/domain/model.ts'
import { allowOrphans } from '../../src/storage/sweep-allowance.ts'
import { encodeSegmentHeader, recordHeaderBytes, scanSegment, segmentHeaderBytes, type Holdings } from '../../src/storage/backend.ts'
import type { Others, SweeperStore } from '../../src/storage/sweeper.ts'
import { drain, readAll } from './blobs-room.ts'
import { sweeperOfFile, type Stored } from './sweeper-room.ts'
import { gonePlace } from './sweeper-store.ts'

const here = sweeperOfFile()
const { rot, sweeper, store, age, loseHeader, segments } = here

test('files of released blobs go, all others stay', async () => {
  const kept = await store(50_000, 1)
  const gone = await store(60_000, 2)
  here.memory.release(gone.extent)
  expect((await sweeper().runOnce()).releasedFiles).toBe(1)
  expect(here.memory.waiting()).toBe(0)
  expect((await readAll(here.room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  await expect(readAll(here.room.blobs, [gone.extent])).rejects.toThrow()
  expect((await sweeper().runOnce()).stopped).toBe(null)
})

test('a blob that an open reader has yet to reach is left until the reader closes', async () => {
  const first = await store(50_000, 1)
  const second = await store(60_000, 2)
  const reader = await here.room.blobs.read([first.extent, second.extent], 0, 110_000)
  here.memory.release(second.extent)
  await sweeper().runOnce()
  expect(await drain(reader).then((read) => read.equals(Buffer.concat([first.bytes, second.bytes])), String)).toBe(true)
  await sweeper().runOnce()
  await expect(readAll(here.room.blobs, [second.extent])).rejects.toThrow()
})

test('nothing goes within the grace after its release, whole files and records alike', async () => {
  const file = await store(50_000, 100)
  const records = await Promise.all(Array.from({ length: 30 }, (_, index) => store(10_000, index + 1)))
  for (const { extent } of [file, ...records]) here.memory.release(extent, 30_000)
  const before = await here.room.files()
  expect(await sweeper({ graceMs: 60_000 }).runOnce()).toMatchObject({ stopped: null, releasedFiles: 0, releasedRecords: 0 })
  expect(await here.room.files()).toEqual(before)
  expect(await sweeper({ graceMs: 20_000 }).runOnce()).toMatchObject({ stopped: null, releasedFiles: 1, releasedRecords: 30 })
})

test('a segment that was emptied stays for the grace: somebody may know only the old places', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => here.memory.release(extent, 120_000))
  await age()
  const before = await segments()
  expect((await sweeper({ graceMs: 60_000 }).runOnce()).recordsMoved).toBeGreaterThan(0)
  await sweeper({ graceMs: 60_000 }).runOnce()
  expect(await segments()).toEqual(expect.arrayContaining(before))
  expect((await sweeper().runOnce()).segmentsRemoved).toBeGreaterThan(0)
})

test('a pass ends and comes to the segments although more is released all the time', async () => {
  const dead = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  dead.forEach(({ extent }) => here.memory.release(extent))
  let bursts = 20
  const busy: SweeperStore = {
    ...here.memory.store,
    async released(...asked) {
      await sleep(2)
      if (bursts-- > 0) for (let count = 0; count < 1000; count++) here.memory.release({ ...(dead[0] as { extent: Extent }).extent, blob: randomBytes(16).toString('hex') })
      return here.memory.store.released(...asked)
    },
  }
  expect((await sweeper({ store: busy }).runOnce()).segmentsRemoved).toBeGreaterThan(0)
  expect(bursts).toBeGreaterThan(10)
})

test('a mostly dead segment is emptied, its live records are found at their new place, and it is removed', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => here.memory.release(extent))
  const before = await segments()
  const active = here.room.blobs.activeSegments()
  const reports = [await sweeper().runOnce(), await sweeper().runOnce()]
  expect(reports.every(({ stopped }) => stopped === null)).toBe(true)
  expect(reports.reduce((sum, report) => sum + report.releasedRecords, 0)).toBe(54)
  const after = await segments()
  for (const name of before) if (!active.has(name)) expect(after).not.toContain(name)
  for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(here.room.blobs, [extent])).equals(bytes)).toBe(true)
})

test('a dead segment goes although most of it are the names of its records; one of which a quarter is dead stays', async () => {
  const long = 'k'.repeat(900)
  const stored = await Promise.all(Array.from({ length: 600 }, (_, index) => store(5, index + 1, long)))
  const quarter = stored.filter((_, index) => index % 4 === 0)
  quarter.forEach(({ extent }) => here.memory.release(extent))
  const before = await segments()
  const active = here.room.blobs.activeSegments()
  expect((await sweeper().runOnce()).recordsMoved).toBe(0)
  expect(await segments()).toEqual(before)
  stored.filter((each) => !quarter.includes(each)).forEach(({ extent }) => here.memory.release(extent))
  const report = await sweeper().runOnce()
  expect(report.segmentsRemoved).toBe(before.length - active.size)
  expect(report.segmentsRemoved).toBeGreaterThan(0)
  expect((await segments()).filter((name) => !active.has(name))).toEqual([])
})

test('a segment of one small record goes when that is dead, although most of it is its header', async () => {
  const { extent } = await store(5)
  here.room = await here.room.reopen()
  here.memory.release(extent)
  expect((await sweeper().runOnce()).segmentsRemoved).toBe(1)
  expect(await segments()).toEqual([])
})

test('a move that was broken off is done again, also out of the segment that then holds a record twice', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => here.memory.release(extent))
  let broken = 0
  const away: SweeperStore = { ...here.memory.store, relocate: () => Promise.reject(new Error(`the database went away ${broken += 1}`)) }
  await sweeper({ store: away }).runOnce().catch(() => undefined)
  expect(broken).toBeGreaterThan(0)
  await sweeper().runOnce()
  // Fills up and kills the segments that the records were moved to.
  const fill = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 100)))
  fill.forEach(({ extent }) => here.memory.release(extent))
  for (let pass = 0; pass < 3; pass++) expect((await sweeper().runOnce()).stopped).toBe(null)
  for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(here.room.blobs, [extent])).equals(bytes)).toBe(true)
})

test.each([
  ['has forgotten where its records went', () => here.memory.forgetMoves()],
  ['names places that are gone', () => here.memory.misplace()],
  ['names places where they have rotted', () => Promise.all([...here.memory.relocated().values()].map((place) => place.kind === 'segment' && rot(`segments/${place.segment}`, place.at + recordHeaderBytes + 100)))],
])('a segment that was emptied stays when the database %s', async (_what, lose) => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.filter((_, index) => index % 10 !== 0).forEach(({ extent }) => here.memory.release(extent))
  expect((await sweeper().runOnce()).recordsMoved).toBeGreaterThan(0)
  await lose()
  for (let pass = 0; pass < 3; pass++) {
    await sweeper().runOnce()
    for (const [index, { extent, bytes }] of stored.entries()) if (index % 10 === 0) expect((await readAll(here.room.blobs, [extent])).equals(bytes)).toBe(true)
  }
  expect((await segments()).length).toBeLessThan(4)
})

/**
 * Copies of live records in a segment of their own, more than would pass for litter: a compaction died again and again before it told the
 * database of them. The process that did it has ended.
 */
async function brokenOffMove(): Promise<Record<'live' | 'copied', Stored[]> & Record<'originals' | 'copies', string[]>> {
  const stored = await Promise.all(Array.from({ length: 400 }, (_, index) => store(1000, index + 1)))
  stored.filter((_, index) => index % 5 > 1).forEach(({ extent }) => here.memory.release(extent))
  here.room = await here.room.reopen()
  const originals = await segments()
  const away: SweeperStore = { ...here.memory.store, relocate: () => Promise.reject(new Error('the database went away')) }
  for (let tries = 0; tries < 3; tries++) await sweeper({ store: away }).runOnce()
  here.room = await here.room.reopen()
  const live = stored.filter((_, index) => index % 5 <= 1)
  const copies = (await segments()).filter((name) => !originals.includes(name))
  const blobs = copies.flatMap((name) => [...scanSegment(join(here.room.root, 'segments', name))].map(({ blob }) => blob))
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

async function expectReadable(stored: readonly Stored[]): Promise<void> {
  for (const { extent, bytes } of stored) expect(await readAll(here.room.blobs, [extent]).then((read) => read.equals(bytes), String)).toBe(true)
}

test.each([
  ['are moved', async () => undefined],
  ['are moved after a walk saw both', walkBeforeTheMove],
  ['are moved, also those that copies share', async (live: readonly { extent: Extent }[]) => live.forEach(({ extent }) => here.memory.share(extent))],
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
  live.forEach(({ extent }) => here.memory.release(extent))
  await allowOrphans(here.room.drive, { blobs: 10_000, bytes: 1e9 })
  await sweepAll()
  expect(await segments()).toEqual([...here.room.blobs.activeSegments()])
})

test('a segment is looked at again while rows have a record elsewhere that was not moved there; once more when it may be that it is here', async () => {
  const stored = await Promise.all([1, 2].map((seed) => store(1000, seed)))
  here.room = await here.room.reopen()
  const checked = async (): Promise<boolean[]> => Promise.all((await readdir(join(here.room.root, 'segments'))).filter((name) => name.endsWith('.notes')).map(async (name) =>
    (JSON.parse(await readFile(join(here.room.root, 'segments', name), 'utf8')) as { checked: boolean }).checked))
  const walk = async (): Promise<boolean[]> => {
    await age()
    await sweeper().runOnce({ orphans: true })
    return checked()
  }
  stored.forEach(({ extent }) => here.memory.add({ ...extent, place: gonePlace }))
  expect([...new Set([...await walk(), ...await walk(), ...await walk()])]).toEqual([false])
  for (const name of await segments()) await rm(join(here.room.root, 'segments', `${name}.notes`))
  stored.forEach(({ extent }) => here.memory.share(extent))
  expect([...new Set(await walk())]).toEqual([false])
  expect([...new Set(await walk())]).toEqual([true])
})

test('copies whose header did not reach the disk go when their originals were moved', async () => {
  const { live, copies } = await brokenOffMove()
  for (const name of copies) await loseHeader(name)
  await walkBeforeTheMove()
  expect(await segments()).toEqual(expect.arrayContaining(copies))
  await allowOrphans(here.room.drive, { blobs: 10_000, bytes: 1e9 })
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
  here.room = await here.room.reopen()
  here.memory.misplace()
  for (const name of await segments()) if (!copies.includes(name)) await rm(join(here.room.root, 'segments', name))
  await sweepAll()
  await expectReadable(copied)
})

test.each([
  ['is where it is not', ({ extent }: { extent: Extent }) => void here.memory.relocated().set(extent.blob, gonePlace)],
  ['was never moved', () => undefined],
])('a copy whose original is gone stays when the database says that it %s', async (_what, say) => {
  const { copied, originals, copies } = await brokenOffMove()
  copied.forEach(say)
  for (const name of originals) await rm(join(here.room.root, 'segments', name))
  const before = await here.room.files()
  await sweepAll()
  for (const name of copies) expect((await here.room.files())[`segments/${name}`]).toBe(before[`segments/${name}`])
})

test('one segment that cannot be read holds up no other', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  stored.forEach(({ extent }) => here.memory.release(extent))
  const [first] = (await segments()).filter((name) => !here.room.blobs.activeSegments().has(name))
  const there = new Set(stored.filter(({ extent }) => extent.place.kind === 'segment' && extent.place.segment === first).map(({ extent }) => extent.blob))
  const bad: SweeperStore = {
    ...here.memory.store,
    referenced: (blobs) => (blobs.some(({ blob }) => there.has(blob)) ? Promise.reject(new Error('cannot be told')) : here.memory.store.referenced(blobs)),
  }
  const before = await segments()
  expect((await sweeper({ store: bad }).runOnce()).segmentsRemoved).toBe(before.length - 1 - here.room.blobs.activeSegments().size)
  expect(await segments()).toContain(first)
  await sweeper().runOnce()
  expect(await segments()).not.toContain(first)
})

test('notes whose segment is gone go, those of a segment that is there stay', async () => {
  const stored = await Promise.all(Array.from({ length: 4 }, (_, index) => store(1000, index + 1)))
  here.memory.release(stored[0]?.extent as Extent)
  await sweeper().runOnce()
  const notes = async (): Promise<string[]> => (await readdir(join(here.room.root, 'segments'))).filter((name) => name.endsWith('.notes'))
  const before = await notes()
  expect(before.length).toBe(1)
  await writeFile(join(here.room.root, 'segments', 'gone.notes'), '{}')
  await sweeper().runOnce({ orphans: true })
  expect(await notes()).toEqual(before)
})

test('a segment in use is never touched', async () => {
  const { extent } = await store(1000)
  here.memory.release(extent)
  await age()
  await sweeper().runOnce({ orphans: true })
  expect(await segments()).toEqual([...here.room.blobs.activeSegments()])
})

async function besides(): Promise<{ held: Holdings; others: Others; forgotten: string[] }> {
  const writer = `elsewhere.${process.pid}.0.ab`
  const name = '000000000001aabbccddee'
  const bytes = Buffer.alloc(segmentHeaderBytes)
  encodeSegmentHeader(bytes, { createdAt: 1, writer })
  await writeFile(join(here.room.root, 'segments', name), bytes)
  await writeFile(join(here.room.root, 'segments', `${name}.notes`), JSON.stringify({ dead: { ['ab'.repeat(16)]: 1000 } }))
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
  expect(forgotten).toEqual([join(here.room.root, 'segments', name)])
})

test('what a reader of another process has yet to open stays, and everything does while that process does not answer', async () => {
  const { extent, bytes } = await store(50_000)
  here.memory.release(extent)
  const { held, others } = await besides()
  await sweeper({ others: { ...others, holdings: async () => [{ ...held, pinned: new Set([extent.blob]) }] } }).runOnce()
  await expect(sweeper({ others: { ...others, holdings: () => Promise.reject(new Error('no answer')) } }).runOnce()).rejects.toThrow('no answer')
  expect((await readAll(here.room.blobs, [extent])).equals(bytes)).toBe(true)
  expect((await sweeper({ others }).runOnce()).releasedFiles).toBe(1)
})

test('nothing is removed while another process sweeps', async () => {
  const { extent } = await store(50_000)
  here.memory.release(extent)
  expect((await sweeper({ store: { ...here.memory.store, sweeping: async () => null } }).runOnce()).stopped).toContain('another process')
  expect(here.memory.waiting()).toBe(1)
})
