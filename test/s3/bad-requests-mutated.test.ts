import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketContents, lastingTemporaryFiles } from '../support/leftovers.ts'
import { changedRequest, edit, edited, good, mutation, type ChangedRequest, type Mutation } from '../support/mutations.ts'
import { patient } from '../support/promise.ts'
import { rawSocket, sendRequest, signedRequest, xmlText } from '../support/raw.ts'
import { bucketName, bucketSender } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { signedChunks } from '../support/signing.ts'

/**
 * Good requests, changed at random: before they are signed, so that the change goes deep, and behind it, byte by byte. Whatever comes:
 * no answer is a 5xx (but 501, by name), the server lives, and a request that was refused has stored nothing.
 */

/** CI asks twice as many. */
const runs = patient ? 180 : 90

let server: TestServer

beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.remove())

interface Scene {
  readonly bucket: string
  readonly uploadId: string
}

async function scene(): Promise<Scene> {
  const bucket = bucketName()
  const send = bucketSender(server, bucket)
  expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}` })).status).toBe(200)
  await send('PUT', 'k', { body: 'hello' })
  const uploadId = xmlText((await send('POST', 'parts?uploads')).text, 'UploadId') ?? ''
  await send('PUT', `parts?partNumber=1&uploadId=${uploadId}`, { body: 'x' })
  return { bucket, uploadId }
}

const build = (one: Mutation, { bucket, uploadId }: Scene): ChangedRequest => changedRequest(one, { server, bucket, uploadId, fresh: 'new', victim: 'k', page: 'x' })

test('requests that are changed before they are signed', { timeout: 240_000 }, async () => {
  const seen = new Map<string, number>()
  await fc.assert(fc.asyncProperty(fc.array(mutation, { minLength: 12, maxLength: 12 }), async (mutations) => {
    const at = await scene()
    let before = await bucketContents(server, at.bucket)
    for (const one of mutations) {
      const request = build(one, at)
      const answer = await sendRequest({ server, ...request }).catch((error: NodeJS.ErrnoException) => {
        // The server may close on a body that it does not want before all of it is sent.
        if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return null
        throw error
      })
      const code = answer === null ? 'closed' : `${answer.status} ${xmlText(answer.text, 'Code') ?? ''}`
      seen.set(code, (seen.get(code) ?? 0) + 1)
      if (answer !== null && answer.status >= 500) expect(code, JSON.stringify(request.headers)).toBe('501 NotImplemented')
      if (request.method === 'GET' || request.method === 'HEAD') continue
      const after = await bucketContents(server, at.bucket)
      if (answer === null || answer.status >= 300) expect(after, `${code} ${request.method} ${request.path}`).toEqual(before)
      before = after
    }
  }), { numRuns: runs, endOnFailure: true })
  // The changes go deep: many kinds of errors were met, and good requests among them.
  expect(seen.size).toBeGreaterThan(15)
  expect(seen.get('200 ') ?? 0).toBeGreaterThan((runs * 100) / 180)
})

test('chunks and their signatures, changed', async () => {
  const { bucket } = await scene()
  const send = bucketSender(server, bucket)
  const chunks = [Buffer.alloc(9000, 'a'), Buffer.alloc(8192, 'b'), Buffer.from('end')]
  await fc.assert(fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean(), async (edits, trailer) => {
    const signed = signedChunks({ server, method: 'PUT', path: `/${bucket}/chunked` }, chunks, trailer ? ['x-amz-checksum-crc32', 'AAAAAA=='] : undefined)
    const whole = Buffer.concat(signed.pieces).toString('latin1')
    const body = Buffer.from(edited(whole, edits), 'latin1')
    const answer = await sendRequest({ server, method: 'PUT', path: signed.path, headers: { ...signed.headers, 'content-length': String(body.length) }, body })
    expect(answer.status).toBeLessThan(500)
    const stored = await send('GET', 'chunked')
    if (answer.status === 200) expect(stored.text).toBe(Buffer.concat(chunks).toString())
    else expect(stored.status).toBe(404)
    if (answer.status === 200) await send('DELETE', 'chunked')
  }), { numRuns: 300, endOnFailure: true })
})

test('bytes of a signed request, changed on the wire', async () => {
  const wirePiece = fc.constantFrom('', '\r\n', '\n', '\r', '\0', ':', ' ', '\t', '%', '%00', '?', '&', '=', '#', '\x80', '\xff', 'HTTP/1.0', 'HTTP/9.9', 'Content-Length: 3\r\n', 'Transfer-Encoding: chunked\r\n', 'Expect: 100-continue\r\n', 'Connection: upgrade\r\nUpgrade: websocket\r\n', '/', '//', 'x'.repeat(20_000))
  const wireEdit = fc.record({ at: fc.nat(1000), cut: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(60)), insert: wirePiece })
  let compared = 0
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ base: fc.nat(good.length - 1), edits: fc.array(wireEdit, { minLength: 1, maxLength: 2 }) }), { minLength: 8, maxLength: 8 }), async (mutations) => {
    const at = await scene()
    const before = await bucketContents(server, at.bucket)
    const answers = await Promise.all(mutations.map(async ({ base, edits }) => {
      const { method, path, headers, body } = build({ base, path: '', headers: [], query: [], edits: [], method: undefined }, at)
      const head = `${method} ${path} HTTP/1.1\r\n${Object.entries({ ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
      const { text } = await rawSocket(server, Buffer.from(edited(head, edits) + (body?.toString('latin1') ?? ''), 'latin1'), { idleMs: 250 })
      return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]))
    }))
    for (const status of answers.flat()) expect(status < 500 || status === 501).toBe(true)
    // An answer can be lost when the server closes on bytes that nobody will read: such a request may have been a good one.
    if (!answers.every((statuses) => statuses.length > 0 && statuses.every((status) => status >= 300))) return
    compared++
    expect(await bucketContents(server, at.bucket)).toEqual(before)
  }), { numRuns: 75, endOnFailure: true })
  expect(compared).toBeGreaterThan(0)
})

test('after all of them the server works, holds no half files, and met nothing unforeseen', async () => {
  const { bucket } = await scene()
  expect((await bucketSender(server, bucket)('GET', 'k')).text).toBe('hello')
  expect(await lastingTemporaryFiles(server.dataDir)).toEqual([])
  expect(server.output()).not.toMatch(/in a way that nobody foresaw|"level":"error"/)
  expect(() => process.kill(server.pid, 0)).not.toThrow()
})
