import type pg from 'pg'
import type { Extent } from '../../domain/model.ts'
import type { SweepStore } from '../store.ts'
import { hexArray, numberArray, textArray } from './arrays.ts'
import { clientError, type Line } from './connect.ts'
import { inTransaction } from './transaction.ts'

type Place = Extent['place']

/** Any constant: releases are settled by one process at a time. */
const sweepLock = 7_237_113_003
/** Any constant: one process at a time sweeps, for as long as its session holds this. */
const sweeperLock = 7_237_113_004
/** Any constant: the same for the scrub of running servers that share a data folder. */
const scrubberLock = 7_237_113_005
/** How long a completed upload remembers its answer for a repeated call. */
const completedUploadMs = 7 * 24 * 3600 * 1000

export function openSweep(line: Line, pool: pg.Pool, now: () => number): SweepStore {
  async function alone<Result>(lock: number, work: (lost: () => boolean) => Promise<Result>): Promise<Result | null> {
    const refused = (error: unknown): Promise<never> => Promise.reject(clientError(error))
    const client = await pool.connect().catch(refused)
    let lost = false
    const onLoss = (): void => {
      lost = true
    }
    client.on('error', onLoss)
    client.on('end', onLoss)
    try {
      const { rows: [row] } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [lock]).catch(refused)
      return row?.taken === true ? await work(() => lost) : null
    } finally {
      // The session ends, and the lock with it.
      client.release(true)
    }
  }

  return {
    sweeping: (work) => alone(sweeperLock, work),
    scrubbing: (work) => alone(scrubberLock, work),

    released: async (olderThanMs, limit, afterId = 0) => {
      for (;;) {
        const { found, last } = await inTransaction(pool, async (client) => {
          await client.query('SELECT pg_advisory_xact_lock($1)', [sweepLock])
          await client.query(`DELETE FROM uploads WHERE state = 'completed' AND completed_at < $1`, [now() - completedUploadMs])
          return settle(client, now() - olderThanMs, limit, afterId)
        })
        // Those that were not the last of their blob are done with and gone: behind them there may be more.
        if (last.length > 0 || found < limit) return last
      }
    },

    forgetReleased: (ids) => inTransaction(pool, async (client) => {
      await client.query(
        `WITH gone AS (DELETE FROM released_blobs WHERE id = ANY ($1::bigint[]) RETURNING blob)
         DELETE FROM blob_relocations WHERE blob IN (SELECT blob FROM gone)`,
        [numberArray(ids)],
      )
    }),

    // A blob carries the name of the key that it was written for. Where else it may be named, it was shared and has a count.
    referenced: async (blobs) => {
      const rows = await line.query({
        name: 'referenced',
        text: `SELECT encode(k.blob, 'hex') FROM unnest($1::bytea[], $2::integer[], $3::text[]) AS k (blob, bucket_id, key)
          WHERE EXISTS (SELECT FROM blob_references r WHERE r.blob = k.blob) OR EXISTS (SELECT FROM released_blobs r WHERE r.blob = k.blob)
          OR EXISTS (SELECT FROM objects o WHERE o.bucket_id = k.bucket_id AND o.key = k.key AND position(k.blob in o.manifest) > 0)
          OR EXISTS (SELECT FROM noncurrent_versions n WHERE n.bucket_id = k.bucket_id AND n.key = k.key AND position(k.blob in n.manifest) > 0)
          OR EXISTS (SELECT FROM uploads u JOIN parts p ON p.upload_id = u.upload_id
            WHERE u.bucket_id = k.bucket_id AND u.key = k.key AND u.state = 'open' AND position(k.blob in p.manifest) > 0)`,
        values: [hexArray(blobs.map(({ blob }) => blob)), numberArray(blobs.map(({ bucketId }) => bucketId)), textArray(blobs.map(({ key }) => key))],
      })
      return new Set(rows.map((row) => row[0] as string))
    },

    relocations: async (blobs) => {
      const rows = await line.query({
        name: 'relocations', text: `SELECT encode(blob, 'hex'), place FROM blob_relocations WHERE blob = ANY ($1::bytea[])`, values: [hexArray(blobs)],
      })
      return new Map(rows.map((row) => [row[0] as string, JSON.parse(row[1] as string) as Place]))
    },

    relocate: (moves) => inTransaction(pool, async (client) => {
      await client.query(
        `WITH moves AS (SELECT * FROM unnest($1::bytea[], $2::jsonb[], $3::jsonb[]) AS m (blob, was, place)),
          again AS (UPDATE blob_relocations r SET place = m.place FROM moves m WHERE r.blob = m.blob AND r.place = m.was)
        INSERT INTO blob_relocations (blob, place) SELECT blob, place FROM moves WHERE was IS NULL ON CONFLICT (blob) DO NOTHING`,
        [hexArray(moves.map(({ blob }) => blob)), textArray(moves.map(({ from }) => from === null ? null : JSON.stringify(from))), textArray(moves.map(({ place }) => JSON.stringify(place)))],
      )
    }),

    drives: async () => (await line.query({ name: 'drives', text: 'SELECT id, uuid, created_at FROM drives ORDER BY id', values: [] }))
      .map((row) => ({ id: Number(row[0]), uuid: row[1] as string, createdAt: Number(row[2]) })),

    registerDrive: (uuid, since = now()) => inTransaction(pool, async (client) => {
      await client.query('INSERT INTO drives (uuid, created_at) VALUES ($1, $2) ON CONFLICT (uuid) DO NOTHING', [uuid, since])
      const { rows: [row] } = await client.query<{ id: number }>('SELECT id FROM drives WHERE uuid = $1', [uuid])
      return row?.id as number
    }),
  }
}

