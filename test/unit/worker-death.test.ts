import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { expect, test } from 'vitest'
import { createLanes } from '../../src/workers/lanes.ts'
import { createPool } from '../../src/workers/pool.ts'
import type { WorkerPool } from '../../src/workers/pool.ts'
import type { BatchTask } from '../../src/workers/worker.ts'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'

const mib = 1024 ** 2

test('uploads on a thread that dies fail, everything else goes on, and so do later ones', async () => {
  const pool = createPool({ uploadThreads: 1 })
  const room = await openRoom({ smallBodyBytesMax: 1024, pool })
  const bytes = patterned(3 * mib)
  const kept = await room.blobs.write(bodyOf(bytes), writeOptions())
  for (let round = 0; round < 3; round++) {
    const stream = new PassThrough()
    stream.write(bytes.subarray(0, 2 * mib))
    const dying = room.blobs.write({ stream, wireLength: bytes.length, length: bytes.length, payload: { kind: 'unsigned' } }, writeOptions())
    const copy = room.blobs.digest(kept.manifest, ['SHA256']).then(() => 'done', () => 'failed')
    await sleep(20)
    const { port, outcome } = pool.digest({ algorithms: ['MD5'] })
    // No bytes: the thread fails over it outside of any task.
    port.postMessage({})
    await expect(outcome).rejects.toThrow()
    await expect(dying).rejects.toThrow()
    expect(['done', 'failed']).toContain(await copy)
    port.close()
    const again = await Promise.all([room.blobs.write(bodyOf(bytes), writeOptions()), room.blobs.write(bodyOf(bytes.subarray(0, 500)), writeOptions())])
    expect((await readAll(room.blobs, again[0].manifest)).equals(bytes)).toBe(true)
    expect((await readAll(room.blobs, again[1].manifest)).length).toBe(500)
  }
  await room.close()
  await pool.close()
})

test('a thread that writes small bodies dies with its group, and those that come after are written by another', async () => {
  const threads = new Piscina({ filename: new URL('../support/lane-thread.mjs', import.meta.url).href, minThreads: 2, maxThreads: 2 })
  const lanes = createLanes(threads, 2)
  const group = (at: number) => lanes.run({ at } as BatchTask)
  for (let round = 0; round < 3; round++) {
    const dying = [0, 1].map(() => lanes.run({ dies: true } as unknown as BatchTask).catch(() => 'died'))
    const waiting = [1, 2, 3, 4].map(group)
    expect(await Promise.all(dying)).toEqual(['died', 'died'])
    expect(await Promise.all(waiting)).toEqual([1, 2, 3, 4].map((at) => ({ at })))
    expect(await group(5)).toEqual({ at: 5 })
  }
  const last = group(6)
  lanes.end()
  expect(await last).toEqual({ at: 6 })
  await expect(group(7)).rejects.toThrow('ended')
  await threads.close()
})

test('a large body whose reading threads die is read by other ways, byte for byte', async () => {
  const room = await openRoom({ smallBodyBytesMax: 1024 })
  // They start with their first task.
  const { port, outcome } = room.pool.digest({ algorithms: ['MD5'] })
  const allLoaded = watchLoading(room.pool, 'upload')
  port.postMessage(null)
  await outcome
  const bytes = patterned(24 * mib + 5)
  const { manifest } = await room.blobs.write(bodyOf(bytes), writeOptions())
  for (let round = 0; round < 5; round++) {
    await allLoaded()
    const reading = Array.from({ length: 4 }, () => readAll(room.blobs, manifest))
    await sleep(round * 2)
    await Promise.all(threadsOf(room.pool, 'upload').map((thread) => thread.terminate()))
    for (const body of await Promise.all(reading)) expect(body.equals(bytes)).toBe(true)
  }
  await allLoaded()
  await room.close()
})

const threadsOf = (pool: WorkerPool, kind: 'batch' | 'upload'): readonly Worker[] => pool.pools().find(({ name }) => name === kind)?.threads ?? []

/** Its call resolves when each thread of that moment has loaded its program: to end one before that aborts the process. */
function watchLoading(pool: WorkerPool, kind: 'batch' | 'upload'): () => Promise<unknown> {
  const loaded = new Map<Worker, Promise<unknown>>()
  const watch = (): void => {
    for (const thread of threadsOf(pool, kind)) {
      if (loaded.has(thread)) continue
      loaded.set(thread, once(thread, 'message'))
      // The pool has put another one in its place by then.
      thread.once('exit', watch)
    }
  }
  watch()
  return () => Promise.all(threadsOf(pool, kind).map((thread) => loaded.get(thread)))
}

test('bodies whose thread dies are refused or kept whole, and those that come after are written', async () => {
  const room = await openRoom({ smallBodyBytesMax: 1024 })
  const allLoaded = watchLoading(room.pool, 'batch')
  const bytes = patterned(500)
  const write = () => room.blobs.write(bodyOf(bytes), writeOptions())
  for (let round = 0; round < 3; round++) {
    await allLoaded()
    const writing = Promise.allSettled(Array.from({ length: 20 }, write))
    await Promise.all(threadsOf(room.pool, 'batch').map((thread) => thread.terminate()))
    for (const written of await writing) {
      if (written.status === 'fulfilled') expect((await readAll(room.blobs, written.value.manifest)).equals(bytes)).toBe(true)
      else expect(written.reason).toMatchObject({ code: 'InternalError' })
    }
    const again = await Promise.all([write(), write()])
    for (const { manifest } of again) expect((await readAll(room.blobs, manifest)).equals(bytes)).toBe(true)
  }
  await allLoaded()
  await room.close()
})

test('a pool that is closed at any moment of its start ends its threads and nothing else', async () => {
  for (let afterMs = 0; afterMs < 100; afterMs += 10) {
    const pool = createPool()
    await sleep(afterMs)
    await pool.close()
  }
})
