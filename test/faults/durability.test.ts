import { afterAll, beforeAll, expect, test } from 'vitest'
import { newWorld, startLoad, type World } from '../support/load.ts'
import { newBucket } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { brokenPromises } from '../support/verify.ts'

/** HOLDFAST_DURABILITY=relaxed: says so wherever an operator looks, and still loses nothing when processes die. */
let server: TestServer
let world: World

beforeAll(async () => {
  server = await startServer({ env: { HOLDFAST_DURABILITY: 'relaxed' } })
  world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
})
afterAll(() => server?.remove())

test('the banner and both health checks say that it is relaxed', async () => {
  expect(server.output()).toMatch(/Durability\s+RELAXED/)
  for (const check of ['live', 'ready']) {
    expect(await (await fetch(`${server.controlUrl}/health/${check}`)).json()).toMatchObject({ durability: 'relaxed' })
  }
})

test('kill -9 of the server and its PostgreSQL under load: every acknowledged write is there', async () => {
  const load = startLoad(world)
  await expect.poll(() => world.ledger.acknowledged, { timeout: 20_000, interval: 20 }).toBeGreaterThan(30)
  await server.kill9()
  await load.stop()
  await server.restart()
  expect(await brokenPromises(world)).toEqual([])
})

test('strict is the default, and is said only where somebody asks', async () => {
  await server.stop()
  await server.restart({ HOLDFAST_DURABILITY: '' })
  const shown = server.output()
  expect(shown.slice(shown.lastIndexOf('S3 endpoint'))).not.toContain('Durability')
  expect(await (await fetch(`${server.controlUrl}/health/ready`)).json()).toEqual({ status: 'ready', durability: 'strict' })
})
