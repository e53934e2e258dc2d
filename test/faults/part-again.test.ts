import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { complete, createUpload, putParts } from '../support/multipart.ts'
import { outcome, type Send } from '../support/s3.ts'
import type { TestServer } from '../support/server.ts'
import { blobFiles, startSwept, sweepMs } from '../support/swept.ts'

let server: TestServer
let send: Send

beforeAll(async () => {
  ({ server, send } = await startSwept())
})
afterAll(() => server?.remove())

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
  await expect.poll(() => blobFiles(server.dataDir), { timeout: 20_000, interval: 200 }).toBe(1)
  await whole()
})
