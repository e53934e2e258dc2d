/** Who may run now, and who waits: so many at once in all, so many of each, and those who wait take turns by whose they are. */
export interface Turns {
  /**
   * Null when it may run at once, a promise of its turn, or why it may not wait. `done` must be called once it has run; the
   * promise is false when its turn did not come in time, and then there is nothing to be done with.
   */
  begin(owner: string): null | Promise<boolean> | 'full'
  done(owner: string): void
  waiting(): number
}

export interface TurnsOptions {
  /** In all; null: no limit. */
  readonly concurrent: number | null
  /** Of one owner; null: no limit. */
  readonly concurrentOf: (owner: string) => number | null
  /** Of one owner. */
  readonly queueMax: number
  readonly waitMsMax: number
}

interface Waiter {
  readonly give: (turn: boolean) => void
  readonly until: number
}

interface Owner {
  running: number
  readonly waiters: Waiter[]
}

export function createTurns({ concurrent, concurrentOf, queueMax, waitMsMax }: TurnsOptions): Turns {
  /** Those that run or wait. A map keeps its order, so that the first one is the one whose turn was longest ago. */
  const owners = new Map<string, Owner>()
  let running = 0
  let waiting = 0
  let timer: NodeJS.Timeout | null = null

  const hasRoom = (name: string, owner: Owner): boolean => owner.running < (concurrentOf(name) ?? Infinity)

  function next(): void {
    while (waiting > 0 && running < (concurrent ?? Infinity)) {
      let found: Owner | null = null
      for (const [name, owner] of owners) {
        if (owner.waiters.length === 0 || !hasRoom(name, owner)) continue
        found = owner
        owners.delete(name)
        owners.set(name, owner)
        break
      }
      if (found === null) return
      start(found)
      waiting -= 1
      found.waiters.shift()?.give(true)
    }
  }

  function start(owner: Owner): void {
    owner.running += 1
    running += 1
  }

  function expire(): void {
    const now = performance.now()
    for (const { waiters } of owners.values()) {
      while ((waiters[0]?.until ?? Infinity) <= now) {
        waiting -= 1
        waiters.shift()?.give(false)
      }
    }
    if (waiting > 0 || timer === null) return
    clearInterval(timer)
    timer = null
  }

  return {
    begin(name) {
      const owner = owners.get(name) ?? { running: 0, waiters: [] }
      owners.set(name, owner)
      if (owner.waiters.length === 0 && running < (concurrent ?? Infinity) && hasRoom(name, owner)) {
        start(owner)
        return null
      }
      if (owner.waiters.length >= queueMax) return 'full'
      waiting += 1
      timer ??= setInterval(expire, Math.min(250, waitMsMax)).unref()
      return new Promise((give) => owner.waiters.push({ give, until: performance.now() + waitMsMax }))
    },
    done(name) {
      const owner = owners.get(name)
      if (owner === undefined) return
      owner.running -= 1
      running -= 1
      if (owner.running === 0 && owner.waiters.length === 0) owners.delete(name)
      next()
    },
    waiting: () => waiting,
  }
}
