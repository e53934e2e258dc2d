import { S3Error } from '../../domain/errors.ts'
import type { AnyVersion, ObjectVersion } from '../../domain/model.ts'
import type { CacheMeter } from '../../telemetry/metrics.ts'
import type { Committer } from './committer.ts'
import { KeyMap } from './key-map.ts'
import { createLatelyUsed } from './lately-used.ts'

/**
 * Current versions that were read, for a process that is alone with its database: what changes them goes through its own committer, which
 * is asked to pass by here (`watched`). From when a command is accepted until its outcome is known, its key is not remembered: neither what
 * was read before, nor what a look-up brings that began before it ended. So what is remembered is what the database would say now.
 */
export interface VersionCache {
  get(bucketId: number, key: string): ObjectVersion | undefined
  /** When a look-up begins: null when what it will find must not be remembered. */
  reading(bucketId: number, key: string): Reading | null
  /** The committer, whose commands are seen. */
  watched(committer: Committer): Committer
}

export interface Reading {
  /** `bytes`: how much of the row has no fixed length. */
  found(version: AnyVersion, bytes: number): void
  /** There is nothing, or nothing was found out. */
  ended(): void
}

/** As estimated by `entryBytes`. */
const bytesMax = 32 * 1024 * 1024
/** The objects and strings that every version consists of. */
const entryBytes = 900
/** Longer rows are few, and what they cost is not their look-up. */
const rowBytesMax = 4096
/** Nobody should change the rows of a running server by hand; who does it anyway is not ignored for ever. */
const lifeMs = 30_000
/** So many keys may be in doubt. When there are more, something is very wrong, and nothing is remembered any more. */
const doubtfulMax = 10_000

/** Committed: it ran and held the lock of its key. Refused: it never ran. */
type End = 'committed' | 'refused' | 'in doubt'

export function createVersionCache(meter: CacheMeter): VersionCache {
  // All by the hash of bucket and key: two keys with one hash are remembered less, each for the other's sake.
  const entries = createLatelyUsed<ObjectVersion>({ bytesMax, lifeMs })
  const readings = new Map<number, Reading>()
  /** How many commands are running. */
  const changes = new Map<number, number>()
  /** How many commands of a key have an outcome that was not found out: their transactions may still be on their way. */
  const doubts = new KeyMap<number>()
  let doubtful = 0
  let closed = false
  const doubtsOf = (bucketId: number, key: string): number => (doubtful === 0 ? 0 : doubts.get(bucketId, key) ?? 0)

  function close(): void {
    closed = true
    for (const each of [entries, readings, changes, doubts]) each.clear()
    doubtful = 0
  }

  /** From now on nothing is remembered of the key; returns how many doubts there were of it. */
  function begin(bucketId: number, key: string): number {
    if (closed) return 0
    const hash = hashOf(bucketId, key)
    entries.delete(hash)
    readings.delete(hash)
    changes.set(hash, (changes.get(hash) ?? 0) + 1)
    return doubtsOf(bucketId, key)
  }

  function finish(bucketId: number, key: string, before: number, end: End): void {
    if (closed) return
    const hash = hashOf(bucketId, key)
    const others = (changes.get(hash) ?? 1) - 1
    if (others > 0) changes.set(hash, others)
    else changes.delete(hash)
    if (end === 'in doubt') {
      const now = doubtsOf(bucketId, key)
      if (now === 0) doubtful += 1
      doubts.set(bucketId, key, now + 1)
      if (doubtful > doubtfulMax) close()
    } else if (end === 'committed' && before > 0 && doubtsOf(bucketId, key) === before) {
      // Whoever held the key's lock before it is through.
      doubts.delete(bucketId, key)
      doubtful -= 1
    }
  }

  /** Returns what is to be called with how it ended. */
  function changing(bucketId: number, key: string): (end: End) => void {
    const before = begin(bucketId, key)
    return (end) => finish(bucketId, key, before, end)
  }

  return {
    get(bucketId, key) {
      const known = entries.get(hashOf(bucketId, key))
      if (known !== undefined && known.key === key && known.bucketId === bucketId) {
        meter.hits += 1
        return known
      }
      meter.misses += 1
      return undefined
    },

    reading(bucketId, key) {
      const hash = hashOf(bucketId, key)
      if (closed || changes.has(hash) || readings.has(hash) || doubtsOf(bucketId, key) > 0) return null
      const ended = (): void => {
        if (readings.get(hash) === reading) readings.delete(hash)
      }
      const reading: Reading = {
        found(version, bytes) {
          const size = entryBytes + 2 * (bytes + key.length)
          if (!version.isDeleteMarker && bytes <= rowBytesMax && readings.get(hash) === reading && entries.wants(hash, size)) entries.set(hash, withOwnKey(version), size)
          ended()
        },
        ended,
      }
      readings.set(hash, reading)
      return reading
    },

    watched: (committer) => ({
      ...committer,
      commit: (command) => {
        if (command.kind === 'put-part' || command.kind === 'abort') return committer.commit(command)
        return endingWith(committer.commit(command), changing(command.bucketId, command.key))
      },
      async commitAll(commands) {
        const before = commands.map((command) => begin(command.bucketId, command.key))
        const results = await committer.commitAll(commands)
        for (const [index, { bucketId, key }] of commands.entries()) finish(bucketId, key, before[index] ?? 0, endOf(results[index]))
        return results
      },
      prepare: (put) => {
        const prepared = committer.prepare(put)
        if (prepared === null) return null
        let ended: ((end: End) => void) | null = changing(put.bucketId, put.key)
        const taken = (): ((end: End) => void) | null => {
          const mine = ended
          ended = null
          return mine
        }
        return {
          commit: (command) => endingWith(prepared.commit(command), taken() ?? changing(put.bucketId, put.key)),
          cancel: () => {
            prepared.cancel()
            taken()?.('refused')
          },
        }
      },
    }),
  }
}

/** The key is a piece of its request's URL, all of which would be remembered with it. */
const withOwnKey = (version: ObjectVersion): ObjectVersion => ({ ...version, key: Buffer.from(version.key).toString() })

/** FNV-1a. */
function hashOf(bucketId: number, key: string): number {
  let hash = 0x811c9dc5 ^ bucketId
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193)
  return hash
}

/** A refused one never ran. */
const endOfError = (error: unknown): End => (error instanceof S3Error && error.code === 'SlowDown' ? 'refused' : 'in doubt')
const endOf = (result: PromiseSettledResult<unknown> | undefined): End => (result?.status === 'fulfilled' ? 'committed' : endOfError(result?.reason))

async function endingWith<Result>(result: Promise<Result>, ended: (end: End) => void): Promise<Result> {
  try {
    const value = await result
    ended('committed')
    return value
  } catch (error) {
    ended(endOfError(error))
    throw error
  }
}
