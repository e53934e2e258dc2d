/** A stop was asked for while the server was still starting. */
export class Stopped extends Error {}

export interface Lifecycle {
  /** Waits for something that must be closed again, and remembers how. Closing runs in the reverse order. */
  open<T>(opening: Promise<T> | T, close: (opened: T) => void | Promise<void>): Promise<T>
  /** Closes everything that is open, last opened first; what fails to close is reported and the rest goes on. Idempotent. */
  close(): Promise<void>
  readonly stopping: boolean
}

/** What was opened in order is closed in reverse order: also after a start that failed half-way or was interrupted. */
export function createLifecycle(onCloseError: (error: unknown) => void): Lifecycle {
  const closers: (() => void | Promise<void>)[] = []
  const pending = new Set<Promise<unknown>>()
  let closing: Promise<void> | null = null

  async function closeAll(): Promise<void> {
    // What is still being opened cannot be closed yet: a database process that starts just now would outlive us.
    await Promise.allSettled(pending)
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) {
      try {
        await close()
      } catch (error) {
        onCloseError(error)
      }
    }
  }

  async function remember<T>(opening: Promise<T> | T, close: (opened: T) => void | Promise<void>): Promise<T> {
    const opened = await opening
    closers.push(() => close(opened))
    if (closing !== null) throw new Stopped()
    return opened
  }

  return {
    open(opening, close) {
      const remembered = remember(opening, close)
      pending.add(remembered)
      const forget = (): void => void pending.delete(remembered)
      remembered.then(forget, forget)
      return remembered
    },
    close: () => closing ??= closeAll(),
    get stopping() {
      return closing !== null
    },
  }
}

/** Ctrl-C in a terminal reaches npm and the server at once, and npm passes it on: what comes so close together is one wish. */
const sameWishMs = 1000

/** Calls `stop` at the first signal to end and `force` at a further one. */
export function onSignals(stop: (signal: string) => void, force: () => void): void {
  let first: number | null = null
  const receive = (signal: string): void => {
    const now = performance.now()
    if (first === null) {
      first = now
      stop(signal)
    } else if (now - first > sameWishMs) force()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, receive)
}

/** Waits for all, then gives all results or throws the first error: nothing of them is still running behind the caller's back. */
export async function together<T extends readonly unknown[]>(...promises: { [K in keyof T]: Promise<T[K]> | T[K] }): Promise<T> {
  const results = await Promise.allSettled(promises)
  for (const result of results) {
    if (result.status === 'rejected') throw result.reason
  }
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T
}
