import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { startExternalPostgres, type ExternalPostgres } from './external-postgres.ts'
import { startServer, type TestServer } from './server.ts'

/** Servers that are programs of their own, over one data folder and one PostgreSQL. */
export interface ReplicaSet {
  readonly postgres: ExternalPostgres
  readonly dataDir: string
  readonly servers: readonly TestServer[]
  remove(): Promise<void>
}

export async function startReplicas(count: number, env: Readonly<Record<string, string>> = {}): Promise<ReplicaSet> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'holdfast-replicas-'))
  const postgres = await startExternalPostgres()
  const shared = {
    HOLDFAST_DATABASE_URL: postgres.url, HOLDFAST_DATA_SHARED: 'on', HOLDFAST_ROOT_ACCESS_KEY: 'REPLICAS', HOLDFAST_ROOT_SECRET_KEY: 'a-secret-of-all-replicas', ...env,
  }
  const servers: TestServer[] = []
  const remove = async (): Promise<void> => {
    for (const server of servers) await server.remove()
    await postgres.remove()
    await rm(dataDir, { recursive: true, force: true })
  }
  try {
    // All at once: they make the folder, its keys and the schema together.
    servers.push(...await Promise.all(Array.from({ length: count }, () => startServer({ dataDir, env: shared }))))
  } catch (error) {
    await remove()
    throw error
  }
  return { postgres, dataDir, servers, remove }
}
