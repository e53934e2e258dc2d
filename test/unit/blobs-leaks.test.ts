import { readdir, readlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { queryObjects } from 'node:v8'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'
import type { Room } from './blobs-room.ts'

const smallMax = 16 * 1024

let room: Room
beforeAll(async () => {
  room = await openRoom({ smallBodyBytesMax: smallMax })
})
afterAll(() => room.close())

async function openBlobFiles(): Promise<string[]> {
  const names = await readdir('/proc/self/fd')
  const paths = await Promise.all(names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')))
  return paths.filter((path) => path.startsWith(`${room.root}/blobs/`))
}

test.runIf(process.platform === 'linux')('a client that leaves in the middle of a read leaves no descriptor behind, and is no rot', async () => {
  const written = await Promise.all([1, 2, 3].map((seed) => room.blobs.write(bodyOf(patterned(2 * smallMax, seed)), writeOptions())))
  const manifest = written.flatMap((each) => each.manifest)
  for (let round = 0; round < 30; round++) {
    const reader = await room.blobs.read(manifest, 0, 6 * smallMax)
    await reader.next()
    const next = reader.next()
    reader.close()
    expect(await next).toBe(null)
  }
  await expect.poll(openBlobFiles).toEqual([])
  expect(room.logged).toEqual([])
})

test('large uploads leave nothing in memory', async () => {
  const uploads = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await room.blobs.write(bodyOf(patterned(2 * smallMax, i)), writeOptions())
  }
  await uploads(10)
  const before = queryObjects(Promise, { format: 'count' })
  await uploads(60)
  await sleep(10)
  expect(queryObjects(Promise, { format: 'count' }) - before).toBeLessThan(60)
})

test('a digest that its worker gives up is an error, and the server goes on', async () => {
  const { manifest } = await room.blobs.write(bodyOf(patterned(3 * smallMax)), writeOptions())
  await expect(room.blobs.digest(manifest, ['NONE' as 'MD5'])).rejects.toThrow()
  expect(room.blobs.pinned()).toEqual(new Set())
  expect((await readAll(room.blobs, manifest)).length).toBe(3 * smallMax)
})
