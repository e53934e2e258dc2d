import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../telemetry/log.ts'

/** A child process as its starter describes it. */
export interface Supervised<Connection> {
  readonly connection: Connection
  readonly exited: Promise<{ readonly expected: boolean; readonly code: number | null; readonly signal: string | null }>
  stop(): Promise<void>
}

const restartMsMin = 250
const restartMsMax = 10_000

/**
 * Starts the embedded database and starts it again whenever it ends by itself: out of memory, killed, crashed. Requests are
 * answered with 503 meanwhile and go on by themselves, because the store's connections heal.
 *
 * @param allowed throws when it must not be started again: then, and when it came back under another address, which running
 *   connections cannot follow, `lost` is called.
 */
export async function supervise<Connection>(
  start: () => Promise<Supervised<Connection>>, allowed: () => void, log: Log, lost: (error: unknown) => void,
): Promise<{ connection: Connection; stop(): Promise<void> }> {
  let current = await start()
  const { connection } = current
  const stopping = new AbortController()

  async function restart(): Promise<boolean> {
    for (let waitMs = restartMsMin; !stopping.signal.aborted; waitMs = Math.min(waitMs * 2, restartMsMax)) {
      allowed()
      try {
        current = await start()
        break
      } catch (error) {
        log.error('PostgreSQL did not start again; trying once more', { error })
        await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
    if (JSON.stringify(current.connection) !== JSON.stringify(connection)) throw new Error('PostgreSQL came back under another address.')
    return true
  }

  async function watch(): Promise<void> {
    for (;;) {
      const { expected, code, signal } = await current.exited
      if (expected || stopping.signal.aborted) return
      log.error('PostgreSQL ended by itself; starting it again', { code, signal })
      await current.stop()
      running = restart().catch((error: unknown) => {
        lost(error)
        return false
      })
      if (!(await running)) return
    }
  }

  let running: Promise<boolean> = Promise.resolve(true)
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
