import { yaml } from '../domain/yaml.ts'

/** What an operator allows, as `HOLDFAST_LIMITS_FILE` says it. Nothing in it is ignored: what is not understood is refused. */
export interface LimitsDocument {
  readonly server: ServerLimits
  readonly limits: readonly Limit[]
}

export const limitedBy = ['address', 'accessKey', 'account', 'bucket'] as const
export type LimitedBy = (typeof limitedBy)[number]

export interface Limit {
  readonly by: LimitedBy
  /** An address, a key, an account's id, a bucket; null: each one that has no limit of its own. */
  readonly name: string | null
  readonly requestsPerSecond: number | null
  /** Of bodies in both directions. */
  readonly bytesPerSecond: number | null
  /** What was not used for so long may be used at once. */
  readonly burstSeconds: number
  /** Requests at once; of accounts only. */
  readonly concurrent: number | null
}

/** Each null: no limit. */
export interface ServerLimits {
  /** Requests at once; accounts take turns for what becomes free. */
  readonly concurrent: number | null
  /** Requests of one account that may wait for their turn, and how long. */
  readonly queue: number
  readonly queueSeconds: number
  /** Nothing new is begun while the event loop comes this late, or the process has more memory. */
  readonly eventLoopDelayMs: number | null
  readonly memoryBytes: number | null
}

export const noLimits: LimitsDocument = { server: { concurrent: null, queue: 1000, queueSeconds: 10, eventLoopDelayMs: null, memoryBytes: null }, limits: [] }

/** @throws an Error with everything that is wrong, one line each. */
export function parseLimits(text: string): LimitsDocument {
  return readLimits(yaml().parse(text))
}

/** The same of a document that was parsed already. */
export function readLimits(document: unknown): LimitsDocument {
  const problems: string[] = []
  const top = fields(document ?? {}, 'the document', ['server', 'limits'], problems)
  const server = fields(top['server'] ?? {}, 'server', ['concurrent', 'queue', 'queueSeconds', 'eventLoopDelayMs', 'memoryBytes'], problems)
  const number = (from: Readonly<Record<string, unknown>>, at: string, name: string, min: number): number | null => {
    const value = from[name] ?? null
    if (value === null || (typeof value === 'number' && Number.isFinite(value) && value >= min)) return value
    problems.push(`${at}.${name}: ${JSON.stringify(value)} is not allowed; allowed: a number from ${min} on`)
    return null
  }
  const listed = top['limits'] ?? []
  if (!Array.isArray(listed)) problems.push('limits: must be a list')
  const limits = (Array.isArray(listed) ? listed : []).map((item: unknown, index): Limit => {
    const at = `limits[${index}]`
    const given = fields(item, at, ['by', 'name', 'requestsPerSecond', 'bytesPerSecond', 'burstSeconds', 'concurrent'], problems)
    const by = limitedBy.find((known) => known === given['by']) ?? 'account'
    if (given['by'] !== by) problems.push(`${at}.by: ${JSON.stringify(given['by'] ?? null)} is not allowed; allowed: ${limitedBy.join(', ')}`)
    const name = given['name'] ?? null
    if (name !== null && (typeof name !== 'string' || name === '')) problems.push(`${at}.name: must be a text, in quotes; without it each one is meant`)
    const limit = {
      by, name: typeof name === 'string' ? name : null,
      requestsPerSecond: number(given, at, 'requestsPerSecond', 0.001), bytesPerSecond: number(given, at, 'bytesPerSecond', 1),
      burstSeconds: number(given, at, 'burstSeconds', 0.1) ?? 1, concurrent: number(given, at, 'concurrent', 1),
    }
    if (limit.concurrent !== null && by !== 'account') problems.push(`${at}.concurrent: is of accounts only`)
    if (limit.requestsPerSecond === null && limit.bytesPerSecond === null && limit.concurrent === null) problems.push(`${at}: limits nothing`)
    return limit
  })
  const names = limits.map(({ by, name }) => `${by} ${name ?? '(each)'}`)
  for (const [index, name] of names.entries()) if (names.indexOf(name) !== index) problems.push(`limits[${index}]: ${name} has a limit already`)
  const read: LimitsDocument = {
    server: {
      concurrent: number(server, 'server', 'concurrent', 1), queue: number(server, 'server', 'queue', 0) ?? noLimits.server.queue,
      queueSeconds: number(server, 'server', 'queueSeconds', 0.1) ?? noLimits.server.queueSeconds,
      eventLoopDelayMs: number(server, 'server', 'eventLoopDelayMs', 10), memoryBytes: number(server, 'server', 'memoryBytes', 64 * 1024 ** 2),
    },
    limits,
  }
  if (problems.length > 0) throw new Error(`The limits cannot be applied:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
  return read
}

function fields(value: unknown, at: string, allowed: readonly string[], problems: string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.push(`${at}: must be a mapping of ${allowed.join(', ')}`)
    return {}
  }
  for (const name of Object.keys(value)) if (!allowed.includes(name)) problems.push(`${at}.${name}: there is no such field; allowed: ${allowed.join(', ')}`)
  return value as Record<string, unknown>
}
