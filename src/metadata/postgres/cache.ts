import { LRUCache } from 'lru-cache'

/**
 * Settings and credentials for a moment: a lost broadcast is healed by the short life. What is not there is never remembered,
 * so that a bucket or key made in another process is seen at once.
 */
export interface BriefCache<Value extends object> {
  get(key: string, load: () => Promise<Value | null>): Promise<Value | null>
  drop(key: string): void
  clear(): void
}

const lifeMs = 1000
const entriesMax = 10_000

export function briefCache<Value extends object>(): BriefCache<Value> {
  const entries = new LRUCache<string, Promise<Value | null>>({ max: entriesMax, ttl: lifeMs, ttlResolution: 50 })
  return {
    get: (key, load) => {
      const known = entries.get(key)
      if (known !== undefined) return known
      // The promise is kept, so that many who ask at once cause one query; and dropping it in between drops what it will bring.
      const loading = load()
      entries.set(key, loading)
      const forget = () => {
        if (entries.peek(key) === loading) entries.delete(key)
      }
      loading.then((value) => { if (value === null) forget() }, forget)
      return loading
    },
    drop: (key) => { entries.delete(key) },
    clear: () => entries.clear(),
  }
}
