import type { ChecksumAlgorithm, Extent } from '../domain/model.ts'
import type { WorkerPool } from '../workers/pool.ts'
import { read } from './read.ts'
import type { ReadContext } from './read.ts'
import { manifestSize } from '../domain/manifest.ts'

/**
 * Checksums over bytes that rest already, base64 by algorithm. The bytes are read and verified here and hashed by a worker:
 * each block is copied once, which costs a hundredth of hashing it.
 */
export async function digest(
  context: ReadContext, pool: WorkerPool, manifest: readonly Extent[], algorithms: readonly (ChecksumAlgorithm | 'MD5')[],
): Promise<Record<string, string>> {
  const { port, outcome } = pool.digest({ algorithms })
  // When the worker gives up, nothing that was posted will be acknowledged.
  const early = outcome.then(() => undefined)
  early.catch(() => undefined)
  const reader = await read(context, manifest, 0, manifestSize(manifest)).catch((error: unknown) => {
    port.close()
    throw error
  })
  try {
    for (let bytes = await reader.next(); bytes !== null; bytes = await reader.next()) {
      const copy = Uint8Array.from(bytes)
      const acknowledged = new Promise<void>((resolve) => void port.once('message', () => resolve()))
      port.postMessage(copy, [copy.buffer])
      await Promise.race([acknowledged, early])
    }
    port.postMessage(null)
    return await outcome
  } finally {
    port.close()
    reader.close()
  }
}
