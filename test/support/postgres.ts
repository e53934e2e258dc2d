import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Extent, VersionContent } from '../../src/domain/model.ts'
import { startEmbedded, type EmbeddedConnection, type EmbeddedPostgres } from '../../src/metadata/postgres/embedded.ts'
import { openPostgresStore, type PostgresStoreOptions } from '../../src/metadata/postgres/store.ts'
import type { MetadataStore } from '../../src/metadata/store.ts'
import { layCluster } from './cluster.ts'

/** A PostgreSQL of a test file's own, in a temporary folder. */
export interface TestPostgres {
  readonly dataDir: string
  readonly connection: EmbeddedConnection
  readonly embedded: EmbeddedPostgres
  /** Opens a store with the test account in it; several stores may be open at once. Closed by `stop`. */
  openStore(options?: Partial<PostgresStoreOptions>): Promise<MetadataStore>
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

export const testAccountId = '000000000042'
export const testMasterKey = Buffer.alloc(32, 7)

/** `migrated`: with the tables of this program. `empty`: without. `whole`: without, and with the databases that each cluster comes with. */
export async function startTestPostgres(kind: 'migrated' | 'empty' | 'whole' = 'migrated'): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  if (kind !== 'whole') await layCluster(dataDir, kind)
  const embedded = await startEmbedded({ dataDir, log: () => {} })
  const { connection } = embedded
  const stores: MetadataStore[] = []
  const pool = new pg.Pool({ ...connection, max: 1 })
  pool.on('error', () => {})
  return {
    dataDir,
    connection,
    embedded,
    openStore: async (options) => {
      const store = await openTestStore({ connection, ...options })
      stores.push(store)
      return store
    },
    query: async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) => (await pool.query<Row>(text, values)).rows,
    stop: async () => {
      await Promise.all(stores.map((store) => store.close()))
      await pool.end()
      await embedded.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

export async function openTestStore(options: Partial<PostgresStoreOptions> & Pick<PostgresStoreOptions, 'connection'>): Promise<MetadataStore> {
  const store = await openPostgresStore({ masterKey: testMasterKey, log: () => {}, now: Date.now, shared: true, ...options })
  await store.applyBootstrap({
    accounts: [{ root: true, id: testAccountId, canonicalId: '4'.repeat(64), displayName: 'test', email: 'test@example.com', accessKeys: [], users: [] }],
  })
  return store
}

let bucketCount = 0

/** A bucket with a name of its own; its id. */
export async function makeBucket(store: MetadataStore, versioning: 'off' | 'enabled' | 'suspended' = 'off'): Promise<number> {
  const made = await store.createBucket({ name: `test-${process.pid}-${++bucketCount}`, accountId: testAccountId, region: 'us-east-1' })
  if (!made.ok) throw new Error('the bucket exists')
  if (versioning !== 'off') await store.setVersioning(made.bucket.id, versioning)
  return made.bucket.id
}

/** An extent over the whole of a fresh blob. */
export function freshExtent(length = 10): Extent {
  const place = { kind: 'segment' as const, drives: [1], segment: 'aa'.repeat(16), at: 0 }
  return { blob: randomBytes(16).toString('hex'), offset: 0, length, blobLength: length, codec: 'none', dataKey: null, place }
}

export function contentOf(manifest: readonly Extent[], more: Partial<VersionContent> = {}): VersionContent {
  const size = manifest.reduce((sum, extent) => sum + extent.length, 0)
  return {
    size, etag: randomBytes(16).toString('hex'), metadata: { system: {}, user: {} }, tags: [], checksum: null, parts: null, manifest, storageClass: 'STANDARD', ...more,
  }
}
