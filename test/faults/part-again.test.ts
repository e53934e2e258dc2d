import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { complete, createUpload, putParts } from '../support/multipart.ts'
import { bucketSender, newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'

let server: TestServer
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  server = await startServer({ env: { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  send = bucketSender(server, await newBucket(server.client))
})
afterAll(() => server?.remove())

/** Longer than the grace and an interval: a sweep has come by. */
const sweepMs = 2_500

async function blobFiles(): Promise<number> {
  const entries = await readdir(join(server.dataDir, 'drive', 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).length
}

test('a part that was uploaded again has bytes of its own: those of the one before are swept, and the object stays whole', async () => {
  const sizes = [20_000, 300_000]
  const stored = await Promise.all(sizes.map(async (size) => {
    const key = `again-${size}`
    const body = freshBody(size)
    const uploadId = await createUpload(send, key)
    const [, again] = await putParts(send, key, uploadId, [[1, freshBody(size)], [1, body]])
    expect(outcome(await complete(send, key, uploadId, again === undefined ? [] : [again]))).toBe('200')
    return { key, body }
  }))
  const whole = async (): Promise<void> => {
    for (const { key, body } of stored) expect((await send('GET', key)).body.equals(body), key).toBe(true)
  }
  await sleep(sweepMs)
  await whole()
  await expect.poll(blobFiles, { timeout: 20_000, interval: 200 }).toBe(1)
  await whole()
})
