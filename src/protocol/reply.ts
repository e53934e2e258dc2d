import type { Reply } from './request.ts'

/** A reply that nobody gets: its reader still holds a descriptor, and what it waits for may fail with nobody to tell but `failed`. */
export function releaseReply({ body }: Reply, failed: (error: unknown) => void): void {
  if (typeof body !== 'object' || !('kind' in body)) return
  if (body.kind === 'stream') body.reader.close()
  else body.result.catch(failed)
}
