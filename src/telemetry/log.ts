import { isSecretField, redacted, redactedText } from './redact.ts'

/** Fields of a message. Secrets, signatures and bodies never go in here; `redact.ts` catches what does by mistake. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

/** The log of a process, whose level an operator may change while it runs. */
export interface OwnLog extends Log {
  level: LogLevel
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export const logLevels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']
export type LogFormat = 'json' | 'pretty'

/**
 * A logger that writes one line for each message: text for people on a terminal, JSON elsewhere, because there a program reads it.
 * An Error in the fields is written with its stack and causes. Not by pino: its line costs 3.7 us and 6 with redaction, this one 3, and
 * the one line that is written often, that of an access, 0.3 (`access-log.ts`).
 */
export function createLog(initial: LogLevel, write: (line: string) => void, format: LogFormat, colour = false): OwnLog {
  let least = logLevels.indexOf(initial)
  const at = (name: LogLevel) => {
    const rank = logLevels.indexOf(name)
    return (message: string, fields: LogFields = {}): void => {
      if (rank < least) return
      const time = new Date().toISOString()
      const own = plain(fields, 0)
      write(redacted(format === 'json' ? `${JSON.stringify({ time, level: name, message, ...own })}\n` : pretty(time, name, message, own, colour)))
    }
  }
  return {
    debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'),
    get level() {
      return logLevels[least] ?? 'info'
    },
    set level(level) {
      least = logLevels.indexOf(level)
    },
  }
}

/** `auto`: for people where they look at it, for programs elsewhere. */
export function formatOf(format: 'auto' | LogFormat): LogFormat {
  return format === 'auto' ? (process.stderr.isTTY ? 'pretty' : 'json') : format
}

/** The server's own: to standard error, so that standard output stays the banner's. */
export function standardLog({ logLevel, logFormat }: { readonly logLevel: LogLevel; readonly logFormat: 'auto' | LogFormat }): OwnLog {
  return createLog(logLevel, (line) => process.stderr.write(line), formatOf(logFormat), process.stderr.isTTY)
}

const colours: Readonly<Record<LogLevel, number>> = { debug: 90, info: 32, warn: 33, error: 31 }

export function pretty(time: string, level: LogLevel, message: string, fields: LogFields, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text)
  const details = Object.entries(fields).filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${paint(90, `${name}=`)}${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return `${paint(90, time.slice(11, 23))} ${paint(colours[level], level.padEnd(5))} ${message}${details.join('')}\n`
}

const depthMax = 4

/** Errors as their stacks, secrets as what stands for them. */
function plain(fields: LogFields, depth: number): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, isSecretField(name) ? redactedText : shown(value, depth)]))
}

function shown(value: unknown, depth: number): unknown {
  if (value instanceof Error) return describe(value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= depthMax) return '...'
  if (Array.isArray(value)) return value.map((each) => shown(each, depth + 1))
  return Object.getPrototypeOf(value) === Object.prototype ? plain(value as LogFields, depth + 1) : value
}

function describe(error: Error): string {
  const own = error.stack ?? `${error.name}: ${error.message}`
  return error.cause instanceof Error ? `${own}\ncaused by ${describe(error.cause)}` : own
}
