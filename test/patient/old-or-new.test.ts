import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { testShortly } from '../support/promise.ts'
import { outcome, type Send } from '../support/s3.ts'
import type { TestServer } from '../support/server.ts'
import { blobFiles, startSwept, sweepMs } from '../support/swept.ts'
import * as oldOrNew from '../faults/promises/old-or-new.ts'
import * as runningGet from '../faults/promises/running-get.ts'

testShortly(oldOrNew)
testShortly(runningGet)

let server: TestServer
let send: Send

beforeAll(async () => {
  ({ server, send } = await startSwept())
})
afterAll(() => server?.remove())

/** No test leaves an object behind, so that in the end no bytes are left either. */
async function allSwept(): Promise<void> {
  await expect.poll(() => blobFiles(server.dataDir), { timeout: 20_000, interval: 200 }).toBe(0)
}

test('the sweeper removes nothing while its drive is a foreign one, and goes on when it is the right one again', async () => {
  const marker = join(server.dataDir, 'drive', 'holdfast-drive.json')
  const right = await readFile(marker, 'utf8')
  expect(outcome(await send('PUT', 'kept', { body: freshBody(300_000) }))).toBe('200')
  await writeFile(marker, JSON.stringify({ ...(JSON.parse(right) as object), uuid: '00000000-0000-4000-8000-000000000000' }))
  expect(outcome(await send('DELETE', 'kept'))).toBe('204')
  await expect.poll(() => server.output(), { timeout: 10_000 }).toContain('is another one than at the start')
  await sleep(sweepMs)
  expect(await blobFiles(server.dataDir)).toBe(1)
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
