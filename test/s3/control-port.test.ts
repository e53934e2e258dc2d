import http from 'node:http'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { signedRequest, signRequest, type Endpoint, type RawRequest, type RawResponse } from '../support/raw.ts'
import { newBucket, s3Client } from '../support/s3.ts'
import { presign, timestamp } from '../support/signing.ts'
import { sharedServer, startServer } from '../support/server.ts'

const server = sharedServer()
/** The control port as an endpoint to sign for. */
const control: Endpoint = { url: server.controlUrl, accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey, region: server.region }
const ask = (path: string, options: Omit<RawRequest, 'server' | 'path'> = {}): Promise<RawResponse> => signedRequest({ server: control, path, ...options })

interface Runtime {
  readonly uptimeSeconds: number
  readonly windowSeconds: number
  readonly eventLoopDelayMs: Readonly<Record<'samples' | 'mean' | 'p50' | 'p99' | 'p999' | 'max', number>>
  readonly eventLoopTurnMs: Readonly<Record<'samples' | 'mean' | 'p50' | 'p99' | 'p999' | 'max', number>>
  readonly eventLoopUtilization: number
  readonly memoryBytes: Readonly<Record<'rss' | 'heapTotal' | 'heapUsed' | 'external' | 'arrayBuffers', number>>
  readonly garbageCollections: Readonly<Record<string, { readonly count: number; readonly timeMs: number }>>
  readonly activeHandles: { readonly count: number }
  readonly pools: readonly { readonly name: string; readonly threads: number; readonly queued: number; readonly running: number }[]
}

describe('what is below /debug', () => {
  test('opens for the root account’s own key, in a header and in a presigned URL', async () => {
    for (const sign of ['header', 'presigned'] as const) expect((await ask('/debug/runtime', { sign })).status).toBe(200)
  })

  test('says to who did not sign, or signed wrongly, what to do', async () => {
    const wrongly: readonly [string, RawRequest][] = [
      ['AccessDenied', { server: control, path: '/debug/runtime', sign: 'none' }],
      ['SignatureDoesNotMatch', { server: { ...control, secretAccessKey: 'x'.repeat(40) }, path: '/debug/runtime' }],
      ['InvalidAccessKeyId', { server: { ...control, accessKeyId: 'NOBODYSKEY000000' }, path: '/debug/runtime' }],
      ['AuthorizationHeaderMalformed', { server: { ...control, region: 'eu-west-3' }, path: '/debug/runtime' }],
      ['AccessDenied', { server: control, path: '/debug/nothing-here', sign: 'none' }],
    ]
    for (const [error, request] of wrongly) {
      const answer = await signedRequest(request)
      expect(answer.status).toBe(403)
      expect(JSON.parse(answer.text)).toMatchObject({ error, message: expect.any(String), next: expect.stringContaining('curl --aws-sigv4 "aws:amz:us-east-1:s3"') })
      expect(answer.text).not.toContain(server.secretAccessKey)
    }
  })

  test('does not take a presigned URL that is over', async () => {
    const { path, headers } = presign({ server: control, path: '/debug/runtime', time: timestamp(-120), expires: '60' })
    const answer = await signedRequest({ server: control, path, headers, sign: 'none' })
    expect([answer.status, (JSON.parse(answer.text) as { error: string }).error]).toEqual([403, 'AccessDenied'])
  })

  test('answers only GET, and 404 for what is not there', async () => {
    expect((await ask('/debug/runtime', { method: 'POST', body: '' })).status).toBe(405)
    expect((await ask('/debug/runtime', { method: 'HEAD' })).status).toBe(405)
    expect((await ask('/debug/nothing-here')).status).toBe(404)
  })

  test('knows one process, and names it to who asks for another', async () => {
    expect((await ask('/debug/runtime?process=server')).status).toBe(200)
    const other = await ask('/debug/runtime?process=another')
    expect([other.status, other.text]).toEqual([400, expect.stringContaining('process must be one of: server')])
  })
})

const client = s3Client(server)
let bucket = ''
beforeAll(async () => {
  bucket = await newBucket(client)
  // The threads of large bodies start with the first one.
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'large', Body: Buffer.alloc(1024 ** 2) }))
})

test('health is open to everybody', async () => {
  for (const path of ['/health/live', '/health/ready']) expect((await ask(path, { sign: 'none' })).status).toBe(200)
})

