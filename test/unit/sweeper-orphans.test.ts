import { appendFile, mkdir, readdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { allowOrphans } from '../../src/storage/sweep-allowance.ts'
import { blobPath, crc32c, encodeFooter, encodeSegmentHeader, recordBytes, recordHeaderBytes, sealRecord, segmentHeaderBytes } from '../../src/storage/backend.ts'
import type { SweeperStore } from '../../src/storage/sweeper.ts'
import { bodyOf, patterned, readAll, writeOptions } from './blobs-room.ts'
import { smallMax, sweeperOfFile } from './sweeper-room.ts'

/** What no row names goes, and what stops a sweep that would take too much. */

const here = sweeperOfFile()
const { rot, sweeper, store, age, loseHeader, segments } = here

test('orphans older than a day go, younger ones stay, temporary files too', async () => {
  const kept = await store(50_000, 1)
  const orphan = (await here.room.blobs.write(bodyOf(patterned(70_000)), writeOptions())).manifest
  await mkdir(join(here.room.root, 'tmp', 'elsewhere.1.1.aa'), { recursive: true })
  await writeFile(join(here.room.root, 'tmp', 'elsewhere.1.1.aa', 'half'), 'x')
  // What has a name and is not there any more: of a process that is just ending.
  for (const name of ['elsewhere.1.1.aa/gone', 'elsewhere.2.2.bb']) await symlink('nowhere', join(here.room.root, 'tmp', name))
  await age()
  const young = (await here.room.blobs.write(bodyOf(patterned(80_000)), writeOptions())).manifest
  expect((await sweeper().runOnce({ orphans: true })).orphans).toBe(1)
  expect((await readAll(here.room.blobs, young)).length).toBe(80_000)
  expect((await readAll(here.room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  await expect(readAll(here.room.blobs, orphan)).rejects.toThrow()
  expect(await readdir(join(here.room.root, 'tmp', 'elsewhere.1.1.aa'))).toEqual(['gone'])
})

test('an orphan in a segment of which all else is dead goes with it, and is not moved first', async () => {
  const stored = await Promise.all(Array.from({ length: 20 }, (_, index) => store(1000, index + 1)))
  here.room = await here.room.reopen()
  stored.forEach(({ extent }, index) => (index < 2 ? here.memory.forget(extent) : here.memory.release(extent)))
  await age()
  expect(await sweeper().runOnce({ orphans: true })).toMatchObject({ orphans: 2, recordsMoved: 0 })
  await sweeper().runOnce()
  expect(await segments()).toEqual([])
})

test('a first group of which the header did not reach the disk goes; where a row names a record, all stays', async () => {
  const kept = await store(1000, 1)
  here.room = await here.room.reopen()
  for (const name of await segments()) await loseHeader(name)
  await writeFile(join(here.room.root, 'segments', 'torn'), Buffer.concat([Buffer.alloc(segmentHeaderBytes), await orphanRecord()]))
  await age()
  const before = await segments()
  await sweeper().runOnce({ orphans: true })
  expect(before).toContain('torn')
  expect(await segments()).toEqual(before.filter((name) => name !== 'torn'))
  expect((await readAll(here.room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
})

test('a segment of a newer program stays, which a replica of it may have begun while this one runs', async () => {
  const head = Buffer.alloc(segmentHeaderBytes)
  encodeSegmentHeader(head, { createdAt: 1, writer: 'elsewhere.1.1.aa' })
  head.writeUInt32BE(2, 8)
  head.writeUInt32BE(crc32c(head.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4)
  await writeFile(join(here.room.root, 'segments', 'newer'), Buffer.concat([head, await orphanRecord()]))
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
  for (let index = 0; index < 101; index++) await here.room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  const before = await here.room.files()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
  expect(await here.room.files()).toEqual(before)
})

test('it stops when a few blobs would go that are most of the drive', async () => {
  const blob = 'ab'.repeat(16)
  const length = 2 * 1024 ** 3
  const folder = join(here.room.root, 'blobs', 'ab', 'ab')
  await mkdir(folder, { recursive: true })
  const path = join(folder, blob)
  await writeFile(path, '')
  await truncate(path, length)
  await appendFile(path, encodeFooter({ blob, length, bucketId: 1, key: 'k', blocks: new Uint32Array(length / 1024 ** 2) }))
  await age()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('1 blobs')
  expect(await readdir(folder)).toEqual([blob])
})

/** As the database has it: a blob is found by the key that it was written for. */
function byKey(): SweeperStore {
  const isKey = ({ key }: { key: string }): boolean => /^k\d+$/.test(key)
  const nobodys = { live: false, here: false, released: false, shared: false, moved: null }
  return {
    ...here.memory.store,
    referenced: async (blobs) => here.memory.store.referenced(blobs.filter(isKey)),
    fates: async (blobs) => new Map([...blobs.map(({ blob }) => [blob, nobodys] as const), ...await here.memory.store.fates(blobs.filter(isKey))]),
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
  expect((await readAll(here.room.blobs, [extent])).equals(bytes)).toBe(true)
})

test('a file under the name of another blob is kept: it may be the other’s last copy', async () => {
  const first = await store(50_000, 1)
  const second = await store(60_000, 2)
  const [a, b] = [first, second].map(({ extent }) => join(here.room.root, blobPath(extent.blob))) as [string, string]
  await rename(a, `${a}.aside`)
  await rename(b, a)
  await rename(`${a}.aside`, b)
  here.memory.forget(second.extent)
  await age()
  expect((await sweeper().runOnce({ orphans: true })).orphans).toBe(0)
  await rename(b, a)
  expect((await readAll(here.room.blobs, [first.extent])).equals(first.bytes)).toBe(true)
})

test('a live record whose owner’s key has rotted is kept with its segment', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  const [live, ...dead] = stored
  if (live === undefined || live.extent.place.kind !== 'segment') throw new Error('no record')
  const { segment, at } = live.extent.place
  await rot(`segments/${segment}`, at + 64 + live.bytes.length)
  dead.forEach(({ extent }) => here.memory.release(extent))
  await age()
  for (let pass = 0; pass < 3; pass++) await sweeper({ store: byKey() }).runOnce({ orphans: true })
  expect(await segments()).toContain(segment)
  expect((await readAll(here.room.blobs, [live.extent])).equals(live.bytes)).toBe(true)
})

test('a segment whose last record is live and has rotted is kept', async () => {
  const stored = await Promise.all(Array.from({ length: 60 }, (_, index) => store(10_000, index + 1)))
  const inSegments = stored.flatMap((each) => (each.extent.place.kind === 'segment' ? [{ ...each, place: each.extent.place }] : []))
  const { segment } = inSegments[0]?.place ?? { segment: '' }
  const last = inSegments.filter(({ place }) => place.segment === segment).sort((a, b) => b.place.at - a.place.at)[0]
  if (last === undefined) throw new Error('no record')
  await rot(`segments/${segment}`, last.place.at + 64 + 5000)
  for (const each of stored) if (each.extent !== last.extent) here.memory.release(each.extent)
  await age()
  for (let pass = 0; pass < 3; pass++) await sweeper({ store: byKey() }).runOnce({ orphans: true })
  expect(await segments()).toContain(segment)
})

test('orphans that an operator allowed to go do so once, and no more than those', async () => {
  const kept = await store(50_000, 1)
  for (let index = 0; index < 101; index++) await here.room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  await allowOrphans(here.room.drive, { blobs: 0, bytes: 0 })
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
  await allowOrphans(here.room.drive, { blobs: 101, bytes: 101 * (smallMax + 1) })
  expect(await sweeper().runOnce({ orphans: true })).toMatchObject({ stopped: null, orphans: 101 })
  expect((await readAll(here.room.blobs, [kept.extent])).equals(kept.bytes)).toBe(true)
  for (let index = 0; index < 101; index++) await here.room.blobs.write(bodyOf(patterned(smallMax + 1, index)), writeOptions())
  await age()
  expect((await sweeper().runOnce({ orphans: true })).stopped).toContain('101 blobs')
})

test('it stops when the drive is missing or foreign, or the database younger or another one', async () => {
  const gone = await store(60_000)
  here.memory.release(gone.extent)
  const [known] = here.memory.drives
  if (known === undefined) throw new Error('no drive')
  here.memory.drives[0] = { ...known, createdAt: known.createdAt + 120_000 }
  expect((await sweeper().runOnce()).stopped).toContain('younger')
  here.memory.drives[0] = { ...known, uuid: 'another' }
  expect((await sweeper().runOnce()).stopped).toContain('not known')
  here.memory.drives[0] = known
  const marker = join(here.room.root, 'holdfast-drive.json')
  await writeFile(marker, JSON.stringify({ format: 1, uuid: 'other', createdAt: 1 }))
  expect((await sweeper().runOnce()).stopped).toContain('another one')
  await rm(marker)
  expect((await sweeper().runOnce()).stopped).toContain('missing')
  expect((await readAll(here.room.blobs, [gone.extent])).equals(gone.bytes)).toBe(true)
  expect(here.memory.waiting()).toBe(1)
})

/** Another process on the same drive, with its own segments: a token of somebody who lives, and what it says that it holds. */
