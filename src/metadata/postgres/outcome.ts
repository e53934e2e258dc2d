import type pg from 'pg'
import type { CarriedRecord } from '../../domain/model.ts'
import type { PutCommand, PutResult } from '../store.ts'
import { carriedVersion } from './carried.ts'
import { send, unavailable, type Line } from './connect.ts'
import { opening, rollback } from './group-frame.ts'
import type { GroupNeeds } from './group-read.ts'
import { putResult } from './put-ahead.ts'
import { roundTrip } from './round-trip.ts'

/** What became of a transaction whose connection was lost while its COMMIT was on its way: it is looked up, never guessed. */

/** A put that needs nothing but one round trip: it is alone, brings its record, and its bucket kept no versions when it was last looked at. */
export interface WholePut {
  readonly command: PutCommand
  readonly carried: CarriedRecord
  readonly needs: GroupNeeds
}

/**
 * A crash of the server throws away its statistics, so the time of their last reset tells one life of the server from the next; a
 * clean restart keeps both the statistics and the transaction ids. A connection does not outlive the server that it belongs to.
 */
const incarnationQuery = 'pg_stat_get_bgwriter_stat_reset_time()::text'
const incarnations = new WeakMap<pg.Client, string | null>()

export const incarnationOf = (client: pg.Client): string | null | undefined => incarnations.get(client)

export async function rememberIncarnation(client: pg.Client): Promise<void> {
  const [row] = await send(client, { name: 'incarnation', text: `SELECT ${incarnationQuery}`, values: [] })
  incarnations.set(client, row?.[0] ?? null)
}

/**
 * Asks what became of a transaction whose connection went during COMMIT. Rejects when it cannot be found out: then the client is
 * told that the service is unavailable, which promises neither. After a crash of the server it never can: ids that had not reached
 * the disk are given out a second time, and the fate of that id may be another transaction's.
 */
export async function wasCommitted(line: Line, id: string, incarnation: string | null | undefined, waitMs: number): Promise<boolean> {
  const until = performance.now() + 2 * waitMs
  for (;;) {
    const [row] = await line.query({ name: 'outcome', text: `SELECT pg_xact_status($1::xid8), ${incarnationQuery}`, values: [id] }).catch((error: unknown) => {
      // Of an id that the server has not given out yet (22023) it says only that it crashed meanwhile.
      throw (error as { code?: string }).code === '22023' ? unavailable(error) : error
    })
    if (incarnation === undefined || row?.[1] !== incarnation) throw unavailable()
    if (row[0] === 'committed') return true
    if (row[0] === 'aborted') return false
    // The server has not noticed yet that the connection is gone; or it has forgotten, and will not remember.
    if (row[0] !== 'in progress' || performance.now() > until) throw unavailable()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/**
 * What became of a put whose connection went during its only round trip; null when it was not committed. Its record is the proof: it is
 * forgotten only when this is known. The look-up waits for the key's lock, which the put's own transaction holds for as long as it may
 * still be committed.
 */
export async function wasPut(line: Line, { command, carried, needs }: WholePut, now: number): Promise<PutResult | null> {
  const client = await line.client()
  try {
    const answers = await roundTrip(client, [...opening(needs), carriedVersion(carried), rollback])
    return putResult(command, answers.at(-2)?.rows ?? [], now)
  } catch (error) {
    line.drop(client)
    throw unavailable(error)
  }
}
