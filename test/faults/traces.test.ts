import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { signedRequest, type RawRequest, type RawResponse } from '../support/raw.ts'
import { startServer, type TestServer } from '../support/server.ts'

interface SentSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly status: { readonly code?: number }
  readonly attributes?: readonly { readonly key: string; readonly value: { readonly stringValue?: string; readonly intValue?: string } }[]
}

/** A collector that keeps what it gets. */
let collector: Server
let spans: SentSpan[] = []
let services: string[] = []
let server: TestServer | null = null

beforeEach(async () => {
  spans = []
  services = []
  collector = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString()) as { resourceSpans: { resource: { attributes: { key: string; value: { stringValue?: string } }[] }; scopeSpans: { spans: SentSpan[] }[] }[] }
      services.push(`${request.url} ${resourceSpans[0]?.resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue}`)
      spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)))
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', () => resolve()))
})
afterEach(async () => {
  await server?.remove()
  server = null
  collector.closeAllConnections()
  await new Promise((resolve) => collector.close(resolve))
})

async function start(share: string, processes = '1'): Promise<(path: string, more?: Partial<RawRequest>) => Promise<RawResponse>> {
  const started = await startServer({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/otel/`, OTEL_TRACES_SAMPLER_ARG: share, OTEL_SERVICE_NAME: 'traced', HOLDFAST_METRICS_AUTH: 'none', HOLDFAST_PROCESSES: processes,
    },
  })
  server = started
  return (path, more = {}) => signedRequest({ server: started, path, ...more })
}

const attribute = (span: SentSpan | undefined, name: string): string | undefined => {
  const value = span?.attributes?.find(({ key }) => key === name)?.value
  return value?.stringValue ?? value?.intValue
}

test.each(['1', '2'])('each traced request is a span with its steps below it, with %s processes', async (processes) => {
  const ask = await start('1', processes)
  await ask('/traced', { method: 'PUT' })
  const put = await ask('/traced/key', { method: 'PUT', body: 'body' })
  await ask('/traced/big', { method: 'PUT', body: Buffer.alloc(400_000) })
  const got = await ask('/traced/key')
  const missing = await ask('/traced/nothing')
  expect([put.status, got.status, missing.status]).toEqual([200, 200, 404])
  const [, traceId, spanId] = (put.headers['traceparent'] ?? '').split('-')
  await expect.poll(() => spans.filter(({ name }) => name === 'GetObject'), { timeout: 15_000 }).toHaveLength(2)

  const of = spans.find((span) => span.spanId === spanId)
  expect(of).toMatchObject({ traceId, name: 'PutObject' })
  expect(of?.parentSpanId).toBeUndefined()
  expect([attribute(of, 'http.response.status_code'), attribute(of, 'aws.s3.bucket'), attribute(of, 'aws.request_id')]).toEqual(['200', 'traced', put.headers['x-amz-request-id']])
  const steps = spans.filter(({ parentSpanId }) => parentSpanId === spanId)
  expect(steps.map(({ name }) => name)).toEqual(expect.arrayContaining(['authenticate', 'authorise', 'read body', 'hash and write', 'commit', 'answer']))
  for (const { startTimeUnixNano, endTimeUnixNano, traceId: own } of steps) {
    expect(own).toBe(traceId)
    expect(BigInt(startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(of?.startTimeUnixNano ?? 0))
    expect(BigInt(endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(startTimeUnixNano))
    expect(BigInt(endTimeUnixNano)).toBeLessThanOrEqual(BigInt(of?.endTimeUnixNano ?? 0))
  }
  expect(new Set(services)).toEqual(new Set(['/otel/v1/traces traced']))
  const refused = spans.find((span) => span.spanId === missing.headers['traceparent']?.split('-')[2])
  expect([attribute(refused, 'error.type'), refused?.status.code]).toEqual(['NoSuchKey', undefined])
  expect(JSON.stringify(spans)).not.toContain(server?.secretAccessKey)
})

test('the caller’s traceparent decides, and is the parent', async () => {
  const ask = await start('0')
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const traced = await ask('/', { unsignedHeaders: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } })
  expect(traced.headers['traceparent']).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`))
  for (const header of [`00-${trace}-00f067aa0ba902b7-00`, 'nonsense', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
    expect((await ask('/', { unsignedHeaders: { traceparent: header } })).headers['traceparent']).toBeUndefined()
  }
  await expect.poll(() => spans.find(({ name }) => name === 'ListBuckets'), { timeout: 15_000 }).toMatchObject({ traceId: trace, parentSpanId: '00f067aa0ba902b7' })
})

test('a collector that is away costs no request, and is told in the metrics', async () => {
  const ask = await start('1')
  collector.closeAllConnections()
  await new Promise((resolve) => collector.close(resolve))
  for (let count = 0; count < 20; count++) expect((await ask('/')).status).toBe(200)
  await expect.poll(async () => (await fetch(`${server?.controlUrl}/metrics`)).text(), { timeout: 20_000 }).toMatch(/holdfast_spans_total\{result="failed"\} [1-9]/)
  expect(server?.output()).toContain('Traces could not be sent')
})
