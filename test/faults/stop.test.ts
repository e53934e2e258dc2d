import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CreateBucketCommand, GetObjectCommand, HeadObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterEach, expect, test } from 'vitest'
import { signRequest, signedRequest } from '../support/raw.ts'
import { foreignVariables, startServer, type StartOptions, type TestServer } from '../support/server.ts'

const servers: TestServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.remove()
})

async function server(options: StartOptions = {}): Promise<TestServer> {
  const started = await startServer(options)
  servers.push(started)
  return started
}

/** Tries until it works: the call is one that fails while something recovers. */
async function eventually<T>(call: () => Promise<T>): Promise<T> {
  for (let left = 100; ; left--) {
    try {
      return await call()
    } catch (error) {
      if (left === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

async function postmaster(dataDir: string): Promise<number> {
  return Number((await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0])
}

test('SIGTERM lets an upload finish, then stops PostgreSQL and ends with 0', async () => {
  const one = await server()
  await one.client.send(new CreateBucketCommand({ Bucket: 'stopping' }))
  // Without the checksum of an empty body, which the SDK would sign into the URL.
  const { url: endpoint, region, accessKeyId, secretAccessKey } = one
  const signer = new S3Client({ endpoint, region, forcePathStyle: true, requestChecksumCalculation: 'WHEN_REQUIRED', credentials: { accessKeyId, secretAccessKey } })
  const url = await getSignedUrl(signer, new PutObjectCommand({ Bucket: 'stopping', Key: 'k' }))
  const request = http.request(url, { method: 'PUT', headers: { 'content-length': 2_000_000, expect: '100-continue' } })
  const answered = once(request, 'response') as Promise<[http.IncomingMessage]>
  request.flushHeaders()
  // From here on the server is at work on this request.
  await once(request, 'continue')
  request.write(Buffer.alloc(1_000_000, 'a'))
  const stopped = one.stop()
  await eventually(async () => one.output().includes('SIGTERM') ? undefined : Promise.reject(new Error('not yet')))
  const ready = await fetch(`${one.controlUrl}/health/ready`).then((response) => response.status, () => 503)
  expect(ready).toBe(503)
  request.end(Buffer.alloc(1_000_000, 'b'))
  const [response] = await answered
  expect(response.statusCode).toBe(200)
  expect(response.headers.connection).toBe('close')
  response.resume()
  expect(await stopped).toBe(0)
  await expect(postmaster(one.dataDir)).rejects.toThrow('ENOENT')
  await one.restart()
  const { ContentLength } = await one.client.send(new HeadObjectCommand({ Bucket: 'stopping', Key: 'k' }))
  expect(ContentLength).toBe(2_000_000)
})

test.each(['1', '2'])('SIGTERM with a delay, %s server process(es): not ready at once, served until the delay is over, each answer closing its connection', async (processes) => {
  const one = await server({ env: { HOLDFAST_PROCESSES: processes, HOLDFAST_DRAIN_DELAY_SECONDS: '3' } })
  await one.client.send(new CreateBucketCommand({ Bucket: 'draining' }))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const ask = () => signedRequest({ server: one, path: '/', agent })
  expect((await ask()).headers['connection']).toBe('keep-alive')
  const stopped = one.stop()
  await expect.poll(() => fetch(`${one.controlUrl}/health/ready`).then((response) => response.status)).toBe(503)
  expect((await ask()).headers['connection']).toBe('close')
  // A new connection, of a balancer that has not noticed yet.
  const late = await ask()
  expect([late.status, late.headers['connection']]).toEqual([200, 'close'])
  expect(await stopped).toBe(0)
  await expect(ask()).rejects.toThrow('ECONNREFUSED')
  agent.destroy()
})

test('what does not finish within the bound is cut, and the server ends', async () => {
  const one = await server({ env: { HOLDFAST_DRAIN_SECONDS: '1' } })
  await one.client.send(new CreateBucketCommand({ Bucket: 'endless' }))
  const { path: target, headers } = signRequest({ server: one, method: 'PUT', path: '/endless/k', headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': '1000000' } })
  const request = http.request(one.url + target, { method: 'PUT', headers })
  const cut = once(request, 'error')
  request.write('a')
  await expect.poll(() => new Promise<number>((resolve) => request.socket === null ? resolve(0) : resolve(request.socket.bytesWritten))).toBeGreaterThan(0)
  expect(await one.stop()).toBe(0)
  expect(((await cut)[0] as Error).message).toContain('socket hang up')
})

test('a PostgreSQL that is killed comes back by itself, and nothing is lost', async () => {
  const one = await server()
  await one.client.send(new CreateBucketCommand({ Bucket: 'killed' }))
  await one.client.send(new PutObjectCommand({ Bucket: 'killed', Key: 'k', Body: 'kept' }))
  process.kill(await postmaster(one.dataDir), 'SIGKILL')
  const object = await eventually(() => one.client.send(new GetObjectCommand({ Bucket: 'killed', Key: 'k' })))
  expect(await object.Body?.transformToString()).toBe('kept')
  await eventually(() => one.client.send(new PutObjectCommand({ Bucket: 'killed', Key: 'k2', Body: 'new' })))
  expect((await fetch(`${one.controlUrl}/health/ready`)).status).toBe(200)
  expect(await one.stop()).toBe(0)
})

test('a data folder that is taken away ends the server instead of starting an empty one', async () => {
  const one = await server()
  const pid = await postmaster(one.dataDir)
  await rename(one.dataDir, `${one.dataDir}-away`)
  process.kill(pid, 'SIGKILL')
  expect(await one.exited()).toBe(1)
  expect(one.output()).toContain('was removed or replaced')
  await rm(`${one.dataDir}-away`, { recursive: true, force: true })
})

test('root keys of the environment that are replaced open nothing any more', async () => {
  const one = await server()
  await one.stop()
  const next = { HOLDFAST_ROOT_ACCESS_KEY: 'NEXTKEY', HOLDFAST_ROOT_SECRET_KEY: 'next-secret-1' }
  await one.restart(next)
  await expect(one.client.send(new ListBucketsCommand({}))).rejects.toMatchObject({ name: 'InvalidAccessKeyId' })
  const client = new S3Client({ endpoint: one.url, region: one.region, forcePathStyle: true, credentials: { accessKeyId: 'NEXTKEY', secretAccessKey: 'next-secret-1' } })
  await expect(client.send(new ListBucketsCommand({}))).resolves.toMatchObject({ Buckets: [] })
})

test('Ctrl-C of a terminal, which arrives more than once, stops npm start cleanly', async () => {
  const one = await server()
  await one.stop()
  const child = spawn('npm', ['start', '--silent'], {
    cwd: path.join(import.meta.dirname, '..', '..'), detached: true, stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...foreignVariables(), HOLDFAST_DATA_DIR: one.dataDir, HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0', HOLDFAST_ROOT_ACCESS_KEY: one.accessKey, HOLDFAST_ROOT_SECRET_KEY: one.secretKey },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await eventually(async () => output.includes('S3 endpoint') ? undefined : Promise.reject(new Error(output)))
  // The terminal signals the whole group; npm passes it on again.
  process.kill(-(child.pid as number), 'SIGINT')
  const [code] = await once(child, 'exit') as [number | null]
  expect(output).toContain('SIGINT: running requests finish')
  expect(output).not.toContain('stopping at once')
  expect(code).toBe(0)
  await expect(postmaster(one.dataDir)).rejects.toThrow('ENOENT')
})

test('a server whose log nobody reads any more goes on, and stops when it is told to', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'holdfast-test-'))
  const env = { ...foreignVariables(), HOLDFAST_DATA_DIR: dataDir, HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0' }
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../src/main.ts', import.meta.url))], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const tooLong = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await once(child.stdout, 'data')
  child.stdout.destroy()
  child.stderr.destroy()
  child.kill('SIGTERM')
  expect(await exited).toBe(0)
  clearTimeout(tooLong)
  await rm(dataDir, { recursive: true, force: true })
})
