import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { testShortly } from '../support/promise.ts'
import { bucketSender, newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import * as oldOrNew from './promises/old-or-new.ts'
import * as runningGet from './promises/running-get.ts'

testShortly(oldOrNew)
testShortly(runningGet)

let server: TestServer
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  server = await startServer({ env: { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  send = bucketSender(server, await newBucket(server.client))
})
afterAll(() => server?.remove())

async function blobFiles(): Promise<number> {
  const entries = await readdir(join(server.dataDir, 'drive', 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).length
}

/** No test leaves an object behind, so that in the end no bytes are left either. */
async function allSwept(): Promise<void> {
  await expect.poll(blobFiles, { timeout: 20_000, interval: 200 }).toBe(0)
}

/** Longer than the grace and an interval: a sweep has come by. */
const sweepMs = 2_500

test('the sweeper removes nothing while its drive is a foreign one, and goes on when it is the right one again', async () => {
  const marker = join(server.dataDir, 'drive', 'holdfast-drive.json')
  const right = await readFile(marker, 'utf8')
  expect(outcome(await send('PUT', 'kept', { body: freshBody(300_000) }))).toBe('200')
  await writeFile(marker, JSON.stringify({ ...(JSON.parse(right) as object), uuid: '00000000-0000-4000-8000-000000000000' }))
  expect(outcome(await send('DELETE', 'kept'))).toBe('204')
  await expect.poll(() => server.output(), { timeout: 10_000 }).toContain('is another one than at the start')
  await sleep(sweepMs)
  expect(await blobFiles()).toBe(1)
  await writeFile(marker, right)
  await allSwept()
})

test('what was deleted before a stop is swept after the next start, and a stop waits for no sweep', async () => {
  expect(outcome(await send('PUT', 'later', { body: freshBody(300_000) }))).toBe('200')
  expect(outcome(await send('DELETE', 'later'))).toBe('204')
  expect(await server.stop()).toBe(0)
  await server.restart()
  await allSwept()
})
