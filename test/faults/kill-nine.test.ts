import { readdir } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { contentOf } from '../support/ledger.ts'
import { freshBody, newWorld, startLoad, type World } from '../support/load.ts'
import { signedRequest, signRequest } from '../support/raw.ts'
import { newBucket } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { brokenPromises } from '../support/verify.ts'

/** Everything that was acknowledged survives the death of any process at any moment. CI sets the number of deaths to 20 or more. */
const cycles = Number(process.env['HOLDFAST_TEST_KILL_CYCLES'] ?? 3)

let server: TestServer
let world: World

beforeAll(async () => {
  server = await startServer()
  world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
})
afterAll(() => server?.remove())

/** Nothing of a dead process: `drive/tmp` holds only the living one's folder, which is empty while nobody writes. */
async function temporaries(): Promise<string[]> {
  const names = await readdir(join(server.dataDir, 'drive', 'tmp'), { recursive: true })
  return names.filter((name) => name.includes('/'))
}

async function underLoad(kill: () => Promise<void>): Promise<void> {
  const before = world.ledger.acknowledged
  const load = startLoad(world)
  await expect.poll(() => world.ledger.acknowledged, { timeout: 20_000, interval: 20 }).toBeGreaterThan(before)
  await sleep(Math.random() * 900)
  await kill()
  await load.stop()
}

test(`kill -9 of the server and its PostgreSQL, ${cycles} times: every acknowledged write is there, nothing is half`, async () => {
  for (let cycle = 1; cycle <= cycles; cycle++) {
    await underLoad(() => server.kill9())
    await server.restart()
    expect(await brokenPromises(world), `cycle ${cycle}`).toEqual([])
    expect(await temporaries()).toEqual([])
  }
  console.log(`kill-nine: ${world.ledger.acknowledged} acknowledged writes, ${JSON.stringify(Object.fromEntries(world.answers))}`)
}, 60_000 + cycles * 30_000)

test('kill -9 of the server alone: the next start takes over from the PostgreSQL that was left behind', async () => {
  await underLoad(() => server.killServer())
  await server.restart()
  expect(await brokenPromises(world)).toEqual([])
  expect(await temporaries()).toEqual([])
})

test('kill -9 of PostgreSQL alone: 503 meanwhile, and the server goes on by itself', async () => {
  const { pid } = server
  for (let round = 0; round < cycles / 5; round++) {
    const load = startLoad(world, { allowed: [503] })
    await sleep(300 + Math.random() * 300)
    await server.killPostgres()
    await sleep(300)
    await expect.poll(async () => (await signedRequest({ server, path: '/' })).status, { timeout: 20_000, interval: 100 }).toBe(200)
    const before = world.ledger.acknowledged
    await expect.poll(() => world.ledger.acknowledged, { timeout: 20_000 }).toBeGreaterThan(before)
    await load.stop()
    expect(await brokenPromises(world), `round ${round}`).toEqual([])
    expect(await temporaries()).toEqual([])
  }
  expect(server.pid).toBe(pid)
  // What PostgreSQL's death did to requests is a matter of 503, never an error that nobody foresaw.
  expect(server.output()).not.toContain('nobody foresaw')
}, 60_000 + cycles * 10_000)

test('SIGTERM: an upload on its way finishes and is there after the next start; new connections are refused', async () => {
  const body = freshBody(3_000_000)
  const path = `/${world.bucket}/drained`
  const { headers } = signRequest({ server, method: 'PUT', path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': String(body.length) } })
  const status = new Promise<number>((resolve, reject) => {
    const request = http.request(server.url + path, { method: 'PUT', headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
    request.on('error', reject)
    request.write(body.subarray(0, 1_500_000))
    setTimeout(() => process.kill(server.pid, 'SIGTERM'), 200)
    setTimeout(() => request.end(body.subarray(1_500_000)), 700)
  })
  await sleep(450)
  await expect(fetch(server.url)).rejects.toThrow()
  expect(await status).toBe(200)
  expect(await server.exited()).toBe(0)
  await server.restart()
  expect(contentOf((await signedRequest({ server, path })).body)).toEqual(contentOf(body))
  expect(server.output()).not.toContain('nobody handled')
})
