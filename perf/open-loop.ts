import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAnswerReader, type AnswerReader } from './answers.ts'
import { quantile } from './statistics.ts'

export interface OpenLoop {
  readonly host: string
  readonly port: number
  readonly connections: number
  /** Requests that are due in a second, at even distances. */
  readonly perSecond: number
  readonly seconds: number
  /** The whole request with head and body. Asked once for each number, in order, when it is sent: build what costs time before. */
  request(index: number): Buffer
  /** How long answers are waited for after the last request was due (30). */
  readonly drainSeconds?: number
  /** Ends the run before its time: what is not due by then is not part of it. */
  readonly signal?: AbortSignal
}

export interface OpenLoopResult {
  /** Requests that were due. */
  readonly due: number
  /** Answers of any status. */
  readonly answered: number
  /** Answers that were not 2xx. */
  readonly refused: number
  /** Requests that got no answer, and connections that could not be opened. */
  readonly broken: number
  /** Idle connections that the server closed; each was opened again. */
  readonly reopened: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

const tickMs = 1
const drainSecondsDefault = 30
/** Connections that are opened at a time: fewer than a listener's backlog, so that none is dropped and tried again a second later. */
const openingMax = 128
/** All sockets read into this one: what they read is looked at before the next one reads. */
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024)
const head = 'H'.charCodeAt(0)

interface Connection {
  readonly socket: Socket
  readonly reader: AnswerReader
  /** The request on the way, -1 when there is none. */
  index: number
  isHead: boolean
  closed: boolean
}

/**
 * Sends requests at a fixed schedule, whatever the answers do, as clients do that do not know of each other. Time is counted from
 * when a request was due, not from when it was sent: one that had to wait because all connections were busy with slow answers has
 * waited (no coordinated omission). The clock ticks in milliseconds, so up to two of them are the generator's.
 */
export async function openLoop(options: OpenLoop): Promise<OpenLoopResult> {
  const total = Math.floor(options.perSecond * options.seconds)
  const run = createRun(options, total)
  for (let opened = 0; opened < options.connections; opened += openingMax) {
    await Promise.all(Array.from({ length: Math.min(openingMax, options.connections - opened) }, () => run.open()))
  }
  await run.go()
  return run.result()
}

function createRun({ host, port, perSecond, seconds, request, drainSeconds = drainSecondsDefault, signal }: OpenLoop, total: number) {
  const gapMs = 1000 / perSecond
  const latenciesMs = new Float64Array(total)
  const all = new Set<Connection>()
  // The one that has been idle longest is next: every connection takes part.
  let idle: Connection[] = []
  let idleAt = 0
  let [answered, refused, lost, unopened, reopened, measured] = [0, 0, 0, 0, 0, 0]
  let [due, sent] = [0, 0]
  let startedAt = Number.POSITIVE_INFINITY
  let ended = false
  let finish: () => void = () => undefined

  const dueAt = (index: number): number => startedAt + index * gapMs

  const nextIdle = (): Connection | undefined => {
    while (idleAt < idle.length) {
      const connection = idle[idleAt++]
      if (connection?.closed === false) return connection
    }
    return undefined
  }

  const makeIdle = (connection: Connection): void => {
    if (idleAt > 4096 && idleAt * 2 > idle.length) {
      idle = idle.slice(idleAt)
      idleAt = 0
    }
    idle.push(connection)
  }

  const dispatch = (): void => {
    if (ended) return
    due = Math.max(due, Math.min(total, Math.floor((performance.now() - startedAt) / gapMs) + 1))
    while (sent < due) {
      const connection = nextIdle()
      if (connection === undefined) return
      const bytes = request(sent)
      connection.index = sent++
      connection.isHead = bytes[0] === head
      connection.socket.write(bytes)
    }
  }

  const endWhenAllAreBack = (): void => {
    if (answered + lost >= total) finish()
  }

  const open = (): Promise<void> => new Promise((resolve) => {
    const socket = connect({
      host, port, noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (length, buffer) => {
          const answer = connection.reader(Buffer.from(buffer.buffer, buffer.byteOffset, length), connection.isHead)
          if (answer === null) return true
          latenciesMs[measured++] = performance.now() - dueAt(connection.index)
          connection.index = -1
          answered++
          if (answer.status < 200 || answer.status > 299) refused++
          if (answer.close) socket.destroy()
          else makeIdle(connection)
          dispatch()
          endWhenAllAreBack()
          return true
        },
      },
    })
    const connection: Connection = { socket, reader: createAnswerReader(), index: -1, isHead: false, closed: false }
    all.add(connection)
    let connected = false
    socket.on('connect', () => {
      connected = true
      makeIdle(connection)
      resolve()
      dispatch()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      connection.closed = true
      all.delete(connection)
      resolve()
      if (ended) return
      if (!connected) unopened++
      else if (connection.index >= 0) lost++
      else reopened++
      endWhenAllAreBack()
      // A server that refuses connections is asked again, but not in a circle without a pause.
      setTimeout(() => {
        if (!ended) void open()
      }, connected ? 0 : 100)
    })
  })

  /** Resolves when every request has its answer, or nothing more is to be expected. */
  const go = async (): Promise<void> => {
    const over = Promise.withResolvers<void>()
    finish = over.resolve
    startedAt = performance.now()
    const tick = setInterval(dispatch, tickMs)
    const stop = AbortSignal.any([AbortSignal.timeout((seconds + drainSeconds) * 1000), ...signal === undefined ? [] : [signal]])
    stop.addEventListener('abort', () => over.resolve(), { once: true })
    if (stop.aborted) over.resolve()
    await over.promise
    clearInterval(tick)
    ended = true
    // What is still on the way or was never sent has waited until now, and counts as that.
    const now = performance.now()
    const late = signal?.aborted === true ? [] : [...[...all].map((connection) => connection.index).filter((index) => index >= 0), ...Array.from({ length: due - sent }, (_, index) => sent + index)]
    for (const index of late) latenciesMs[measured++] = now - dueAt(index)
    lost += late.length
    for (const connection of all) connection.socket.destroy()
    // The sockets are closed in the next turns of the loop: who asks for files next should have them.
    await sleep(10)
  }

  const result = (): OpenLoopResult => {
    const sorted = latenciesMs.slice(0, measured).sort()
    const meanMs = measured === 0 ? 0 : sorted.reduce((sum, value) => sum + value, 0) / measured
    return {
      due, answered, refused, broken: lost + unopened, reopened, meanMs,
      p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), p999Ms: quantile(sorted, 0.999), maxMs: quantile(sorted, 1),
    }
  }
  return { open, go, result }
}
