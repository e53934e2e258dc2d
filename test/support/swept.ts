import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bucketSender, newBucket, type Send } from './s3.ts'
import { startServer, type TestServer } from './server.ts'

/** A server whose sweeper comes by every second and takes what nobody has named for a second. */
export const sweepsOften = { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' }

/** Longer than that grace and an interval: a sweep has come by. */
export const sweepMs = 2_500

/** Such a server, and a bucket on it. */
export async function startSwept(): Promise<{ readonly server: TestServer; readonly send: Send }> {
  const server = await startServer({ env: sweepsOften })
  return { server, send: bucketSender(server, await newBucket(server.client)) }
}

/** How many files of bodies there are: segments and large ones. */
export async function blobFiles(dataDir: string): Promise<number> {
  const entries = await readdir(join(dataDir, 'drive', 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).length
}
