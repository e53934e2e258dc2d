import { createHash } from 'node:crypto'

/** What a body is known by. */
export interface Content {
  readonly size: number
  /** Hex SHA-256. */
  readonly sha256: string
}

/** What a key may hold; null: nothing. */
export type State = Content | null

/** How a write ended. Of one that is never told either state is right. */
export interface Attempt {
  acknowledged(): void
  refused(): void
}

/**
 * The client's side of the promise. A write that was acknowledged must be there; one whose answer never came may have happened or
 * not; one that was refused must not be there. Each key has one writer at a time.
 */
export interface Ledger {
  /** A write of `state` to the key is on its way. */
  begin(key: string, state: State): Attempt
  /** What the key may hold, oldest first. */
  possible(key: string): readonly State[]
  allows(key: string, state: State): boolean
  /** The key was looked at while nobody wrote: from now on it holds this. */
  settle(key: string, state: State): void
  keys(): string[]
  /** How many writes were acknowledged. */
  readonly acknowledged: number
}

export function contentOf(body: Uint8Array): Content {
  return { size: body.length, sha256: createHash('sha256').update(body).digest('hex') }
}

export function same(a: State, b: State): boolean {
  return a === null || b === null ? a === b : a.sha256 === b.sha256
}

export function createLedger(): Ledger {
  // Each possibility is an object of its own, so that a refusal takes back its own one and no other.
  const entries = new Map<string, { readonly state: State }[]>()
  const of = (key: string): { readonly state: State }[] => entries.get(key) ?? [{ state: null }]
  let acknowledged = 0
  return {
    begin(key, state) {
      const entry = { state }
      entries.set(key, [...of(key), entry])
      return {
        acknowledged() {
          acknowledged += 1
          entries.set(key, [entry])
        },
        refused: () => void entries.set(key, of(key).filter((other) => other !== entry)),
      }
    },
    possible: (key) => of(key).map(({ state }) => state),
    allows: (key, state) => of(key).some((entry) => same(entry.state, state)),
    settle: (key, state) => void entries.set(key, [{ state }]),
    keys: () => [...entries.keys()].sort(),
    get acknowledged() {
      return acknowledged
    },
  }
}

/** Versions of one key in a bucket with versioning, as its clients know them. */
export interface VersionHistory {
  /** Acknowledged and not deleted since. */
  readonly kept: Map<string, Content>
  /** Writes whose answer never came: versions with these bytes may exist. */
  readonly maybe: Content[]
  /** Deletes of versions whose answer never came. */
  readonly maybeGone: Set<string>
  /** Versions whose deletion was acknowledged. */
  readonly gone: Set<string>
  /** Acknowledged delete markers. */
  readonly markers: Set<string>
}

export type VersionLedger = Map<string, VersionHistory>

export function historyOf(ledger: VersionLedger, key: string): VersionHistory {
  const known = ledger.get(key)
  if (known !== undefined) return known
  const fresh: VersionHistory = { kept: new Map(), maybe: [], maybeGone: new Set(), gone: new Set(), markers: new Set() }
  ledger.set(key, fresh)
  return fresh
}

/** A multipart upload that was begun and whose completion was not acknowledged. */
export interface OpenUpload {
  readonly key: string
  readonly uploadId: string
  /** Acknowledged parts by number. */
  readonly parts: Map<number, { readonly etag: string; readonly body: Buffer }>
  /** A CompleteMultipartUpload was sent. */
  completing: boolean
}
