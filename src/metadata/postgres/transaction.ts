import type pg from 'pg'
import { beginSafely, clientError } from './connect.ts'

/**
 * Rare work that needs a transaction of its own (buckets, identities, the sweeper), outside the committer's groups. Rejects
 * with the error for the client; what is not known to have failed is answered as unavailable.
 */
export async function inTransaction<Result>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
  let client: pg.PoolClient | undefined
  let failed = true
  try {
    client = await pool.connect()
    await client.query(beginSafely)
    const result = await work(client)
    await client.query('COMMIT')
    failed = false
    return result
  } catch (error) {
    throw clientError(error)
  } finally {
    // A connection in an unknown state is closed: that rolls back whatever is left.
    client?.release(failed)
  }
}