describe('/debug/runtime', () => {
  const runtime = async (query = ''): Promise<Runtime> => JSON.parse((await ask(`/debug/runtime${query}`)).text) as Runtime

  test('has delays of the event loop, memory, collections, handles and the pools of threads', async () => {
    const figures = await runtime()
    expect(figures.eventLoopUtilization).toBeGreaterThanOrEqual(0)
    expect(figures.eventLoopUtilization).toBeLessThanOrEqual(1)
    expect(figures.memoryBytes.rss).toBeGreaterThan(figures.memoryBytes.heapUsed)
    expect(Object.keys(figures.garbageCollections)).toEqual(['scavenge', 'markSweepCompact', 'incremental', 'weakCallbacks'])
    expect(figures.activeHandles.count).toBeGreaterThan(2)
    expect(figures.pools.map(({ name }) => name)).toEqual(['batch', 'upload'])
    for (const pool of figures.pools) {
      expect(pool.threads).toBeGreaterThan(0)
      expect(pool.queued).toBe(0)
      expect(pool.running).toBeGreaterThanOrEqual(0)
    }
  })

  test('starts anew when it is told to', async () => {
    const began = ({ uptimeSeconds, windowSeconds }: Runtime): number => uptimeSeconds - windowSeconds
    const before = await runtime('?reset')
    expect(began(await runtime())).toBeGreaterThan(began(before))
    await expect.poll(async () => (await runtime()).eventLoopDelayMs.samples).toBeGreaterThan(10)
    const { eventLoopDelayMs, eventLoopTurnMs } = await runtime()
    for (const { p50, p99, p999, max } of [eventLoopDelayMs, eventLoopTurnMs]) {
      expect([p50, p99, p999].sort((a, b) => a - b)).toEqual([p50, p99, p999])
      expect(p50).toBeGreaterThanOrEqual(0)
      expect(max).toBeGreaterThanOrEqual(p99)
    }
  })
})

interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: { readonly functionName: string; readonly url: string } }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}
interface HeapNode {
  readonly selfSize: number
  readonly callFrame: { readonly url: string }
  readonly children: readonly HeapNode[]
}

const urlsOf = ({ nodes }: CpuProfile): string[] => nodes.map(({ callFrame }) => callFrame.url)

/** Small and large bodies, one after the other, until `until` is there. */
async function underLoad<T>(until: Promise<T>): Promise<T> {
  let over = false
  const ended = until.finally(() => { over = true })
  const bodies = [Buffer.alloc(4096, 'a'), Buffer.alloc(1024 ** 2, 'b')]
  const load = bodies.map(async (Body, lane) => {
    for (let count = 0; !over; count++) await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${lane}-${count % 20}`, Body }))
  })
  const [result] = await Promise.all([ended, ...load])
  return result
}

describe('/debug/profile', () => {
  test('is a CPU profile of the main thread, with the server’s functions and without paths of the machine', async () => {
    const answer = await underLoad(ask('/debug/profile?seconds=1'))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-disposition']).toMatch(/^attachment; filename="holdfast-server-main-\d{8}T\d{6}Z\.cpuprofile"$/)
    const profile = JSON.parse(answer.text) as CpuProfile
    expect(profile.samples.length).toBe(profile.timeDeltas.length)
    expect(urlsOf(profile)).toEqual(expect.arrayContaining(['src/gateway/exchange.ts', 'src/operations/dispatch.ts']))
    expect(urlsOf(profile).filter((url) => /^(?:file:|\/)/.test(url))).toEqual([])
    expect(answer.text).not.toContain(server.secretAccessKey)
  })

  test('has the worker threads too, and each by its name', async () => {
    const answer = await underLoad(ask('/debug/profile?seconds=2&thread=all'))
    const threads = JSON.parse(answer.text) as { thread: string; profile: CpuProfile }[]
    expect(threads.map(({ thread }) => thread)).toEqual(expect.arrayContaining(['main', 'batch-0', 'batch-1', 'upload-0']))
    const workers = threads.filter(({ thread }) => thread !== 'main').flatMap(({ profile }) => urlsOf(profile))
    expect(workers).toEqual(expect.arrayContaining(['src/workers/worker.ts']))
    const one = await ask('/debug/profile?seconds=1&thread=batch-1')
    expect(one.headers['content-disposition']).toContain('-batch-1-')
    expect((JSON.parse(one.text) as CpuProfile).nodes.length).toBeGreaterThan(0)
  })

  test('is a page that needs nothing from elsewhere, when asked for HTML', async () => {
    const answer = await underLoad(ask('/debug/profile?seconds=2&format=html', { sign: 'presigned' }))
    expect([answer.status, answer.headers['content-type']]).toEqual([200, expect.stringContaining('text/html')])
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'")
    expect(answer.text).toMatch(/^<!doctype html>[\s\S]*<\/html>\s*$/)
    expect(answer.text).not.toMatch(/(?:src|href)\s*=\s*["']?(?:https?:)?\/\/|@import|url\(/)
    const data = JSON.parse(/<script type="application\/json" id="data">(.*)<\/script>/.exec(answer.text)?.[1] ?? '') as { kind: string; silent: string[]; threads: { thread: string; profile: CpuProfile }[] }
    expect([data.kind, data.silent]).toEqual(['cpu', []])
    expect(data.threads.map(({ thread }) => thread)).toEqual(expect.arrayContaining(['main', 'batch-0', 'upload-0']))
    expect(urlsOf(data.threads[0]?.profile ?? { nodes: [], samples: [], timeDeltas: [] })).toContain('src/gateway/exchange.ts')
  })

  test('runs once at a time, and ends when its client goes away', async () => {
    const { path, headers } = signRequest({ server: control, path: '/debug/profile?seconds=300' })
    const { hostname, port } = new URL(server.controlUrl)
    const long = http.request({ hostname, port, path, headers, agent: false })
    long.on('error', () => undefined).end()
    await expect.poll(async () => (await ask('/debug/runtime')).text).toContain('"profiling":["cpu"]')
    const refused = await ask('/debug/profile?seconds=1&thread=batch-0')
    expect([refused.status, refused.text]).toEqual([409, expect.stringMatching(/Only one profile of a kind runs at a time: the one that runs ends in about \d+ s/)])
    // Another kind is not in its way.
    expect((await ask('/debug/allocations?seconds=1')).status).toBe(200)
    long.destroy()
    await expect.poll(async () => (await ask('/debug/runtime')).text).toContain('"profiling":[]')
    expect((await ask('/debug/profile?seconds=1')).status).toBe(200)
  })

  test('says what it takes', async () => {
    for (const query of ['seconds=0', 'seconds=301', 'seconds=1.5', 'seconds=x', 'seconds=', 'format=xml', 'thread=nobody', 'process=nobody']) {
      const answer = await ask(`/debug/profile?${query}`)
      expect([query, answer.status, answer.text]).toEqual([query, 400, expect.stringContaining(`"message":"${query.split('=')[0]} must be`)])
    }
  })
})

