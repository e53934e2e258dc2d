import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAnswerReader } from '../answers.ts'
import { quantile } from '../statistics.ts'
import type { Wire } from './generator.ts'

export interface Times {
  readonly count: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export interface FloodResult {
  readonly seconds: number
  readonly good: Times
  /** 503: SlowDown. */
  readonly slowDown: Times
  /** Answers of any other kind. */
  readonly refused: number
  /** Connections that failed while a request was on the way, or could not be opened. */
  readonly broken: number
}

export interface Target {
  readonly host: string
  readonly port: number
  readonly connections: number
}

/** A request that wants to know how it went. */
export interface Asked extends Wire {
  answered?(status: number): void
}

export interface Flood extends Target {
  readonly seconds: number
  /** The next request of a connection. */
  next(connection: number): Asked
}

export interface Burst extends Target {
  readonly wires: readonly Wire[]
}

/** One after the other, whichever connection asks, from the beginning again after the last. */
export function inTurn(wires: readonly Wire[]): () => Wire {
  let at = 0
  return () => wires[at++ % wires.length] as Wire
}

/** What a client waits after SlowDown: SDKs begin with about this. */
const backOffMs = 100
/** Fewer at a time than a listener's backlog, so that none is dropped and tried again a second later. */
const openingMax = 256
const readBuffer = Buffer.allocUnsafeSlow(1024 ** 2)

interface Client {
  /** Sends one request and resolves with its status; 0: the connection broke. */
  send(wire: Wire): Promise<number>
  readonly connected: Promise<boolean>
  destroy(): void
}

/** One connection with keep-alive, opened again when the server closes it. */
function openClient(host: string, port: number): Client {
  let socket: Socket
  let answer: ((status: number) => void) | null = null
  let isHead = false
  let usable = false
  const settle = (status: number): void => {
    const resolve = answer
    answer = null
    resolve?.(status)
  }
  const open = (): Promise<boolean> => new Promise((resolve) => {
    const reader = createAnswerReader()
    const opened = connect({
      host, port, noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (length, buffer) => {
          const found = reader(Buffer.from(buffer.buffer, buffer.byteOffset, length), isHead)
          if (found === null) return true
          if (found.close) {
            usable = false
            opened.destroy()
          }
          settle(found.status)
          return true
        },
      },
    })
    socket = opened
    opened.on('connect', () => {
      usable = true
      resolve(true)
    })
    opened.on('error', () => opened.destroy())
    opened.on('close', () => {
      resolve(false)
      if (socket !== opened) return
      usable = false
      settle(0)
    })
  })
  const connected = open()
  return {
    connected,
    destroy: () => socket.destroy(),
    async send(wire) {
      if (!usable && !(await open())) return 0
      return new Promise((resolve) => {
        answer = resolve
        isHead = wire.isHead
        socket.write(wire.head)
        if (wire.body !== null) socket.write(wire.body)
      })
    },
  }
}

async function openAll({ host, port, connections }: Target): Promise<{ clients: Client[]; unopened: number }> {
  const clients: Client[] = []
  let unopened = 0
  while (clients.length < connections) {
    const some = Array.from({ length: Math.min(openingMax, connections - clients.length) }, () => openClient(host, port))
    for (const connected of await Promise.all(some.map((client) => client.connected))) if (!connected) unopened++
    clients.push(...some)
  }
  return { clients, unopened }
}

function createCount(broken: number) {
  const [goodMs, slowMs]: [number[], number[]] = [[], []]
  const count = { refused: 0, broken }
  return {
    add(status: number, ms: number): void {
      if (status >= 200 && status <= 299) goodMs.push(ms)
      else if (status === 503) slowMs.push(ms)
      else if (status === 0) count.broken++
      else count.refused++
    },
    result: (seconds: number): FloodResult => ({ seconds, good: timesOf(goodMs), slowDown: timesOf(slowMs), ...count }),
  }
}

export function timesOf(ms: readonly number[]): Times {
  const sorted = Float64Array.from(ms).sort()
  return {
    count: sorted.length, meanMs: sorted.length === 0 ? 0 : sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), maxMs: quantile(sorted, 1),
  }
}

/** Each connection sends its next request after the answer, until the time is up; what is on the way then is cut off. */
export async function runFlood(flood: Flood): Promise<FloodResult> {
  const { clients, unopened } = await openAll(flood)
  const count = createCount(unopened)
  let over = false
  const startedAt = performance.now()
  const work = async (client: Client, connection: number): Promise<void> => {
    while (!over) {
      const wire = flood.next(connection)
      const sentAt = performance.now()
      const status = await client.send(wire)
      if (over) return
      count.add(status, performance.now() - sentAt)
      wire.answered?.(status)
      if (status === 503 || status === 0) await sleep(backOffMs)
    }
  }
  const all = Promise.all(clients.map(work))
  await sleep(flood.seconds * 1000)
  over = true
  const seconds = (performance.now() - startedAt) / 1000
  for (const client of clients) client.destroy()
  await all
  return count.result(seconds)
}

/** All connections are open and idle; then each sends one request, all in the same turn of the loop. */
export async function runBurst(burst: Burst): Promise<FloodResult> {
  const { clients, unopened } = await openAll(burst)
  const count = createCount(unopened)
  await sleep(500)
  const startedAt = performance.now()
  await Promise.all(clients.map(async (client, index) => {
    count.add(await client.send(burst.wires[index % burst.wires.length] as Wire), performance.now() - startedAt)
  }))
  const seconds = (performance.now() - startedAt) / 1000
  for (const client of clients) client.destroy()
  return count.result(seconds)
}
