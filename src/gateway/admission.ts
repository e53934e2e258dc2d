import { readFileSync } from 'node:fs'
import { LRUCache } from 'lru-cache'
import { S3Error } from '../domain/errors.ts'
import type { Log } from '../telemetry/log.ts'
import { limitsLookMs, limitedNamesMax, loadLookMs } from './limits.ts'
import { limitedBy, noLimits, parseLimits, readLimits, type Limit, type LimitedBy, type LimitsDocument } from './limits-document.ts'
import { createTurns, type Turns } from './turns.ts'
import { watchFiles } from './watched-files.ts'

export { limitedBy, readLimits, type LimitsDocument }

/** Whether a request is taken now: rates of addresses, keys, accounts and buckets, requests at once, and the state of this process. */
export interface Admission {
  /** Before anything is known of a request but where it comes from. Throws SlowDown. */
  arrive(address: string, bodyBytes: number): void
  /** Once it is known whose it is. Null: at once, and nothing is to be given back; else what is to be called with the bytes of the answer. Rejects with SlowDown. */
  begin(who: Who, bodyBytes: number): Promise<(answerBytes: number) => void> | null
  /** Whether `arrive` has to be called at all. */
  readonly active: boolean
  readonly document: LimitsDocument
  /** From now on. Counts of before are forgotten, what waits keeps its turn. */
  apply(document: LimitsDocument): void
  /** Of the file that the document comes from; null: there is none. */
  source(): LimitsSource | null
  /** Looks at the file now instead of within a second. */
  look(): void
  /** Refused requests by limit (`bucket_requests`, `account_queue` ...), from the start on. */
  readonly refused: Readonly<Record<string, number>>
  waiting(): number
  close(): void
}

export interface LimitsSource {
  readonly file: string
  /** When what is in force was read. */
  readonly readAt: number
  /** What the file says now and why it is not in force; null when it is. */
  readonly refusal: { readonly at: number; readonly reason: string } | null
}

export interface Who {
  readonly address: string
  readonly accessKey: string
  readonly account: string
  /** '' for none. */
  readonly bucket: string
}

export interface AdmissionOptions {
  /** A document that is read again when it changes; null: none. */
  readonly file: string | null
  /** Server processes that share what is allowed. */
  readonly processes: number
  readonly log: Pick<Log, 'info' | 'warn' | 'error'>
}

/** As the metric's label has them. */
const words: Readonly<Record<LimitedBy, string>> = { address: 'address', accessKey: 'access_key', account: 'account', bucket: 'bucket' }

/** Errors of limits: they are counted, and a line in the log for each would be what an attacker wants. */
const limited = new WeakSet<object>()
export const isLimited = (error: object): boolean => limited.has(error)

interface Tokens {
  requests: number
  bytes: number
  at: number
}

interface Rules {
  readonly named: ReadonlyMap<string, Limit>
  readonly each: Limit | null
}

