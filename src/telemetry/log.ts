/** Fields of a message. Secrets, signatures and bodies never go in here. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** True when debug messages are written: asked before costly fields are put together. */
  readonly debugging: boolean
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/**
 * A logger that writes one line for each message: text on a terminal, JSON elsewhere, because there a program reads it.
 * An Error in the fields is written with its stack and causes.
 */
export function createLog(level: LogLevel, write: (line: string) => void, format: 'text' | 'json'): Log {
  const least = levels.indexOf(level)
  const at = (name: LogLevel) => (message: string, fields: LogFields = {}): void => {
    if (levels.indexOf(name) < least) return
    const time = new Date().toISOString()
    write(format === 'json' ? `${JSON.stringify({ time, level: name, message, ...plain(fields) })}\n` : text(time, name, message, fields))
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), debugging: least === 0 }
}

/** The server's own: to standard error, so that standard output stays the banner's. */
export function standardLog(level: LogLevel): Log {
  return createLog(level, (line) => process.stderr.write(line), process.stderr.isTTY ? 'text' : 'json')
}

function text(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const details = Object.entries(plain(fields)).map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return `${time.slice(11, 23)} ${level.padEnd(5)} ${message}${details.join('')}\n`
}

function plain(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value instanceof Error ? describe(value) : value]))
}

function describe(error: Error): string {
  const own = error.stack ?? `${error.name}: ${error.message}`
  return error.cause instanceof Error ? `${own}\ncaused by ${describe(error.cause)}` : own
}
