import { constants, openSync, writeSync } from 'node:fs'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStraight } from '../../src/storage/backend.ts'
import { createSlabs } from '../../src/workers/slabs.ts'
import type { Slab } from '../../src/workers/slabs.ts'
import { patterned } from './blobs-room.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-straight-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const kib = 1024
const holder = { take: () => undefined, flush: () => undefined }
const slabsOf = (count: number): Slab[] => {
  const slabs = createSlabs(count)
  return Array.from({ length: count }, () => slabs.ask(holder)).filter((slab) => slab !== null)
}

test('pieces of any size, on pages and off them, are where they belong', async () => {
  const path = join(folder, 'pieces')
  const handle = await open(path, 'wx+')
  const file = openStraight(handle.fd, path)
  const slabs = slabsOf(12)
  const lengths = [1024 * kib, 512 * kib, 4 * kib, 300 * kib, 1024 * kib, 1000, 700 * kib, 1024 * kib - 1000, 1024 * kib, 256 * kib + 1, 1, 500 * kib]
  const whole = patterned(lengths.reduce((sum, length) => sum + length))
  let at = 0
  const writes = lengths.map((length, index) => {
    const bytes = slabs[index]?.bytes.subarray(0, length) ?? new Uint8Array(0)
    bytes.set(whole.subarray(at, at + length))
    at += length
    return file.write(bytes, at - length)
  })
  await Promise.all(writes)
  file.close()
  await handle.close()
  expect((await readFile(path)).equals(whole)).toBe(true)
})

test('a failed write is an error', async () => {
  const file = openStraight(openSync('/dev/full', 'w'), '/dev/full')
  await expect(file.write(new Uint8Array(1000), 0)).rejects.toThrow('ENOSPC')
  file.close()
})

test.runIf(process.platform === 'linux')('slabs begin on a page, so that they can be written straight to the disk', () => {
  const path = join(folder, 'aligned')
  openSync(path, 'w')
  // A tmpfs takes anything; on a disk this is the system's own word for it.
  const fd = openSync(path, constants.O_WRONLY | constants.O_DIRECT)
  for (const slab of slabsOf(3)) expect(writeSync(fd, slab.bytes, 0, slab.bytes.length, 0)).toBe(slab.bytes.length)
})
