import { createHash } from 'node:crypto'
import http from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { memoryBytes } from '../support/processes.ts'
import { signRequest } from '../support/raw.ts'
import { newBucket } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { noiseBuffer } from '../support/tools.ts'
import { eachOf } from '../support/verify.ts'

/** `200x100`: uploads at once, and megabytes of each. Everyday it is a smaller case of the same promise. */
const [uploads = 40, megabytes = 20] = (process.env['HOLDFAST_TEST_MEMORY_UPLOADS'] ?? '40x20').split('x').map(Number)
const bytes = megabytes * 1_000_000
const stepBytes = 4096

let server: TestServer
let bucket: string

beforeAll(async () => {
  server = await startServer()
  bucket = await newBucket(server.client)
})
afterAll(() => server?.remove())

/** The client's memory is not the matter here: all bodies are windows on one run of noise, each a little further on. */
const noise = noiseBuffer(bytes + uploads * stepBytes, 'memory')
const bodyOf = (index: number): Buffer => noise.subarray(index * stepBytes, index * stepBytes + bytes)
const md5 = (body: Buffer): string => `"${createHash('md5').update(body).digest('hex')}"`

function put(index: number): Promise<string> {
  const path = `/${bucket}/upload-${index}`
  const { headers } = signRequest({ server, method: 'PUT', path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': String(bytes) } })
  return new Promise((resolve, reject) => {
    const request = http.request(server.url + path, { method: 'PUT', headers, agent: false }, (response) => {
      response.resume().once('end', () => resolve(`${response.statusCode} ${response.headers.etag}`))
    })
    request.once('error', reject).end(bodyOf(index))
  })
}

/** Whether what comes back is the body, byte for byte, without holding it. */
function isThere(index: number): Promise<boolean> {
  const path = `/${bucket}/upload-${index}`
  const { headers } = signRequest({ server, path })
  const body = bodyOf(index)
  return new Promise((resolve, reject) => {
    http.get(server.url + path, { headers, agent: false }, (response) => {
      let at = 0
      let same = response.statusCode === 200
      response.on('data', (chunk: Buffer) => {
        same &&= chunk.equals(body.subarray(at, at + chunk.length))
        at += chunk.length
      })
      response.once('end', () => resolve(same && at === bytes)).once('error', reject)
    }).once('error', reject)
  })
}

test(`${uploads} uploads of ${megabytes} MB at once stay below 1 GiB of memory, and each byte is there`, async () => {
  const answers = await Promise.all(Array.from({ length: uploads }, (_, index) => put(index)))
  const peak = await memoryBytes(server.pid, 'VmHWM')
  console.log(`memory: ${uploads} x ${megabytes} MB, peak of the server ${Math.round(peak / 1024 ** 2)} MiB`)
  expect(answers).toEqual(Array.from({ length: uploads }, (_, index) => `200 ${md5(bodyOf(index))}`))
  const missing: number[] = []
  await eachOf(Array.from({ length: uploads }, (_, index) => index), async (index) => {
    if (!(await isThere(index))) missing.push(index)
  }, 8)
  expect(missing).toEqual([])
  expect(peak).toBeLessThan(1024 ** 3)
  expect(await memoryBytes(server.pid, 'VmHWM')).toBeLessThan(1024 ** 3)
}, 900_000)
