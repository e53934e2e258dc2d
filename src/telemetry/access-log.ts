import { fstatSync, write, writeSync } from 'node:fs'
import { formatOf, pretty, type LogFormat } from './log.ts'

/** What an access line tells. Undefined: left out. */
export interface Access {
  readonly requestId: string
  readonly operation: string
  readonly method: string
  /** Percent-encoded as sent, without the query: signatures stand there. */
  readonly path: string
  /** 0: the client left before there was one. */
  readonly status: number
  readonly code: string | undefined
  readonly milliseconds: number
  /** Bodies as they were announced; of the answer's keep-alive texts nothing is known. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly accountId: string | undefined
  readonly user: string | undefined
  readonly accessKeyId: string | undefined
  readonly remoteAddress: string
  readonly userAgent: string | undefined
  /** Trace and span, when the request is traced. */
  readonly traceId: string | undefined
}

/** One line for each request, or for a share of them. A line costs some 0.3 us, so it is written by hand and gathered. */
export interface AccessLog {
  /** Whether the next request gets a line. */
  wants(): boolean
  add(access: Access): void
  /** Lines that nobody took in time. */
  readonly dropped: number
  /** Writes what is there. */
  close(): void
}

export interface AccessLogOptions {
  /** 0: none, 1: every request, between: evenly spread. */
  readonly share: number
  readonly format: LogFormat
  readonly colour: boolean
  /** Asynchronous, so that a reader who is slow holds up no request. Calls back once. */
  readonly write: (text: string, done: () => void) => void
  /** Synchronous, for the end. */
  readonly writeLast: (text: string) => void
  /** What is written at once at most: what several processes write into one pipe does not mix below its atomic size. */
  readonly chunkChars: number
}

const gatherMs = 100
/** A reader that is this far behind loses lines: the server does not wait for it and does not grow. */
const waitingCharsMax = 4 * 1024 ** 2

export function createAccessLog({ share, format, colour, write: put, writeLast, chunkChars }: AccessLogOptions): AccessLog {
  const full: string[] = []
  let waitingChars = 0
  let current = ''
  let due = 0
  let writing = false
  let timer: NodeJS.Timeout | null = null
  let dropped = 0
  let clock = 0
  let clockText = ''

  function pump(): void {
    if (writing) return
    const chunk = full.shift()
    if (chunk === undefined) return
    waitingChars -= chunk.length
    writing = true
    put(chunk, () => {
      writing = false
      pump()
    })
  }

  function close(): void {
    if (current !== '') full.push(current)
    waitingChars += current.length
    current = ''
  }

  function time(): string {
    const now = Date.now()
    if (now !== clock) {
      clock = now
      clockText = new Date(now).toISOString()
    }
    return clockText
  }

  return {
    wants() {
      due += share
      if (due < 1) return false
      due -= 1
      return true
    },
    add(access) {
      if (waitingChars > waitingCharsMax) {
        dropped += 1
        return
      }
      const line = format === 'json' ? jsonLine(time(), access) : prettyLine(time(), access, colour)
      if (current.length + line.length > chunkChars) {
        close()
        pump()
      }
      current += line
      timer ??= setTimeout(() => {
        timer = null
        close()
        pump()
      }, gatherMs).unref()
    },
    get dropped() {
      return dropped
    },
    close() {
      if (timer !== null) clearTimeout(timer)
      close()
      for (const chunk of full.splice(0)) writeLast(chunk)
    },
  }
}

const plainText = /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/
const quoted = (text: string): string => (plainText.test(text) ? `"${text}"` : JSON.stringify(text))

function jsonLine(time: string, access: Access): string {
  const { requestId, operation, method, path, status, code, milliseconds, bytesIn, bytesOut, accountId, user, accessKeyId, remoteAddress, userAgent, traceId } = access
  let line = `{"time":"${time}","level":"info","message":"request","requestId":"${requestId}","operation":"${operation}","method":${quoted(method)},"path":${quoted(path)},"status":${status}`
  if (code !== undefined) line += `,"code":"${code}"`
  line += `,"milliseconds":${milliseconds},"bytesIn":${bytesIn},"bytesOut":${bytesOut}`
  if (accountId !== undefined) line += `,"account":"${accountId}"`
  if (user !== undefined) line += `,"user":${quoted(user)}`
  if (accessKeyId !== undefined) line += `,"accessKeyId":${quoted(accessKeyId)}`
  line += `,"remoteAddress":"${remoteAddress}"`
  if (userAgent !== undefined) line += `,"userAgent":${quoted(userAgent)}`
  if (traceId !== undefined) line += `,"traceId":"${traceId}"`
  return `${line}}\n`
}

/** What comes from clients stays in quotes where it holds anything that a terminal would act on. */
function prettyLine(time: string, { method, path, status, milliseconds, operation, code, bytesIn, bytesOut, requestId, accessKeyId, remoteAddress }: Access, colour: boolean): string {
  const shown = (text: string): string => (plainText.test(text) ? text : JSON.stringify(text))
  return pretty(time, 'info', `${shown(method)} ${shown(path)} ${status === 0 ? 'gone' : status} ${milliseconds} ms`, { operation, code, bytesIn, bytesOut, accessKeyId, remoteAddress, requestId }, colour)
}

/** Beyond this, writes of several processes into one pipe may mix (PIPE_BUF). */
const pipeChars = 4000
const fileChars = 64 * 1024
const retryMs = 10

/** The server's own: to standard error, as the log. */
export function standardAccessLog({ accessLog, logFormat }: { readonly accessLog: number; readonly logFormat: 'auto' | LogFormat }): AccessLog {
  const { fd } = process.stderr
  const put = (text: string, done: () => void): void => {
    const bytes = Buffer.from(text)
    const rest = (from: number): void => write(fd, bytes, from, bytes.length - from, null, (error, count) => {
      if (error?.code === 'EAGAIN') setTimeout(() => rest(from), retryMs)
      // A reader of the log that went away is no reason to stop.
      else if (error !== null || from + count >= bytes.length) done()
      else rest(from + count)
    })
    rest(0)
  }
  const writeLast = (text: string): void => {
    try {
      writeSync(fd, text)
    } catch (error) {
      // Nobody reads any more: there is nowhere to say so.
      void error
    }
  }
  const isPipe = fstatSync(fd).isFIFO()
  return createAccessLog({ share: accessLog, format: formatOf(logFormat), colour: process.stderr.isTTY, write: put, writeLast, chunkChars: isPipe ? pipeChars : fileChars })
}
