import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'

/**
 * What a request has made is garbage once it is answered, and costs nothing when it is collected young. Two things of the engine make
 * it live until the next collection of the whole heap, and each collection of the young generation copy it meanwhile, because
 * they lie in the old one from the start: a function literal that is assigned to a property (`it.done = () => ...`), and an object
 * literal with an accessor (`{ get full() {...} }`), which is a shape of its own. Both hold on to all that they see.
 */

const rounds = 300
/** Code that is compiled meanwhile stays. */
const warmUps = 3
/** A request makes 40 to 100 KB. Before it was looked at, a put kept 10 of them and a deletion 6. */
const keptBytesMax = 2500

let folder: string
let file: string
let server: TestServer

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-young-'))
  file = path.join(folder, 'collections.json')
  const preload = new URL('../support/young-garbage.mjs', import.meta.url).href
  server = await startServer({ env: { NODE_OPTIONS: `--import=${preload} --max-semi-space-size=1`, YOUNG_GARBAGE: file } })
  await server.client.send(new CreateBucketCommand({ Bucket: 'young' }))
})
afterAll(async () => {
  await server.remove()
  await rm(folder, { recursive: true, force: true })
})

const object = (index: number) => ({ Bucket: 'young', Key: `key-${index}` })

async function all(send: (index: number) => Promise<unknown>): Promise<void> {
  for (let index = 0; index < rounds; index++) await send(index)
}

const kinds: Record<string, (index: number) => Promise<unknown>> = {
  'a put': (index) => server.client.send(new PutObjectCommand({ ...object(index), Body: Buffer.alloc(4096, index) })),
  'a get': async (index) => (await server.client.send(new GetObjectCommand(object(index)))).Body?.transformToByteArray(),
  'a deletion': (index) => server.client.send(new DeleteObjectCommand(object(index))),
}

test.each(Object.keys(kinds))('%s leaves nothing to the old generation', async (kind) => {
  const send = kinds[kind] as (index: number) => Promise<unknown>
  for (let round = 1; round <= warmUps; round++) await all((index) => send(kind === 'a deletion' ? round * rounds + index : index))
  process.kill(server.pid, 'SIGUSR2')
  await all(send)
  process.kill(server.pid, 'SIGUSR2')
  const found = JSON.parse(await expect.poll(() => readFile(file, 'utf8').catch(() => '')).not.toBe('').then(() => readFile(file, 'utf8'))) as { collections: number; grown: number }
  await rm(file)
  expect(found.collections).toBeGreaterThan(5)
  expect(found.grown / rounds).toBeLessThan(keptBytesMax)
})
