import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { signedRequest } from '../support/raw.ts'
import { newBucket } from '../support/s3.ts'
import { failedStart, startServer, type TestServer } from '../support/server.ts'

let folder: string
let file: string
let server: TestServer
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-limits-'))
  file = path.join(folder, 'limits.yaml')
  await write('')
  server = await startServer({ env: { HOLDFAST_LIMITS_FILE: file } })
})
afterAll(async () => {
  await server?.remove()
  await rm(folder, { recursive: true, force: true })
})

async function write(text: string): Promise<void> {
  await writeFile(`${file}.new`, text)
  await rename(`${file}.new`, file)
}

async function applied(text: string): Promise<void> {
  const times = (): number => server.output().split('The limits were read anew').length
  const before = times()
  await write(text)
  await expect.poll(times, { timeout: 20_000 }).toBeGreaterThan(before)
}

test('limits that change while the server runs hold from then on; beyond them the answer is SlowDown with Retry-After', async () => {
  const bucket = await newBucket(server.client)
  const put = (name = bucket) => signedRequest({ server, method: 'PUT', path: `/${name}/k`, body: 'x' })
  const many = async (name = bucket) => Promise.all(Array.from({ length: 30 }, () => put(name)))
  expect((await many()).map(({ status }) => status)).toEqual(Array(30).fill(200))
  await applied(`limits: [{ by: bucket, name: ${bucket}, requestsPerSecond: 0.01, burstSeconds: 500 }]`)
  const answers = await many()
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(5)
  const refused = answers.filter(({ status }) => status !== 200)
  for (const answer of refused) {
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, '60'])
    expect(answer.text).toContain('<Code>SlowDown</Code>')
  }
  const other = await newBucket(server.client)
  expect((await put(other)).status).toBe(200)
  // What cannot be applied is said, and nothing changes.
  await write('limits: [{ by: nobody }]')
  await expect.poll(() => server.output(), { timeout: 20_000 }).toContain('The new limits are refused')
  expect((await put()).status).toBe(503)
  await applied('')
  expect((await put()).status).toBe(200)
  expect(server.output()).toContain('Requests are refused because of limits')
  expect(server.output()).not.toContain('A request failed')
})

test('requests at once of an account wait for their turn, and their connections are good for more', async () => {
  const bucket = await newBucket(server.client)
  await applied('{ server: { queue: 100 }, limits: [{ by: account, concurrent: 2 }] }')
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => signedRequest({ server, method: 'PUT', path: `/${bucket}/k${index}`, body: Buffer.alloc(5000, 'a') })))
    expect(answers.map(({ status }) => status)).toEqual(Array(60).fill(200))
    const reads = await Promise.all(Array.from({ length: 60 }, (_, index) => signedRequest({ server, path: `/${bucket}/k${index}` })))
    expect(reads.map(({ body }) => body.length)).toEqual(Array(60).fill(5000))
  }
  await applied('{ server: { queue: 5 }, limits: [{ by: account, concurrent: 1 }] }')
  const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => signedRequest({ server, method: 'PUT', path: `/${bucket}/k${index}`, body: 'x' })))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 503]))
  await applied('')
})

test('a stranger without a valid signature is limited by its address, and takes nothing from the bucket that it names', async () => {
  const bucket = await newBucket(server.client)
  await applied(`limits: [{ by: bucket, name: ${bucket}, requestsPerSecond: 0.01, burstSeconds: 1000 }]`)
  const wrong = { accessKeyId: server.accessKeyId, secretAccessKey: 'not-the-secret' }
  const strangers = await Promise.all(Array.from({ length: 50 }, () => signedRequest({ server, path: `/${bucket}/k`, credentials: wrong })))
  expect(new Set(strangers.map(({ status }) => status))).toEqual(new Set([403]))
  expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}/k`, body: 'x' })).status).toBe(200)
  await applied('limits: [{ by: address, name: "127.0.0.1", requestsPerSecond: 0.01, burstSeconds: 1000 }]')
  const limited = await Promise.all(Array.from({ length: 50 }, () => signedRequest({ server, path: `/${bucket}/k`, credentials: wrong })))
  expect(limited.filter(({ status }) => status === 503)).toHaveLength(40)
  await applied('')
})

test('a start with limits that cannot be applied ends and says why', async () => {
  const bad = path.join(folder, 'bad.yaml')
  await writeFile(bad, 'limits: [{ by: nobody, requestsPerSecond: 1 }]')
  const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: path.join(folder, 'data'), HOLDFAST_LIMITS_FILE: bad, HOLDFAST_PROCESSES: '1' })
  expect(code).toBe(1)
  expect(output).toContain('limits[0].by: "nobody" is not allowed')
})
