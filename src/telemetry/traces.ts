import { randomBytes } from 'node:crypto'
import type { Log } from './log.ts'

/**
 * Traces by OpenTelemetry's protocol (OTLP over HTTP, JSON), written by hand: a span is an object with two times, and the packages
 * for it are twenty. Off unless an endpoint is named. It promises:
 * - A request that is not traced costs one draw; without an endpoint not even that.
 * - Exporting never holds up a request: what the collector does not take in time is dropped and counted.
 */
export interface Tracer {
  /** A span for a request when it is to be traced: as its `traceparent` says, else by the share. Null: it is not. */
  start(traceparent: string | undefined): Span | null
  readonly counts: ReadonlyMap<'exported' | 'dropped' | 'failed', number>
  /** Sends what is there, for a moment. */
  close(): Promise<void>
}

type Attributes = Readonly<Record<string, string | number | undefined>>

export interface Span {
  readonly traceId: string
  /** W3C Trace Context, for who comes next. */
  readonly traceparent: string
  /** Begins a step of the request; the returned function ends it. A step that is not ended ends with the request, as failed. */
  begin(name: string): () => void
  /** Ends the request's span and hands all of them over. */
  end(name: string, attributes: Attributes, failed: boolean): void
}

export interface TracerOptions {
  /** Base URL of the collector, without /v1/traces. */
  readonly endpoint: string
  /** 0 to 1, of requests that come without a decision of the caller. */
  readonly share: number
  readonly service: string
  readonly version: string
  readonly log: Log
}

interface Step {
  readonly name: string
  readonly spanId: string
  readonly start: number
  end: number
}

/** Unique within a trace is what they have to be: a draw for each would cost as much as the rest of the step. */
const spanPrefix = randomBytes(4).toString('hex')
let spansMade = 0

function nextSpanId(): string {
  spansMade = (spansMade + 1) % 2 ** 32
  return spanPrefix + spansMade.toString(16).padStart(8, '0')
}

const sendAt = 512
const sendEveryMs = 2000
const queueMax = 4096
const sendMsMax = 10_000
const closeMsMax = 2000
const complainEveryMs = 60_000

const traceparentForm = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/

export function createTracer({ endpoint, share, service, version, log }: TracerOptions): Tracer {
  const url = `${endpoint.replace(/\/$/, '')}/v1/traces`
  const counts = new Map<'exported' | 'dropped' | 'failed', number>([['exported', 0], ['dropped', 0], ['failed', 0]])
  let queue: object[] = []
  let sending: Promise<void> | null = null
  let timer: NodeJS.Timeout | null = null
  let complainedAt = -Infinity
  const count = (result: 'exported' | 'dropped' | 'failed', by: number): void => void counts.set(result, (counts.get(result) ?? 0) + by)
  const resource = { attributes: attributeList({ 'service.name': service, 'service.version': version, 'process.pid': process.pid }) }

  async function post(spans: readonly object[]): Promise<void> {
    const body = JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'holdfast', version }, spans }] }] })
    try {
      const answer = await fetch(url, { method: 'POST', body, headers: { 'Content-Type': 'application/json' }, redirect: 'error', signal: AbortSignal.timeout(sendMsMax) })
      await answer.body?.cancel()
      if (!answer.ok) throw new Error(`the collector answered ${answer.status}`)
      count('exported', spans.length)
    } catch (error) {
      count('failed', spans.length)
      if (performance.now() - complainedAt < complainEveryMs) return
      complainedAt = performance.now()
      log.warn('Traces could not be sent', { endpoint, error })
    }
  }

  function send(): Promise<void> {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (queue.length === 0) return sending ?? Promise.resolve()
    sending ??= (async () => {
      while (queue.length > 0) {
        const spans = queue
        queue = []
        await post(spans)
      }
      sending = null
    })()
    return sending
  }

  function add(spans: readonly object[]): void {
    if (queue.length + spans.length > queueMax) return count('dropped', spans.length)
    queue.push(...spans)
    if (queue.length >= sendAt) void send()
    else timer ??= setTimeout(() => void send(), sendEveryMs).unref()
  }

  return {
    counts,
    start(traceparent) {
      const parent = traceparent === undefined ? null : traceparentForm.exec(traceparent)
      const sampled = parent === null ? Math.random() < share : (Number.parseInt(parent[3] ?? '0', 16) & 1) === 1
      return sampled ? createSpan(parent?.[1] ?? randomBytes(16).toString('hex'), parent?.[2] ?? null, add) : null
    },
    async close() {
      if (timer !== null) clearTimeout(timer)
      await Promise.race([send(), new Promise((resolve) => setTimeout(resolve, closeMsMax).unref())])
    },
  }
}

function createSpan(traceId: string, parent: string | null, add: (spans: readonly object[]) => void): Span {
  const spanId = nextSpanId()
  const start = performance.now()
  const steps: Step[] = []
  return {
    traceId, traceparent: `00-${traceId}-${spanId}-01`,
    begin(name) {
      const step: Step = { name, spanId: nextSpanId(), start: performance.now(), end: 0 }
      steps.push(step)
      return () => {
        if (step.end === 0) step.end = performance.now()
      }
    },
    end(name, attributes, failed) {
      const now = performance.now()
      const own = {
        traceId, spanId, ...parent === null ? {} : { parentSpanId: parent }, name, kind: 2, startTimeUnixNano: nanoseconds(start), endTimeUnixNano: nanoseconds(now),
        attributes: attributeList(attributes), status: failed ? { code: 2 } : {},
      }
      add([own, ...steps.map((step) => ({
        traceId, spanId: step.spanId, parentSpanId: spanId, name: step.name, kind: 1, startTimeUnixNano: nanoseconds(step.start), endTimeUnixNano: nanoseconds(step.end === 0 ? now : step.end),
        status: step.end === 0 && failed ? { code: 2 } : {},
      }))])
    },
  }
}

/** Since the epoch, as the text that JSON of the protocol wants. */
const nanoseconds = (at: number): string => `${Math.round((performance.timeOrigin + at) * 1000)}000`

function attributeList(attributes: Attributes): object[] {
  return Object.entries(attributes).flatMap(([key, value]) => (
    value === undefined ? [] : [{ key, value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value } }]
  ))
}
