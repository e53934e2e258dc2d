import { readdir, stat } from 'node:fs/promises'
import http from 'node:http'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { signedRequest, signRequest, xmlText, type RawRequest } from '../support/raw.ts'
import { startReplicas, type ReplicaSet } from '../support/replicas.ts'
import { newBucket } from '../support/s3.ts'
import { failedStart, type TestServer } from '../support/server.ts'

/** Two replicas, one of them of two server processes, over one data folder. */
let set: ReplicaSet
let servers: readonly TestServer[]
beforeAll(async () => {
  set = await startReplicas(2, { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' })
  servers = set.servers
  await servers[1]?.stop()
  await servers[1]?.restart({ HOLDFAST_PROCESSES: '2' })
}, 120_000)
afterAll(() => set?.remove())

const via = (turn: number, request: Omit<RawRequest, 'server'>) => signedRequest({ server: servers[turn % 2] as TestServer, ...request })

/** Lengths of the files of large bodies. */
async function blobSizes(): Promise<number[]> {
  const entries = await readdir(`${set.dataDir}/drive/blobs`, { recursive: true, withFileTypes: true })
  return Promise.all(entries.filter((entry) => entry.isFile()).map(async (entry) => (await stat(`${entry.parentPath}/${entry.name}`).catch(() => ({ size: 0 }))).size))
}

const segments = async (): Promise<string[]> => (await readdir(`${set.dataDir}/drive/segments`)).filter((name) => !name.includes('.'))

test('what one has answered, the other knows', async () => {
  const bucket = await newBucket((servers[0] as TestServer).client)
  for (let turn = 0; turn < 20; turn++) {
    const body = freshBody(turn % 2 === 0 ? 5000 : 300_000)
    expect((await via(turn, { method: 'PUT', path: `/${bucket}/k`, body })).status).toBe(200)
    expect((await via(turn + 1, { path: `/${bucket}/k` })).body.equals(body)).toBe(true)
    expect((await via(turn + 1, { method: 'DELETE', path: `/${bucket}/k` })).status).toBe(204)
    expect((await via(turn, { path: `/${bucket}/k` })).status).toBe(404)
  }
})

test.each([0, 1])('a slow reader of one (%s) finishes what was deleted through the other and swept', async (here) => {
  const path = `/${await newBucket((servers[0] as TestServer).client)}/large`
  const parts = [freshBody(9_000_000), freshBody(9_000_000), freshBody(1_000_000)]
  const uploadId = xmlText((await via(here, { method: 'POST', path: `${path}?uploads` })).text, 'UploadId') ?? ''
  const etags = await Promise.all(parts.map(async (body, index) => (await via(index, { method: 'PUT', path: `${path}?partNumber=${index + 1}&uploadId=${uploadId}`, body })).headers['etag']))
  const list = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`).join('')
  expect((await via(here, { method: 'POST', path: `${path}?uploadId=${uploadId}`, body: `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>` })).status).toBe(200)
  const server = servers[here] as TestServer
  const slow = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(server.url + path, { headers: signRequest({ server, path }).headers, agent: new http.Agent() }, resolve).on('error', reject)
  })
  slow.pause()
  expect((await via(here + 1, { method: 'DELETE', path })).status).toBe(204)
  const later = `${path}-later`
  expect((await via(here + 1, { method: 'PUT', path: later, body: freshBody(300_000) })).status).toBe(200)
  expect((await via(here + 1, { method: 'DELETE', path: later })).status).toBe(204)
  await expect.poll(async () => (await blobSizes()).filter((size) => size < 400_000), { timeout: 30_000 }).toEqual([])
  const chunks: Buffer[] = []
  for await (const chunk of slow) chunks.push(chunk as Buffer)
  expect(Buffer.concat(chunks).equals(Buffer.concat(parts))).toBe(true)
  await expect.poll(blobSizes, { timeout: 30_000 }).toEqual([])
  for (const each of servers) expect(each.output()).not.toContain('sweep failed')
})

test('who does not say that it shares the folder is refused, and refuses those who do', async () => {
  const environment = {
    HOLDFAST_DATA_DIR: set.dataDir, HOLDFAST_DATABASE_URL: set.postgres.url, HOLDFAST_ROOT_ACCESS_KEY: 'REPLICAS', HOLDFAST_ROOT_SECRET_KEY: 'a-secret-of-all-replicas', HOLDFAST_PROCESSES: '1',
  }
  const alone = await failedStart(environment)
  expect(alone.code).toBe(1)
  expect(alone.output).toContain('is in use by another Holdfast server')
  const [one, other] = servers as [TestServer, TestServer]
  expect(await Promise.all([one.stop(), other.stop()])).toEqual([0, 0])
  await one.restart({ HOLDFAST_DATA_SHARED: 'off' })
  const sharing = await failedStart({ ...environment, HOLDFAST_DATA_SHARED: 'on' })
  expect(sharing.code).toBe(1)
  expect(sharing.output).toContain('is in use by another Holdfast server')
  await one.stop()
  await Promise.all([one.restart(), other.restart()])
  const embedded = await failedStart({ HOLDFAST_DATA_DIR: `${set.dataDir}-other`, HOLDFAST_DATA_SHARED: 'on' })
  expect(embedded.output).toContain('set HOLDFAST_DATABASE_URL')
})

test('the sweeper removes nothing while a replica that was there a moment ago does not answer; the segments of one that ended in order are compacted', async () => {
  const [one, other] = servers as [TestServer, TestServer]
  const bucket = await newBucket(one.client)
  // A segment of the one, mostly dead once all but one are deleted.
  const keys = Array.from({ length: 40 }, (_, index) => `/${bucket}/k${index}`)
  await Promise.all(keys.map((path) => via(0, { method: 'PUT', path, body: freshBody(20_000) })))
  const before = new Set(await segments())
  const killed = other.pid
  await other.killServer()
  await Promise.all(keys.slice(1).map((path) => via(0, { method: 'DELETE', path })))
  expect((await via(0, { method: 'PUT', path: `/${bucket}/large`, body: freshBody(300_000) })).status).toBe(200)
  expect((await via(0, { method: 'DELETE', path: `/${bucket}/large` })).status).toBe(204)
  await expect.poll(() => one.output(), { timeout: 30_000 }).toContain('does not answer: nothing is removed')
  expect(await blobSizes()).toHaveLength(1)
  // As after a quarter of an hour.
  const client = new pg.Client(set.postgres.url)
  await client.connect()
  await client.query(`UPDATE replicas SET seen_at = 0 WHERE left_at IS NULL AND token LIKE $1`, [`%.${killed}.%`])
  await client.end()
  await expect.poll(blobSizes, { timeout: 30_000 }).toEqual([])
  expect(await one.stop()).toBe(0)
  await other.restart()
  await expect.poll(async () => (await segments()).filter((name) => before.has(name)).length, { timeout: 60_000 }).toBeLessThan(before.size)
  expect((await via(1, { path: keys[0] ?? '' })).body).toHaveLength(20_000)
})
