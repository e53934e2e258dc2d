import type pg from 'pg'
import type { PolicyDocument, VersioningStatus } from '../../domain/model.ts'
import type { AccessKeySummary, AdminStore, BucketUsage, NewAccessKey } from '../store.ts'
import { countChange } from './cache.ts'
import type { Line } from './connect.ts'
import type { WireRow } from './rows.ts'
import { sealSecret } from './secrets.ts'
import { inTransaction } from './transaction.ts'

export interface AdminParts {
  readonly line: Line
  readonly pool: pg.Pool
  /** 32 bytes: seals the secrets. */
  readonly masterKey: Buffer
  readonly now: () => number
  /** What this process remembers of keys is not current any more. */
  readonly forget: () => void
}

const bucketColumns = 'b.name, b.account_id, b.region, b.versioning, b.created_at'
const sums = ['objects', 'versions', 'bytes'].map((name) => `coalesce(sum(u.${name}), 0)`).join(', ')
const keyColumns = 'access_key_id, account_id, user_name, enabled, created_at, admin'

/** What operators look at and change by hand: rare, so that each change is a transaction of its own, counted like any other. */
export function openAdmin({ line, pool, masterKey, now, forget }: AdminParts): AdminStore {
  async function insertKey(client: pg.PoolClient, { accountId, userName, admin, accessKeyId, secretAccessKey }: NewAccessKey): Promise<boolean> {
    const { rowCount } = await client.query(
      'INSERT INTO access_keys (access_key_id, account_id, user_name, secret, created_at, admin) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING',
      [accessKeyId, accountId, userName, sealSecret(masterKey, accessKeyId, secretAccessKey), now(), admin],
    )
    return rowCount === 1
  }

  async function changed<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    const result = await inTransaction(pool, async (client) => {
      const done = await work(client)
      await countChange(client)
      return done
    })
    forget()
    return result
  }

  return {
    async usageOverview(limit) {
      const totals = await line.query({
        name: 'usage_totals', values: [],
        text: 'SELECT (SELECT count(*) FROM buckets), coalesce(sum(u.objects), 0), coalesce(sum(u.bytes), 0) FROM bucket_usage u WHERE u.bucket_id IN (SELECT id FROM buckets)',
      })
      const largest = await line.query({
        name: 'usage_largest', values: [limit],
        text: `SELECT ${bucketColumns}, ${sums} FROM buckets b LEFT JOIN bucket_usage u ON u.bucket_id = b.id GROUP BY b.id ORDER BY coalesce(sum(u.bytes), 0) DESC, b.name LIMIT $1`,
      })
      const [buckets, objects, bytes] = (totals[0] ?? []).map(Number)
      return { buckets: buckets ?? 0, objects: objects ?? 0, bytes: bytes ?? 0, largest: largest.map(usageOf) }
    },

    async bucketsWithUsage({ after, limit }) {
      const rows = await line.query({
        name: 'buckets_usage', values: [after, limit + 1],
        text: `SELECT ${bucketColumns}, ${sums} FROM (SELECT * FROM buckets WHERE name > $1 ORDER BY name LIMIT $2) b LEFT JOIN bucket_usage u ON u.bucket_id = b.id
          GROUP BY b.id, b.name, b.account_id, b.region, b.versioning, b.created_at ORDER BY b.name`,
      })
      return { buckets: rows.slice(0, limit).map(usageOf), truncated: rows.length > limit }
    },

    async accounts() {
      const rows = await line.query({
        name: 'accounts', values: [],
        text: `SELECT a.id, a.canonical_id, a.display_name, a.email, a.is_root, a.created_at, (SELECT count(*) FROM buckets b WHERE b.account_id = a.id) FROM accounts a ORDER BY a.id`,
      })
      return rows.map((row) => ({
        id: row[0] as string, canonicalId: row[1] as string, displayName: row[2] as string, email: row[3] as string, root: row[4] === 't', createdAt: Number(row[5]), buckets: Number(row[6]),
      }))
    },

    createAccount: ({ id, canonicalId, displayName, email }) => changed(async (client) => {
      const { rowCount } = await client.query(
        'INSERT INTO accounts (id, canonical_id, display_name, email, is_root, created_at) VALUES ($1, $2, $3, $4, false, $5) ON CONFLICT DO NOTHING', [id, canonicalId, displayName, email, now()],
      )
      return rowCount === 1
    }),

    async users(accountId) {
      const rows = await line.query({ name: 'users', text: 'SELECT name, path, created_at, policies FROM users WHERE account_id = $1 ORDER BY name', values: [accountId] })
      return rows.map((row) => ({ name: row[0] as string, path: row[1] as string, createdAt: Number(row[2]), policies: JSON.parse(row[3] as string) as PolicyDocument[] }))
    },

    async accessKeys(accountId) {
      const rows = await line.query({
        name: 'access_keys', text: `SELECT ${keyColumns} FROM access_keys WHERE $1::text IS NULL OR account_id = $1 ORDER BY account_id, user_name NULLS FIRST, created_at, access_key_id`, values: [accountId],
      })
      return rows.map(keyOf)
    },

    createAccessKey: (key) => changed(async (client) => {
      if ((await client.query('SELECT FROM accounts WHERE id = $1 FOR SHARE', [key.accountId])).rowCount === 0) return 'no such account'
      if (key.userName !== null && (await client.query('SELECT FROM users WHERE account_id = $1 AND name = $2 FOR SHARE', [key.accountId, key.userName])).rowCount === 0) return 'no such user'
      return await insertKey(client, key) ? 'made' : 'taken'
    }),

    rotateAccessKey: (accessKeyId, pair) => changed(async (client) => {
      const { rows: [old] } = await client.query<unknown[]>({ text: `UPDATE access_keys SET enabled = false WHERE access_key_id = $1 RETURNING ${keyColumns}`, values: [accessKeyId], rowMode: 'array' })
      if (old === undefined) return null
      const { accountId, userName, admin } = keyOf(old)
      if (!await insertKey(client, { accountId, userName, admin, ...pair })) throw new Error(`access key ${pair.accessKeyId} is there already`)
      return { accessKeyId: pair.accessKeyId, accountId, userName, enabled: true, admin, createdAt: now() }
    }),

    enableAccessKey: (accessKeyId, enabled) => changed(async (client) => (
      (await client.query('UPDATE access_keys SET enabled = $2 WHERE access_key_id = $1', [accessKeyId, enabled])).rowCount === 1
    )),
  }
}

const usageOf = (row: WireRow): BucketUsage => ({
  name: row[0] as string, accountId: row[1] as string, region: row[2] as string, versioning: row[3] as VersioningStatus, createdAt: Number(row[4]),
  objects: Number(row[5]), versions: Number(row[6]), bytes: Number(row[7]),
})

/** From a line all columns are text; from the pool they have types of their own. */
const keyOf = (row: readonly unknown[]): AccessKeySummary => ({
  accessKeyId: row[0] as string, accountId: row[1] as string, userName: (row[2] ?? null) as string | null, enabled: row[3] === 't' || row[3] === true, createdAt: Number(row[4]),
  admin: row[5] === 't' || row[5] === true,
})
