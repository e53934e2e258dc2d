import { appendFile, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Extent } from '../../src/domain/model.ts'
import { recordBytes, scanSegment, segmentHeaderBytes } from '../../src/storage/backend.ts'
import { trimSegment } from '../../src/storage/local/segment.ts'
import { poolOfFile } from './blobs-pool.ts'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'
import type { Room } from './blobs-room.ts'

const pool = poolOfFile()
let room: Room
beforeEach(async () => {
  room = await openRoom({ pool, segmentBytes: 64 * 1024 })
})
afterEach(() => room.close())

async function store(count: number, target: Room = room): Promise<{ extent: Extent; bytes: Buffer; key: string }[]> {
  return Promise.all(Array.from({ length: count }, async (_, index) => {
    const bytes = patterned(100 + index * 7, index + 1)
    const key = `k/${index}`
    const { manifest } = await target.blobs.write(bodyOf(bytes), writeOptions({ owner: { bucketId: 3, key } }))
    return { extent: manifest[0] as Extent, bytes, key }
  }))
}

const segmentsOf = async (target: Room): Promise<string[]> => Object.keys(await target.files()).filter((path) => path.startsWith('segments/'))
const pathOf = (target: Room, extent: Extent): string => join(target.root, 'segments', extent.place.kind === 'segment' ? extent.place.segment : '')

test('a segment is read without the database: blob, owner and place of each record', async () => {
  const stored = await store(50)
  const found = (await segmentsOf(room)).flatMap((path) => [...scanSegment(join(room.root, path))])
  expect(found.length).toBe(50)
  for (const { extent, bytes, key } of stored) {
    const record = found.find(({ blob }) => blob === extent.blob)
    expect(record).toMatchObject({ length: bytes.length, bucketId: 3, key, at: extent.place.kind === 'segment' ? extent.place.at : -1 })
  }
})

test('segments are closed when they are full, and new ones take over', async () => {
  for (let round = 0; round < 6; round++) await store(100)
  expect((await segmentsOf(room)).length).toBeGreaterThan(2)
})

test('after a crash with a half-written tail, whole records are read and the segment is not appended to', async () => {
  const stored = await store(20)
  const last = stored.at(-1)
  if (last === undefined) throw new Error('nothing was stored')
  const path = pathOf(room, last.extent)
  const second = await room.reopen()
  const tail = (await readFile(path)).subarray(128, 400)
  await appendFile(path, tail)
  const size = (await readFile(path)).length
  const later = await store(5, second)
  expect((await readFile(path)).length).toBe(size)
  for (const { extent, bytes } of [...stored, ...later]) expect((await readAll(second.blobs, [extent])).equals(bytes)).toBe(true)
  const records = [...scanSegment(path)].filter(({ blob }) => stored.some(({ extent }) => extent.blob === blob))
  expect(new Set(records.map(({ blob }) => blob)).size).toBe(stored.filter(({ extent }) => pathOf(second, extent) === path).length)
  await truncate(path, size - 300)
  room = second
})

test('damage in the middle of a segment hides no other record from a scan', async () => {
  const stored = await store(30)
  const [path] = await segmentsOf(room)
  const whole = [...scanSegment(join(room.root, path ?? ''))]
  const victim = whole[Math.floor(whole.length / 2)]
  if (victim === undefined) throw new Error('nothing was stored')
  const bytes = await readFile(join(room.root, path ?? ''))
  bytes[victim.at + 30] = (bytes[victim.at + 30] ?? 0) ^ 1
  await writeFile(join(room.root, path ?? ''), bytes)
  const left = [...scanSegment(join(room.root, path ?? ''))]
  expect(left.map(({ blob }) => blob)).toEqual(whole.map(({ blob }) => blob).filter((blob) => blob !== victim.blob))
  expect(stored.length).toBe(30)
})

test('a record that moved is found where the relocation says', async () => {
  const bytes = patterned(900)
  const { manifest } = await room.blobs.write(bodyOf(bytes), writeOptions())
  const extent = manifest[0] as Extent
  const second = await openRoom({ pool, root: room.root, relocations: async () => new Map([[extent.blob, extent.place]]) })
  const stale: Extent = { ...extent, place: { kind: 'segment', drives: [1], segment: 'f'.repeat(22), at: 128 } }
  expect((await readAll(second.blobs, [stale])).equals(bytes)).toBe(true)
  await second.blobs.close()
})

test('zeros are laid out ahead of few bodies, and gone when the segment ends', async () => {
  const large = await openRoom({ pool, segmentBytes: 8 * 1024 ** 2 })
  try {
    const stored = []
    for (let round = 0; round < 40; round++) stored.push(...await store(2, large))
    const sizes = async () => Object.entries(await large.files()).filter(([path]) => path.startsWith('segments/')).map(([, size]) => size)
    await expect.poll(async () => (await sizes()).some((size) => size > 1024 ** 2)).toBe(true)
    // Groups of many go on behind what few have laid out.
    for (let round = 0; round < 40; round++) stored.push(...await store(60, large))
    const found = (await segmentsOf(large)).flatMap((path) => [...scanSegment(join(large.root, path))])
    expect(new Set(found.map(({ blob }) => blob)).size).toBe(stored.length)
    for (const { extent, bytes } of stored) expect((await readAll(large.blobs, [extent])).equals(bytes)).toBe(true)
    await large.blobs.close()
    const records = (await segmentsOf(large)).flatMap((path) => [...scanSegment(join(large.root, path))])
    const wanted = records.reduce((sum, { length, keyBytes }) => sum + recordBytes(length, keyBytes), 0)
    const total = (await sizes()).reduce((sum, size) => sum + size, 0)
    expect(total).toBe(wanted + (await segmentsOf(large)).length * segmentHeaderBytes)
  } finally {
    await large.close()
  }
})

test('zeros that a crash left behind the records are cut off, and nothing of a record is', async () => {
  const stored = await store(5)
  for (const path of await segmentsOf(room)) {
    const file = join(room.root, path)
    const before = await readFile(file)
    for (const zeros of [1, 7, 8, 4096, 1024 ** 2 + 3]) {
      await writeFile(file, Buffer.concat([before, Buffer.alloc(zeros)]))
      expect([...scanSegment(file)].length).toBeLessThanOrEqual(stored.length)
      expect(trimSegment(file)).toBe(before.length)
      expect((await readFile(file)).equals(before)).toBe(true)
    }
  }
  const only = join(room.root, 'segments', 'zeros')
  await writeFile(only, Buffer.alloc(300_000))
  expect([...scanSegment(only)]).toEqual([])
  expect(trimSegment(only)).toBe(0)
  await rm(only)
})