/** @throws when the file cannot be read or applied. */
export function createAdmission({ file, processes, log }: AdmissionOptions): Admission {
  const refused: Record<string, number> = {}
  let said = -Infinity
  let document = noLimits
  let active = false
  let rules: Readonly<Record<LimitedBy, Rules>> = rulesOf(noLimits)
  let turns: Turns | null = null
  /** Null until one is limited: room for all of them is laid out at once. */
  let tokens: LRUCache<string, Tokens> | null = null
  let load: { readonly late: () => number; readonly close: () => void } | null = null

  function apply(next: LimitsDocument): void {
    document = next
    rules = rulesOf(next)
    const { concurrent, queue, queueSeconds, eventLoopDelayMs, memoryBytes } = next.server
    active = next.limits.length > 0 || concurrent !== null || eventLoopDelayMs !== null || memoryBytes !== null
    tokens = null
    const share = (all: number | null): number | null => (all === null ? null : Math.max(1, Math.ceil(all / processes)))
    const ofAccounts = next.limits.some((limit) => limit.concurrent !== null)
    turns = concurrent === null && !ofAccounts ? null : createTurns({
      concurrent: share(concurrent), concurrentOf: (account) => share(ruleOf(rules.account, account)?.concurrent ?? null), queueMax: Math.ceil(queue / processes), waitMsMax: queueSeconds * 1000,
    })
    load?.close()
    load = eventLoopDelayMs === null ? null : watchLoop()
  }

  function refuse(limit: string, retrySeconds: number): S3Error {
    refused[limit] = (refused[limit] ?? 0) + 1
    const now = performance.now()
    if (now > said + 10_000) {
      said = now
      log.warn('Requests are refused because of limits', { limit, refused: { ...refused } })
    }
    const error = new S3Error('SlowDown', undefined, { headers: { 'retry-after': String(Math.min(60, Math.max(1, Math.ceil(retrySeconds)))) } })
    limited.add(error)
    return error
  }

  /** Tokens of one name as of now. */
  function tokensOf(limit: Limit, name: string, now: number): Tokens {
    const key = `${limit.by} ${name}`
    const full = (rate: number | null): number => Math.max(1, (rate ?? 0) / processes * limit.burstSeconds)
    tokens ??= new LRUCache({ max: limitedNamesMax })
    const known = tokens.get(key)
    if (known === undefined) {
      const fresh = { requests: full(limit.requestsPerSecond), bytes: full(limit.bytesPerSecond), at: now }
      tokens.set(key, fresh)
      return fresh
    }
    const seconds = (now - known.at) / 1000
    known.at = now
    known.requests = Math.min(full(limit.requestsPerSecond), known.requests + seconds * (limit.requestsPerSecond ?? 0) / processes)
    known.bytes = Math.min(full(limit.bytesPerSecond), known.bytes + seconds * (limit.bytesPerSecond ?? 0) / processes)
    return known
  }

  /** Takes from all or from none. Bytes may be owed: how many an answer has is known when it is out. */
  function take(names: readonly (readonly [LimitedBy, string])[], bodyBytes: number): void {
    const now = performance.now()
    const found: { limit: Limit; of: Tokens }[] = []
    for (const [by, name] of names) {
      const limit = name === '' ? null : ruleOf(rules[by], name)
      if (limit === null) continue
      const of = tokensOf(limit, name, now)
      if (limit.requestsPerSecond !== null && of.requests < 1) throw refuse(`${words[by]}_requests`, (1 - of.requests) * processes / limit.requestsPerSecond)
      if (limit.bytesPerSecond !== null && of.bytes <= 0) throw refuse(`${words[by]}_bytes`, (1 - of.bytes) * processes / limit.bytesPerSecond)
      found.push({ limit, of })
    }
    for (const { of } of found) {
      of.requests -= 1
      of.bytes -= bodyBytes
    }
  }

  function owe(names: readonly (readonly [LimitedBy, string])[], bytes: number): void {
    const now = performance.now()
    for (const [by, name] of names) {
      const limit = name === '' ? null : ruleOf(rules[by], name)
      if (limit !== null && limit.bytesPerSecond !== null) tokensOf(limit, name, now).bytes -= bytes
    }
  }

  async function begin({ address, accessKey, account, bucket }: Who, bodyBytes: number): Promise<(answerBytes: number) => void> {
    const names = [['accessKey', accessKey], ['account', account], ['bucket', bucket]] as const
    take(names, bodyBytes)
    const mine = turns
    const turn = mine?.begin(account) ?? null
    if (turn === 'full') throw refuse('account_queue', 1)
    if (turn !== null && !(await turn)) throw refuse('account_wait', 1)
    return (answerBytes) => {
      mine?.done(account)
      owe([...names, ['address', address]], answerBytes)
    }
  }

  const watched = file === null ? null : watchFiles({
    paths: [file],
    everyMs: limitsLookMs,
    read: () => readFileSync(file, 'utf8'),
    apply: (text) => apply(parseLimits(text)),
    renewed: () => log.info('The limits were read anew', { file }),
    refused: (reason) => log.error('The new limits are refused, those that were there before stay', { file, reason }),
  })
  return {
    arrive(address, bodyBytes) {
      const { eventLoopDelayMs, memoryBytes } = document.server
      if (eventLoopDelayMs !== null && load !== null && load.late() > eventLoopDelayMs) throw refuse('event_loop', 1)
      if (memoryBytes !== null && residentBytes() > memoryBytes) throw refuse('memory', 2)
      take([['address', address]], bodyBytes)
    },
    begin: (who, bodyBytes) => (active ? begin(who, bodyBytes) : null),
    get active() {
      return active
    },
    get document() {
      return document
    },
    apply,
    source: () => (file === null || watched === null ? null : { file, readAt: watched.state.readAt, refusal: watched.state.refusal }),
    look: () => watched?.look(),
    refused,
    waiting: () => turns?.waiting() ?? 0,
    close() {
      watched?.close()
      load?.close()
    },
  }
}

function rulesOf({ limits }: LimitsDocument): Readonly<Record<LimitedBy, Rules>> {
  const of = (by: LimitedBy): Rules => {
    const mine = limits.filter((limit) => limit.by === by)
    return { named: new Map(mine.flatMap((limit) => (limit.name === null ? [] : [[limit.name, limit] as const]))), each: mine.find(({ name }) => name === null) ?? null }
  }
  return { address: of('address'), accessKey: of('accessKey'), account: of('account'), bucket: of('bucket') }
}

const ruleOf = ({ named, each }: Rules, name: string): Limit | null => named.get(name) ?? each

/** How late the event loop comes, as of the last few looks. */
function watchLoop(): { late(): number; close(): void } {
  let [last, late] = [performance.now(), 0]
  const timer = setInterval(() => {
    const now = performance.now()
    // A single long turn counts for some looks, less and less.
    late = Math.max(now - last - loadLookMs, late * 0.7)
    last = now
  }, loadLookMs).unref()
  // Between two looks the one that is due may be late itself.
  return { late: () => Math.max(late, performance.now() - last - loadLookMs), close: () => clearInterval(timer) }
}

let resident = { bytes: 0, at: -Infinity }

/** Asking the system costs as much as a request. */
function residentBytes(): number {
  const now = performance.now()
  if (now - resident.at > loadLookMs) resident = { bytes: process.memoryUsage.rss(), at: now }
  return resident.bytes
}
