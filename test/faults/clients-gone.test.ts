import { readdir, readlink } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshBody } from '../support/load.ts'
import { memoryBytes } from '../support/processes.ts'
import { patient } from '../support/promise.ts'
import { signedRequest, signRequest, xmlText, xmlTexts } from '../support/raw.ts'
import { bucketSender, newBucket } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { blobFiles } from '../support/swept.ts'

let server: TestServer
let bucket: string

beforeAll(async () => {
  server = await startServer()
  bucket = await newBucket(server.client)
})
afterAll(() => server?.remove())

/** Sends the head of a request and some of its body, then goes away without a word. */
async function leave(path: string, headers: Readonly<Record<string, string>>, sent: Uint8Array, end: 'reset' | 'close'): Promise<void> {
  const socket = await open(path, headers)
  await new Promise<void>((resolve) => socket.write(sent, () => resolve()))
  await sleep(20)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  if (end === 'reset') socket.resetAndDestroy()
  else socket.destroy()
  await closed
}

async function open(path: string, headers: Readonly<Record<string, string>>): Promise<net.Socket> {
  const signed = signRequest({ server, method: 'PUT', path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...headers } })
  const socket = net.connect({ host: '127.0.0.1', port: server.port })
  socket.on('error', () => undefined)
  const lines = Object.entries(signed.headers).map(([name, value]) => `${name}: ${value}\r\n`)
  await new Promise<void>((resolve) => socket.write(`PUT ${signed.path} HTTP/1.1\r\n${lines.join('')}\r\n`, () => resolve()))
  return socket
}

async function temporaries(): Promise<string[]> {
  return (await readdir(join(server.dataDir, 'drive', 'tmp'), { recursive: true })).filter((name) => name.includes('/'))
}

const files = (): Promise<number> => blobFiles(server.dataDir)

const chunked = (bytes: Uint8Array): Buffer => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
const trailer = { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'content-encoding': 'aws-chunked', 'x-amz-trailer': 'x-amz-checksum-crc32' }

describe('a client that goes away in the middle of', () => {
  const cases: [string, (uploadId: string) => [string, Record<string, string>, Uint8Array]][] = [
    ['a small body', () => ['small', { 'content-length': '20000' }, freshBody(9_000)]],
    ['a large body', () => ['large', { 'content-length': '9000000' }, freshBody(4_000_000)]],
    ['a large body before its first byte', () => ['nothing', { 'content-length': '9000000' }, Buffer.alloc(0)]],
    ['a large body but for its last byte', () => ['nearly', { 'content-length': '2000001' }, freshBody(2_000_000)]],
    ['a part', (uploadId) => [`parts?partNumber=1&uploadId=${uploadId}`, { 'content-length': '6000000' }, freshBody(5_500_000)]],
    ['a body in chunks of HTTP', () => ['http-chunks', { 'transfer-encoding': 'chunked', 'x-amz-decoded-content-length': '3000000', ...trailer }, chunked(chunked(freshBody(1_000_000)))]],
    ['a body in chunks of AWS', () => ['aws-chunks', { 'content-length': '2100000', 'x-amz-decoded-content-length': '2000000', ...trailer }, chunked(freshBody(1_000_000))]],
    ['the trailer of a body in chunks', () => [
      'trailer', { 'content-length': '200050', 'x-amz-decoded-content-length': '200000', ...trailer },
      Buffer.concat([chunked(freshBody(200_000)), Buffer.from('0\r\nx-amz-checksum-crc32:')]),
    ]],
  ]

  test.each(cases)('%s leaves no object, no part, no file', async (_, request) => {
    const send = bucketSender(server, bucket)
    const uploadId = xmlText((await send('POST', 'parts?uploads')).text, 'UploadId') ?? ''
    const [key, headers, sent] = request(uploadId)
    const before = await files()
    for (const end of ['close', 'reset'] as const) await leave(`/${bucket}/${key}`, headers, sent, end)
    await expect.poll(temporaries, { timeout: 10_000 }).toEqual([])
    expect(await files()).toBe(before)
    expect(xmlTexts((await send('GET', '?list-type=2')).text, 'Key')).toEqual([])
    expect(xmlTexts((await send('GET', `parts?uploadId=${uploadId}`)).text, 'PartNumber')).toEqual([])
    expect((await send('DELETE', `parts?uploadId=${uploadId}`)).status).toBe(204)
  })

  test('many uploads does not make the server grow', async () => {
    const body = freshBody(2_500_000)
    const storm = async (count: number): Promise<void> => {
      for (let done = 0; done < count; done += 10) {
        await Promise.all(Array.from({ length: 10 }, (_, index) => leave(`/${bucket}/gone-${index}`, { 'content-length': '9000000' }, body, index % 2 === 0 ? 'close' : 'reset')))
      }
      await expect.poll(temporaries, { timeout: 10_000 }).toEqual([])
    }
    await storm(100)
    const before = await memoryBytes(server.pid, 'VmRSS')
    await storm(200)
    // A leak of these bodies would be 500 MB.
    expect(await memoryBytes(server.pid, 'VmRSS') - before).toBeLessThan(100 * 1024 ** 2)
    expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}/after`, body: 'still here' })).status).toBe(200)
    expect((await signedRequest({ server, method: 'DELETE', path: `/${bucket}/after` })).status).toBe(204)
  })
})

test('a client that goes away in the middle of a download leaves no open file', async () => {
  const path = `/${bucket}/download`
  expect((await signedRequest({ server, method: 'PUT', path, body: freshBody(8_000_000) })).status).toBe(200)
  const { headers } = signRequest({ server, path })
  for (let round = 0; round < 10; round++) {
    const socket = net.connect({ host: '127.0.0.1', port: server.port }).on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
    await new Promise((resolve) => socket.once('data', resolve))
    socket.destroy()
  }
  const openFiles = async (): Promise<string[]> => {
    const names = await readdir(`/proc/${server.pid}/fd`)
    const targets = await Promise.all(names.map((name) => readlink(`/proc/${server.pid}/fd/${name}`).catch(() => '')))
    return targets.filter((target) => target.startsWith(join(server.dataDir, 'drive', 'blobs')))
  }
  await expect.poll(openFiles, { timeout: 10_000 }).toEqual([])
  expect((await signedRequest({ server, method: 'DELETE', path })).status).toBe(204)
})

if (patient) {
  test('a client that sends slower than the least rate is closed, and its upload leaves nothing', async () => {
    const socket = await open(`/${bucket}/slow`, { 'content-length': '9000000' })
    const drip = setInterval(() => socket.write('x'), 2_000)
    await new Promise((resolve) => socket.resume().once('close', resolve))
    clearInterval(drip)
    await expect.poll(temporaries, { timeout: 10_000 }).toEqual([])
  }, 200_000)
}
