import type pg from 'pg'
import type { CarriedRecord } from '../../domain/model.ts'
import type { CarriedStore } from '../store.ts'
import type { Committer } from './committer.ts'
import { clientError, type Line, type Statement } from './connect.ts'
import { inTransaction } from './transaction.ts'

/** A carried record with the number of the version that it came with. */
export type CarriedRow = CarriedRecord & { readonly seq: number }

export interface Carried extends Omit<CarriedStore, 'mayCarry'> {
  /** The committer, whose puts are seen: what they carry is not forgotten while they run. */
  watched(committer: Committer): Committer
}

/** Rows that were removed before their room is made free again: by then they fill some MiB, all of which are in memory still. */
const vacuumRowsMin = 1000

export function openCarried(line: Line, pool: pg.Pool): Carried {
  const running = new Map<CarriedRecord, Promise<unknown>>()
  let removed = 0

  async function tidy(): Promise<void> {
    if (removed < vacuumRowsMin) return
    removed = 0
    await pool.query('VACUUM carried_records')
  }

  async function untilKnown<Result>(record: CarriedRecord, result: Promise<Result>): Promise<Result> {
    running.set(record, result)
    try {
      return await result
    } finally {
      running.delete(record)
    }
  }

  return {
    carriedRecords: async () => (await line.query({ name: 'carried', text: 'SELECT segment, at, record FROM carried_records ORDER BY segment, at', values: [] }))
      .map(([segment, at, record]) => ({ segment: segment as string, at: Number(at), bytes: Buffer.from((record as string).slice(2), 'hex') })),
    async forgetCarried(segment, below) {
      await Promise.allSettled([...running].filter(([record]) => record.segment === segment && record.at < below).map(([, result]) => result))
      try {
        removed += await inTransaction(pool, async (client) => {
          // A row that comes back after a loss of power is put where it is already.
          await client.query('SET LOCAL synchronous_commit = off')
          return (await client.query('DELETE FROM carried_records WHERE segment = $1 AND at < $2', [segment, below])).rowCount ?? 0
        })
        await tidy()
      } catch (error) {
        throw clientError(error)
      }
    },
    watched: (committer) => ({
      ...committer,
      commit(command) {
        const record = command.kind === 'put' ? command.carried : null
        return record ? untilKnown(record, committer.commit(command)) : committer.commit(command)
      },
    }),
  }
}

/** With the puts of a group that are planned; one that is written ahead brings its own (put-ahead.ts). */
export function writeCarried({ segment, at, seq, bytes }: CarriedRow): Statement {
  return { name: 'write_carried', text: 'INSERT INTO carried_records (segment, at, seq, record) VALUES ($1, $2, $3, $4)', values: [segment, at, seq, bytes] }
}

/**
 * Number of the version that came with a record; no row: it was not committed, or is synced and forgotten. For whoever holds the lock of
 * its key, which whatever wrote it held until it was committed or rolled back.
 */
export function carriedVersion({ segment, at }: CarriedRecord): Statement {
  return { name: 'carried_version', text: 'SELECT seq FROM carried_records WHERE segment = $1 AND at = $2', values: [segment, at] }
}
