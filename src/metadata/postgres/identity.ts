import type pg from 'pg'
import type { Account, PolicyDocument } from '../../domain/model.ts'
import type { AccessKey, BootstrapAccount, BootstrapKey, IdentityStore } from '../store.ts'
import { countChange, type BriefCache } from './cache.ts'
import type { Line } from './connect.ts'
import type { WireRow } from './rows.ts'
import { openSecret, sealSecret } from './secrets.ts'
import { inTransaction } from './transaction.ts'

export interface IdentityParts {
  readonly reads: Line
  readonly pool: pg.Pool
  readonly cache: BriefCache<AccessKey>
  /** 32 bytes: opens the secrets. */
  readonly masterKey: Buffer
  readonly now: () => number
}

/** Any constant: two processes that start at once apply their bootstrap one after the other. */
const bootstrapLock = 7_237_113_002

export function openIdentity(parts: IdentityParts): IdentityStore {
  const { reads, pool, cache, masterKey } = parts
  return {
    accessKey: (accessKeyId) => cache.get(accessKeyId, async () => {
      const [row] = await reads.query({
        name: 'access_key',
        text: `SELECT k.secret, k.enabled, a.id, a.canonical_id, a.display_name, a.email, u.name, u.path, u.policies, k.admin
          FROM access_keys k JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.account_id = k.account_id AND u.name = k.user_name
          WHERE k.access_key_id = $1`,
        values: [accessKeyId],
      })
      return row === undefined ? null : accessKeyOf(row, accessKeyId, masterKey)
    }),

    account: async (accountId) => {
      const [row] = await reads.query({ name: 'account', text: 'SELECT id, canonical_id, display_name, email FROM accounts WHERE id = $1', values: [accountId] })
      return row === undefined ? null : accountOf(row, 0)
    },

    applyBootstrap: async (bootstrap) => {
      await inTransaction(pool, async (client) => {
        await client.query('SELECT pg_advisory_xact_lock($1)', [bootstrapLock])
        for (const account of bootstrap.accounts) await applyAccount(client, account, parts)
        await countChange(client)
      })
      cache.clear()
    },
  }
}

async function applyAccount(client: pg.PoolClient, account: BootstrapAccount, parts: IdentityParts): Promise<void> {
  const now = parts.now()
  await client.query(
    `INSERT INTO accounts AS a (id, canonical_id, display_name, email, is_root, created_at) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (id) DO UPDATE SET canonical_id = excluded.canonical_id, display_name = excluded.display_name, email = excluded.email, is_root = excluded.is_root
     WHERE (a.canonical_id, a.display_name, a.email, a.is_root) IS DISTINCT FROM (excluded.canonical_id, excluded.display_name, excluded.email, excluded.is_root)`,
    [account.id, account.canonicalId, account.displayName, account.email, account.root, now],
  )
  for (const key of account.accessKeys) await applyKey(client, account.id, null, key, parts)
  for (const user of account.users) {
    await client.query(
      `INSERT INTO users AS u (account_id, name, path, policies, created_at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (account_id, name) DO UPDATE SET path = excluded.path, policies = excluded.policies
       WHERE (u.path, u.policies) IS DISTINCT FROM (excluded.path, excluded.policies)`,
      [account.id, user.name, user.path, JSON.stringify(user.policies), now],
    )
    for (const key of user.accessKeys) await applyKey(client, account.id, user.name, key, parts)
  }
}

async function applyKey(
  client: pg.PoolClient, accountId: string, userName: string | null, key: BootstrapKey, { masterKey, now }: IdentityParts,
): Promise<void> {
  const { accessKeyId, secretAccessKey, admin = false } = key
  const { rows: [stored] } = await client.query<{ account: string; user: string | null; secret: Buffer; admin: boolean }>(
    'SELECT account_id AS account, user_name AS user, secret, admin FROM access_keys WHERE access_key_id = $1', [accessKeyId],
  )
  if (stored !== undefined && (stored.account !== accountId || stored.user !== userName)) {
    throw new Error(`Access key ${accessKeyId} belongs to ${stored.user ?? 'the root'} of account ${stored.account} already.`)
  }
  if (stored?.admin === admin && openSecret(masterKey, accessKeyId, stored.secret) === secretAccessKey) return
  await client.query(
    `INSERT INTO access_keys (access_key_id, account_id, user_name, secret, created_at, admin) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (access_key_id) DO UPDATE SET secret = excluded.secret, admin = excluded.admin`,
    [accessKeyId, accountId, userName, sealSecret(masterKey, accessKeyId, secretAccessKey), now(), admin],
  )
}

function accessKeyOf(row: WireRow, accessKeyId: string, masterKey: Buffer): AccessKey {
  const [secret, enabled] = row
  return {
    accessKeyId,
    secretAccessKey: openSecret(masterKey, accessKeyId, Buffer.from((secret as string).slice(2), 'hex')),
    enabled: enabled === 't',
    admin: row[9] === 't',
    account: accountOf(row, 2),
    user: row[6] ? { name: row[6], path: row[7] as string, policies: JSON.parse(row[8] as string) as PolicyDocument[] } : null,
  }
}

const accountOf = (row: WireRow, at: number): Account => ({
  id: row[at] as string, canonicalId: row[at + 1] as string, displayName: row[at + 2] as string, email: row[at + 3] as string,
})
