import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { scanSegment } from '../../src/storage/backend.ts'
import { bucketSender, newBucket, type Send } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { sweepMs, sweepsOften } from '../support/swept.ts'
import { noiseBuffer } from '../support/tools.ts'
import { until } from '../support/under-load.ts'
import { ageFiles, deleteEverything, garbageBytes, sumsWrong } from '../faults/garbage.ts'

/** A compaction dies when it has copied live records, before it told the database of them. */

const preload = path.join(import.meta.dirname, '../faults/failpoints/preload.ts')
const objects = 150
const kept = Array.from({ length: objects }, (_, index) => index).filter((index) => index % 5 < 2)
const bodyOf = (index: number): Buffer => noiseBuffer(3000, `k${index}`)

let folder: string
let server: TestServer
let bucket: string
let send: Send
/** The segments that hold nothing but the copies. */
let copies: string[]

const segments = async (): Promise<string[]> => (await readdir(path.join(server.dataDir, 'drive', 'segments'))).filter((name) => !name.endsWith('.notes'))
const records = async (names: readonly string[]): Promise<string[]> => names.flatMap((name) => {
  try {
    return [...scanSegment(path.join(server.dataDir, 'drive', 'segments', name))].map(({ blob }) => blob)
  } catch (error) {
    // The sweeper may have taken it since it was named.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
})

async function ok(answer: ReturnType<Send>): Promise<void> {
  const { status, text } = await answer
  if (status >= 300) throw new Error(`${status} ${text}`)
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-failpoint-'))
  const armed = path.join(folder, 'armed')
  server = await startServer({ env: { ...sweepsOften, NODE_OPTIONS: `--import=${pathToFileURL(preload).href}`, FAILPOINT_FILE: armed } })
  bucket = await newBucket(server.client)
  send = bucketSender(server, bucket)
  for (let index = 0; index < objects; index++) await ok(send('PUT', `k${index}`, { body: bodyOf(index) }))
  // One that only a copy names from now on.
  await ok(send('PUT', 'copy', { headers: { 'x-amz-copy-source': `/${bucket}/k0` } }))
  await server.stop()
  await server.restart({ HOLDFAST_SWEEP_INTERVAL_SECONDS: '86400' })
  for (let index = 0; index < objects; index++) if (index === 0 || !kept.includes(index)) await ok(send('DELETE', `k${index}`))
  await server.stop()
  const before = await segments()
  await writeFile(armed, 'records copied\n\n1')
  await server.restart()
  await server.exited()
  await rm(armed)
  copies = (await segments()).filter((name) => !before.includes(name))
  // What was put while a segment was being synced lies in another one, of which all may live.
  expect((await records(copies)).length, 'what lives has a copy').toBeGreaterThan(kept.length * 0.8)
})

afterEach(async () => {
  await server.remove()
  await rm(folder, { recursive: true })
})

test('the copies go when the records have been moved, and no other byte does', async () => {
  await ageFiles(server)
  await server.restart()
  await sleep(sweepMs)
  // A walk comes with each start, and then by the hour.
  await server.stop()
  await ageFiles(server)
  await server.restart()
  await until('only what lives is left', async () => (await records(await segments())).length === kept.length, 30_000, 100)
  expect((await segments()).filter((name) => copies.includes(name))).toEqual([])
  for (const index of kept) expect((await send('GET', index === 0 ? 'copy' : `k${index}`)).body.equals(bodyOf(index)), `k${index}`).toBe(true)
  expect(await sumsWrong(server)).toEqual([])
})

test('the copies go when the records were deleted after a walk saw both, which fsck explains', async () => {
  await ageFiles(server)
  await server.restart({ HOLDFAST_SWEEP_GRACE_SECONDS: '604800' })
  await sleep(sweepMs)
  expect(await segments()).toEqual(expect.arrayContaining(copies))
  expect(await sumsWrong(server)).toEqual([])
  await deleteEverything(server, [bucket])
  await sleep(sweepMs)
  expect(await garbageBytes(server)).toBe('')
})
