import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../telemetry/log.ts'

/** A child process as its starter describes it. */
export interface Supervised<Connection> {
  readonly connection: Connection
  readonly exited: Promise<{ readonly expected: boolean; readonly code: number | null; readonly signal: string | null }>
  stop(): Promise<void>
}

const restartMs = 500

/**
 * Starts the embedded database and starts it again whenever it ends by itself: out of memory, killed, crashed. Requests are
 * answered with 503 meanwhile and go on by themselves, because the store's connections heal.
 *
 * @param lost is called when it came back under another address, which running connections cannot follow.
 */
export async function supervise<Connection>(start: () => Promise<Supervised<Connection>>, log: Log, lost: () => void): Promise<{ connection: Connection; stop(): Promise<void> }> {
  let current = await start()
  const { connection } = current
  const stopping = new AbortController()

  async function restart(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        current = await start()
        break
      } catch (error) {
        log.error('PostgreSQL did not start again; trying once more', { error })
        await sleep(restartMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
    if (JSON.stringify(current.connection) !== JSON.stringify(connection)) lost()
  }

  async function watch(): Promise<void> {
    for (;;) {
      const { expected, code, signal } = await current.exited
      if (expected || stopping.signal.aborted) return
      log.error('PostgreSQL ended by itself; starting it again', { code, signal })
      await current.stop()
      running = restart()
      await running
    }
  }

  let running: Promise<void> = Promise.resolve()
  void watch()
  return {
    connection,
    async stop() {
      stopping.abort()
      await running
      await current.stop()
    },
  }
}
