import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startExternalPostgres, type ExternalPostgres } from '../support/external-postgres.ts'
import { newWorld, startLoad, type World } from '../support/load.ts'
import { signedRequest } from '../support/raw.ts'
import { newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { brokenPromises } from '../support/verify.ts'

let postgres: ExternalPostgres
let server: TestServer
let world: World

beforeAll(async () => {
  postgres = await startExternalPostgres()
  server = await startServer({ env: { HOLDFAST_DATABASE_URL: postgres.url } })
  world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
})
afterAll(async () => {
  await server?.remove()
  await postgres?.remove()
})

const answers = async (): Promise<number> => (await signedRequest({ server, path: '/' })).status

/** Takes the database away under load, brings it back, and waits until the server takes writes again by itself. */
async function away(leave: () => Promise<void>, comeBack: () => Promise<void>): Promise<void> {
  const load = startLoad(world, { allowed: [503] })
  await sleep(500)
  await leave()
  await comeBack()
  const before = world.ledger.acknowledged
  await expect.poll(() => world.ledger.acknowledged, { timeout: 30_000 }).toBeGreaterThan(before + 20)
  await load.stop()
  expect(await brokenPromises(world)).toEqual([])
  expect(server.output()).not.toContain('nobody foresaw')
}

test('a database that stands still for a while: requests wait, none is answered falsely', async () => {
  await away(() => postgres.signal('SIGSTOP'), async () => {
    await sleep(1_200)
    await postgres.signal('SIGCONT')
  })
})

test('a database that crashes: 503 with Retry-After until it is back, then everything goes on by itself', async () => {
  await away(() => postgres.stop('immediate'), async () => {
    const [read, write, ready, live] = await Promise.all([
      signedRequest({ server, path: `/${world.bucket}/any` }), signedRequest({ server, method: 'PUT', path: `/${world.bucket}/never`, body: 'x' }),
      fetch(`${server.controlUrl}/health/ready`), fetch(`${server.controlUrl}/health/live`),
    ])
    for (const response of [read, write]) {
      expect(outcome(response)).toBe('503 ServiceUnavailable')
      expect(Number(response.headers['retry-after'])).toBeGreaterThan(0)
    }
    expect([ready.status, live.status]).toEqual([503, 200])
    await postgres.start()
  })
  await expect.poll(answers, { timeout: 20_000 }).toBe(200)
  expect(outcome(await signedRequest({ server, path: `/${world.bucket}/never` }))).toMatch(/^(404 NoSuchKey|200)$/)
  expect((await fetch(`${server.controlUrl}/health/ready`)).status).toBe(200)
})

test('a database that is killed and started again at once, twice under load', async () => {
  for (let round = 0; round < 2; round++) {
    await away(async () => {
      await postgres.signal('SIGKILL')
      // Its children end by themselves a moment later; until then a new one refuses the folder.
      await expect.poll(() => postgres.start().then(() => true, () => false), { timeout: 20_000 }).toBe(true)
    }, async () => undefined)
  }
})

test('a server whose database is away stops when it is told to', async () => {
  await postgres.stop('immediate')
  expect(await server.stop()).toBe(0)
})
