import { LRUCache } from 'lru-cache'
import type pg from 'pg'
import type { CacheMeter } from '../../telemetry/metrics.ts'
import type { Line } from './connect.ts'

/**
 * Buckets and credentials for a moment: no longer, so that what somebody changes in the database by hand is seen too. What is not
 * there is never remembered.
 */
export interface BriefCache<Value extends object> {
  get(key: string, load: () => Promise<Value | null>): Promise<Value | null>
  clear(): void
}

const lifeMs = 1000
const entriesMax = 10_000

export function briefCache<Value extends object>(meter: CacheMeter = { hits: 0, misses: 0 }): BriefCache<Value> {
  const entries = new LRUCache<string, Promise<Value | null>>({ max: entriesMax, ttl: lifeMs, ttlResolution: 50 })
  // Most who ask want what was asked for before: that is told faster than any map tells it.
  let last: { readonly key: string; readonly value: Promise<Value | null>; readonly until: number } | null = null
  return {
    get: (key, load) => {
      if (last !== null && last.key === key && performance.now() < last.until) {
        meter.hits += 1
        return last.value
      }
      const known = entries.get(key)
      if (known !== undefined) {
        meter.hits += 1
        last = { key, value: known, until: performance.now() + entries.getRemainingTTL(key) }
        return known
      }
      meter.misses += 1
      // The promise is kept, so that many who ask at once cause one query; and clearing in between forgets what it will bring.
      const loading = load()
      entries.set(key, loading)
      const forget = () => {
        if (entries.peek(key) === loading) entries.delete(key)
        if (last?.value === loading) last = null
      }
      loading.then((value) => { if (value === null) forget() }, forget)
      return loading
    },
    clear() {
      entries.clear()
      last = null
    },
  }
}

/** The last statement of a transaction that changes what is remembered: the row is locked until its COMMIT, and everybody changes it. */
export async function countChange(client: pg.PoolClient): Promise<void> {
  await client.query('UPDATE settings_version SET version = version + 1')
}

/**
 * The proof that what is remembered is current, wherever it is changed: one row counts the changes, each in the transaction that
 * makes it. Who has read the row after a change was answered sees it counted; and as `forget` was called then, whatever is
 * remembered from then on was read from the database after that change. Those who ask in one turn of the event loop share one look.
 * Resolves to whether anything was forgotten since the call, for this look or another: what was remembered meanwhile may have been old.
 */
export function catchingUp(line: Line, forget: () => void): () => Promise<boolean> {
  let known: string | null = null
  let forgotten = 0
  let next: Promise<void> | null = null

  async function look(): Promise<void> {
    const [row] = await line.query({ name: 'settings_version', text: 'SELECT version FROM settings_version', values: [] })
    const version = row?.[0] ?? null
    if (version !== null && version === known) return
    known = version
    forgotten += 1
    forget()
  }
  return () => {
    const before = forgotten
    next ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        next = null
        look().then(resolve, reject)
      })
    })
    return next.then(() => forgotten !== before)
  }
}
