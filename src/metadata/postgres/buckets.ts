import type pg from 'pg'
import type { Bucket, VersioningStatus } from '../../domain/model.ts'
import type { BucketStore } from '../store.ts'
import { countChange, type BriefCache } from './cache.ts'
import type { Line } from './connect.ts'
import { lockStatement, bucketLock } from './locks.ts'
import { afterPrefix } from './listing-bounds.ts'
import type { WireRow } from './rows.ts'
import { inTransaction } from './transaction.ts'

export interface BucketParts {
  /** For the look-up on the hot path. */
  readonly reads: Line
  readonly line: Line
  readonly pool: pg.Pool
  readonly cache: BriefCache<Bucket>
  readonly now: () => number
}

const bucketColumns = 'id, name, account_id, region, versioning, created_at'

export function openBuckets({ reads, line, pool, cache, now }: BucketParts): BucketStore {
  /** A change of buckets. Also when its outcome is not known, nothing from before it is remembered, nor what a look-up that runs just now will bring. */
  async function changing<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    try {
      return await inTransaction(pool, work)
    } finally {
      cache.clear()
    }
  }

  return {
    bucket: (name) => cache.get(name, async () => {
      const [row] = await reads.query({ name: 'bucket', text: `SELECT ${bucketColumns} FROM buckets WHERE name = $1`, values: [name] })
      return row === undefined ? null : bucketOf(row)
    }),

    createBucket: (bucket) => changing((client) => insertBucket(client, bucket, now())),

    deleteBucket: (bucketId) => changing(async (client) => {
      if (!(await lockBucket(client, bucketId))) return { ok: false, code: 'NoSuchBucket' }
      if (await isInUse(client, bucketId)) return { ok: false, code: 'BucketNotEmpty' }
      await client.query('DELETE FROM uploads WHERE bucket_id = $1', [bucketId])
      await client.query('DELETE FROM bucket_usage WHERE bucket_id = $1', [bucketId])
      await client.query('DELETE FROM buckets WHERE id = $1', [bucketId])
      await countChange(client)
      return { ok: true }
    }),

    listBuckets: async (accountId, page) => {
      const rows = await line.query({
        name: 'list_buckets',
        text: `SELECT ${bucketColumns} FROM buckets WHERE account_id = $1 AND name >= $2 AND name > $3 AND name < $4
          AND ($5::text IS NULL OR region = $5) ORDER BY name LIMIT $6`,
        // Names are lower-case letters, digits, dots and hyphens: a tilde is above them all.
        values: [accountId, page.prefix, page.after, afterPrefix(page.prefix) ?? '~', page.region ?? null, page.limit + 1],
      })
      return { buckets: rows.slice(0, page.limit).map(bucketOf), truncated: rows.length > page.limit }
    },

    setVersioning: (bucketId, status) => changing(async (client) => {
      if (!(await lockBucket(client, bucketId))) return false
      await client.query('UPDATE buckets SET versioning = $2 WHERE id = $1', [bucketId, status])
      await countChange(client)
      return true
    }),

    setting: async (bucketId, kind) => {
      const [row] = await line.query({ name: 'setting', text: 'SELECT document, compiled FROM bucket_settings WHERE bucket_id = $1 AND kind = $2', values: [bucketId, kind] })
      return row === undefined ? null : { document: row[0] as string, compiled: row[1] ? JSON.parse(row[1]) as unknown : null }
    },

    putSetting: (bucketId, kind, setting) => inTransaction(pool, async (client) => {
      // A bucket that was deleted meanwhile has no settings to keep: the operation looked it up before.
      await client.query(
        `INSERT INTO bucket_settings (bucket_id, kind, document, compiled) SELECT id, $2, $3, $4 FROM buckets WHERE id = $1 FOR KEY SHARE
         ON CONFLICT (bucket_id, kind) DO UPDATE SET document = excluded.document, compiled = excluded.compiled`,
        [bucketId, kind, setting.document, JSON.stringify(setting.compiled ?? null)],
      )
    }),

    deleteSetting: (bucketId, kind) => inTransaction(pool, async (client) => {
      await client.query('DELETE FROM bucket_settings WHERE bucket_id = $1 AND kind = $2', [bucketId, kind])
    }),

    usage: async (bucketId) => {
      const [row] = await line.query({
        name: 'usage', text: 'SELECT coalesce(sum(objects), 0), coalesce(sum(versions), 0), coalesce(sum(bytes), 0) FROM bucket_usage WHERE bucket_id = $1', values: [bucketId],
      })
      return { objects: Number(row?.[0]), versions: Number(row?.[1]), bytes: Number(row?.[2]) }
    },
  }
}

type NewBucket = Parameters<BucketStore['createBucket']>[0]

async function insertBucket(client: pg.PoolClient, bucket: NewBucket, now: number): ReturnType<BucketStore['createBucket']> {
  const { rows: [made] } = await client.query<WireRow & string[]>({
    text: `INSERT INTO buckets (name, account_id, region, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING RETURNING ${bucketColumns}`,
    values: [bucket.name, bucket.accountId, bucket.region, now], rowMode: 'array',
  })
  if (made === undefined) {
    const { rows: [other] } = await client.query<{ owner: string }>('SELECT account_id AS owner FROM buckets WHERE name = $1', [bucket.name])
    return { ok: false, owner: other?.owner ?? '' }
  }
  const created = bucketOf(made)
  if (bucket.tags !== undefined && bucket.tags.length > 0) {
    const tags = JSON.stringify(bucket.tags)
    await client.query(`INSERT INTO bucket_settings (bucket_id, kind, document, compiled) VALUES ($1, 'tagging', $2, $3)`, [created.id, tags, tags])
  }
  await countChange(client)
  return { ok: true, bucket: created }
}

/** Whether the bucket is still there. No write into the bucket is under way once both locks are held. */
async function lockBucket(client: pg.PoolClient, bucketId: number): Promise<boolean> {
  const { text, values } = lockStatement({ exclusive: [bucketLock(bucketId)], shared: [] })
  await client.query(text, [...values])
  const { rowCount } = await client.query('SELECT FROM buckets WHERE id = $1 FOR UPDATE', [bucketId])
  return rowCount === 1
}

async function isInUse(client: pg.PoolClient, bucketId: number): Promise<boolean> {
  const { rows: [row] } = await client.query<{ used: boolean }>(
    `SELECT EXISTS (SELECT FROM objects WHERE bucket_id = $1) OR EXISTS (SELECT FROM noncurrent_versions WHERE bucket_id = $1)
       OR EXISTS (SELECT FROM uploads WHERE bucket_id = $1 AND state = 'open') AS used`,
    [bucketId],
  )
  return row?.used !== false
}

function bucketOf(row: WireRow): Bucket {
  return {
    id: Number(row[0]),
    name: row[1] as string,
    accountId: row[2] as string,
    region: row[3] as string,
    versioning: row[4] as VersioningStatus,
    createdAt: Number(row[5]),
  }
}
