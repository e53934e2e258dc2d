import { describe, expect, test } from 'vitest'
import { signedRequest, type Endpoint, type RawRequest, type RawResponse } from '../support/raw.ts'
import { presign, timestamp } from '../support/signing.ts'
import { sharedServer } from '../support/server.ts'

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
