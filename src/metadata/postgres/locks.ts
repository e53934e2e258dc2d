import { hash } from 'node:crypto'
import { booleanArray, numberArray } from './arrays.ts'
import type { Statement } from './connect.ts'

/**
 * Advisory locks of a transaction. Locking rows would lock nothing where a key has no row yet: two first puts of one key
 * must wait for each other too. A lock's number is a hash of what it stands for; two things with one number only wait more.
 */
export interface LockSet {
  /** A lock that is in both lists is held exclusively; one may be named several times. */
  readonly exclusive: bigint[]
  readonly shared: bigint[]
}

/** Held shared by whatever writes into the bucket, exclusively by what changes or deletes the bucket itself. */
export const bucketLock = (bucketId: number): bigint => lockNumber(`bucket/${bucketId}`)
export const keyLock = (bucketId: number, key: string): bigint => lockNumber(`key/${bucketId}/${key}`)
export const uploadLock = (uploadId: string): bigint => lockNumber(`upload/${uploadId}`)
export const partLock = (uploadId: string, partNumber: number): bigint => lockNumber(`part/${uploadId}/${partNumber}`)

/** One statement that takes all locks in the order of their numbers, the same for everybody, so that no two can wait for each other. */
export function lockStatement(locks: LockSet): Statement {
  const all = [...locks.exclusive.map((id) => ({ id, exclusive: true })), ...locks.shared.map((id) => ({ id, exclusive: false }))]
  // Of one number the exclusive ones stay first: the sort is stable.
  all.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
  const sorted = all.filter(({ id }, index) => index === 0 || all[index - 1]?.id !== id)
  return {
    name: 'locks',
    // One row for all of them: each row would be a message to read.
    text: `SELECT bool_and(CASE WHEN l.exclusive THEN pg_advisory_xact_lock(l.id) ELSE pg_advisory_xact_lock_shared(l.id) END IS NULL)
      FROM unnest($1::bigint[], $2::boolean[]) AS l (id, exclusive)`,
    values: [numberArray(sorted.map(({ id }) => id.toString())), booleanArray(sorted.map(({ exclusive }) => exclusive))],
  }
}

const lockNumber = (name: string): bigint => hash('sha1', name, 'buffer').readBigInt64BE()
