import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { CarriedRecord } from '../../src/domain/model.ts'
import { openDrive, segmentPath, type Drive, type Log } from '../../src/storage/backend.ts'
import { restoreCarried } from '../../src/storage/restore.ts'

let folder: string
let drive: Drive
let said: string[]
const note = (message: string): void => void said.push(message)
const log: Log = { info: note, warn: note, error: note }

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-restore-'))
  drive = await openDrive({ root: join(folder, 'drive'), register: async () => 1 })
  said = []
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const fileOf = (segment: string): string => join(drive.root, segmentPath(segment))

test('records come back to their places, whatever lies there, and nothing else changes', async () => {
  const bytes = randomBytes(5000)
  await writeFile(fileOf('a'), bytes)
  const records: CarriedRecord[] = [[128, 300], [1000, 1000], [4000, 1000]].map(([at = 0, length = 0]) => ({ segment: 'a', at, bytes: Buffer.from(bytes.subarray(at, at + length)) }))
  expect(await restoreCarried(drive, records, log)).toEqual(['a'])
  expect(said).toEqual([])
  for (const harm of [() => writeFile(fileOf('a'), Buffer.concat([bytes.subarray(0, 900), Buffer.alloc(4100)])), () => truncate(fileOf('a'), 1200)]) {
    await harm()
    expect(await restoreCarried(drive, records, log)).toEqual(['a'])
    const after = await readFile(fileOf('a'))
    expect(after.length).toBe(5000)
    for (const { at, bytes: own } of records) expect(after.subarray(at, at + own.length)).toEqual(own)
    expect(after.subarray(0, 900)).toEqual(bytes.subarray(0, 900))
  }
  expect(said).toHaveLength(2)
})

test('of a segment that is gone nothing is made, and the others come back', async () => {
  await writeFile(fileOf('b'), Buffer.alloc(100))
  const bytes = randomBytes(50)
  expect(await restoreCarried(drive, [{ segment: 'gone', at: 128, bytes }, { segment: 'b', at: 60, bytes }], log)).toEqual(['b'])
  expect((await readFile(fileOf('b'))).subarray(60)).toEqual(bytes)
  await expect(readFile(fileOf('gone'))).rejects.toMatchObject({ code: 'ENOENT' })
  expect(said.join()).toContain('a segment that is not there')
})

test('where the disk refuses nothing is said to be in its place, and the others come back', async () => {
  await mkdir(fileOf('c'))
  await writeFile(fileOf('d'), Buffer.alloc(100))
  const bytes = randomBytes(50)
  expect(await restoreCarried(drive, [{ segment: 'c', at: 0, bytes }, { segment: 'd', at: 0, bytes }], log)).toEqual(['d'])
  expect(said.join()).toContain('could not be put back')
})