describe('/debug/allocations', () => {
  test('samples who allocates, also what is collected since', async () => {
    const answer = await underLoad(ask('/debug/allocations?seconds=1'))
    expect(answer.headers['content-disposition']).toMatch(/-main-\d{8}T\d{6}Z\.heapprofile"$/)
    const { head } = JSON.parse(answer.text) as { head: HeapNode }
    const all = [head]
    for (const node of all) all.push(...node.children)
    expect(all.reduce((sum, { selfSize }) => sum + selfSize, 0)).toBeGreaterThan(0)
    expect(all.map(({ callFrame }) => callFrame.url).filter((url) => url.startsWith('src/')).length).toBeGreaterThan(0)
    expect(all.map(({ callFrame }) => callFrame.url).filter((url) => /^(?:file:|\/)/.test(url))).toEqual([])
  })

  test('is a page, too', async () => {
    const answer = await ask('/debug/allocations?seconds=1&format=html')
    expect(answer.text).toMatch(/<script type="application\/json" id="data">\{"kind":"allocations"[\s\S]*<\/html>\s*$/)
  })
})

test('/debug/heap is a heap snapshot of one thread', async () => {
  // A heap that others fill meanwhile may be too large for one.
  const own = await startServer()
  onTestFinished(() => own.remove())
  const { accessKeyId, secretAccessKey, region } = own
  const ask = (path: string): Promise<RawResponse> => signedRequest({ server: { url: own.controlUrl, accessKeyId, secretAccessKey, region }, path })
  // A thread that is busy says to ask again.
  await expect.poll(async () => (await ask('/debug/heap')).status, { timeout: 20_000 }).toBe(200)
  const answer = await ask('/debug/heap')
  expect(answer.headers['content-disposition']).toMatch(/-main-\d{8}T\d{6}Z\.heapsnapshot"$/)
  expect((JSON.parse(answer.text) as { snapshot: { node_count: number } }).snapshot.node_count).toBeGreaterThan(10_000)
  expect((await ask('/debug/heap?thread=all')).status).toBe(400)
  const worker = await ask('/debug/heap?thread=batch-0')
  expect((JSON.parse(worker.text) as { snapshot: { node_count: number } }).snapshot.node_count).toBeGreaterThan(10_000)
})