interface ReleaseRow {
  readonly id: string
  readonly blob: string
  readonly length: string
  readonly place: Place
  readonly dead: boolean
}

/**
 * Takes each release off its blob's count. A release that was not the last is done with; the last one stays in the queue,
 * marked, until the bytes are gone. A blob without a count has exactly one reference, and this was it.
 */
async function settle(
  client: pg.PoolClient, releasedBefore: number, limit: number, afterId: number,
): Promise<{ found: number; last: { id: number; blob: string; length: number; place: Place }[] }> {
  const { rows } = await client.query<ReleaseRow>(
    `SELECT b.id, encode(b.blob, 'hex') AS blob, b.length, coalesce(m.place, b.place) AS place, b.dead
     FROM released_blobs b LEFT JOIN blob_relocations m ON m.blob = b.blob WHERE b.released_at <= $1 AND b.id > $3 ORDER BY b.id LIMIT $2`,
    [releasedBefore, limit, afterId],
  )
  const open = rows.filter((row) => !row.dead)
  const { rows: counts } = await client.query<{ blob: string; count: number }>(
    `SELECT encode(blob, 'hex') AS blob, count FROM blob_references WHERE blob = ANY ($1::bytea[]) ORDER BY blob FOR UPDATE`, [hexArray(open.map(({ blob }) => blob))],
  )
  const left = new Map(counts.map(({ blob, count }) => [blob, count]))
  const last: ReleaseRow[] = []
  const done: ReleaseRow[] = []
  for (const row of open) {
    const count = (left.get(row.blob) ?? 1) - 1
    left.set(row.blob, count);
    (count === 0 ? last : done).push(row)
  }
  const counted = counts.map(({ blob }) => blob)
  await client.query(
    `UPDATE blob_references r SET count = k.count FROM unnest($1::bytea[], $2::integer[]) AS k (blob, count) WHERE r.blob = k.blob`,
    [hexArray(counted), numberArray(counted.map((blob) => left.get(blob) as number))],
  )
  await client.query('DELETE FROM blob_references WHERE blob = ANY ($1::bytea[]) AND count <= 0', [hexArray(counted)])
  await client.query('DELETE FROM released_blobs WHERE id = ANY ($1::bigint[])', [numberArray(done.map(({ id }) => id))])
  await client.query('UPDATE released_blobs SET dead = true WHERE id = ANY ($1::bigint[])', [numberArray(last.map(({ id }) => id))])
  const finished = new Set(done)
  const kept = rows.filter((row) => !finished.has(row))
  return { found: rows.length, last: kept.map((row) => ({ id: Number(row.id), blob: row.blob, length: Number(row.length), place: row.place })) }
}
