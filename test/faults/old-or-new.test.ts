import { readdir, readFile, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { signRequest, xmlText } from '../support/raw.ts'
import { bucketSender, newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'

let server: TestServer
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  server = await startServer({ env: { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
  bucket = await newBucket(server.client)
  send = bucketSender(server, bucket)
})
afterAll(() => server?.remove())

const blockBytes = 16

/** A body that says in every 16 bytes which one it is. */
function body(version: number, size: number): Buffer {
  return Buffer.alloc(size, String(version).padStart(blockBytes, '0'))
}

/** Which versions these bytes are of; more than one is a mix. `at`: offset of the first one in its object. */
function versionsIn(bytes: Buffer, at: number): string[] {
  const whole = bytes.subarray((blockBytes - (at % blockBytes)) % blockBytes)
  const found = new Set<string>()
  for (let from = 0; from + blockBytes <= whole.length; from += blockBytes) found.add(whole.toString('latin1', from, from + blockBytes))
  return [...found]
}

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

test('four writers and four readers of one key: each answer is one version, whole and by range', async () => {
  let going = true
  let version = 0
  /** Sizes by version: a mix of a body with another one's length shows as well. */
  const sizes = new Map<string, number>()
  const wrong: string[] = []
  let read = 0

  async function writer(): Promise<void> {
    while (going) {
      version += 1
      const mine = version
      // Small and large bodies rest in different places: a segment, a file of their own.
      const size = (mine % 3 === 0 ? 2_100_000 : mine % 3 === 1 ? 50_000 : 300_000) + mine * blockBytes
      sizes.set(String(mine).padStart(blockBytes, '0'), size)
      const response = await send('PUT', 'contended', { body: body(mine, size), headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'x-amz-meta-version': String(mine) } })
      if (response.status !== 200) wrong.push(`PUT: ${outcome(response)}`)
      if (mine % 25 === 0) await send('DELETE', 'contended')
    }
  }
  async function reader(): Promise<void> {
    while (going) {
      const start = Math.floor(Math.random() * 40_000)
      const ranged = Math.random() < 0.5
      const response = await send('GET', 'contended', ranged ? { headers: { range: `bytes=${start}-${start + 1_400_000}` } } : {})
      if (response.status === 404) continue
      read += 1
      const versions = versionsIn(response.body, ranged ? start : 0)
      const total = Number(ranged ? response.headers['content-range']?.split('/')[1] : response.headers['content-length'])
      const [only = ''] = versions
      if (versions.length !== 1 || sizes.get(only) !== total || Number(only) !== Number(response.headers['x-amz-meta-version'])) {
        wrong.push(`GET ${ranged ? start : 'whole'}: ${outcome(response)}, versions ${versions.join()} of ${total} bytes, headers of ${response.headers['x-amz-meta-version']}`)
      }
    }
  }
  const running = [...Array.from({ length: 4 }, writer), ...Array.from({ length: 4 }, reader)]
  await sleep(2_500)
  going = false
  await Promise.all(running)
  expect(wrong).toEqual([])
  expect(read).toBeGreaterThan(20)
  await send('DELETE', 'contended')
  await allSwept()
})

/** A reader that stops after the first bytes: `rest` lets it go on. */
async function slowReader(key: string): Promise<{ rest(): Promise<Buffer> }> {
  const path = `/${bucket}/${key}`
  const { headers } = signRequest({ server, path })
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(server.url + path, { headers, agent: false }, resolve).once('error', reject)
  })
  expect(response.statusCode).toBe(200)
  const first = await new Promise<Buffer>((resolve) => response.once('data', (chunk: Buffer) => {
    response.pause()
    resolve(chunk)
  }))
  return {
    rest: () => new Promise((resolve, reject) => {
      const chunks = [first]
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).once('end', () => resolve(Buffer.concat(chunks))).once('error', reject).resume()
    }),
  }
}

async function putInParts(key: string): Promise<Buffer> {
  const parts = Array.from({ length: 3 }, () => freshBody(5 * 1024 ** 2))
  const uploadId = xmlText((await send('POST', `${key}?uploads`)).text, 'UploadId')
  const etags = await Promise.all(parts.map(async (part, index) => (await send('PUT', `${key}?partNumber=${index + 1}&uploadId=${uploadId}`, { body: part })).headers['etag']))
  const list = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`).join('')
  expect(outcome(await send('POST', `${key}?uploadId=${uploadId}`, { body: `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>` }))).toBe('200')
  return Buffer.concat(parts)
}

test('a GET finishes as the version that it began with, over an overwrite, a delete and the sweep of its bytes', async () => {
  const whole = freshBody(16_000_000)
  expect(outcome(await send('PUT', 'whole', { body: whole }))).toBe('200')
  // A reader of many parts has later ones still to open when they are deleted.
  const originals = { whole, parts: await putInParts('parts') }
  const readers = await Promise.all(Object.entries(originals).map(async ([key, original]) => ({ original, reader: await slowReader(key) })))
  for (const key of Object.keys(originals)) {
    expect(outcome(await send('PUT', key, { body: freshBody(200_000) }))).toBe('200')
    expect(outcome(await send('DELETE', key))).toBe('204')
    expect((await send('GET', key)).status).toBe(404)
  }
  // The sweeper may leave a file alone that is being read, or remove its name: the bytes are the reader's either way.
  await sleep(sweepMs)
  for (const { original, reader } of readers) expect((await reader.rest()).equals(original)).toBe(true)
  await allSwept()
})

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
