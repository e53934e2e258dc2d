import { S3Error } from '../domain/errors.ts'
import { documentTurnsMax, documentWaitMsMax, waitingDocumentsMax } from '../domain/limits.ts'
import { countOne, type Meters } from '../telemetry/metrics.ts'
import { createTurns } from './turns.ts'

/**
 * A long XML document keeps the main thread busy for milliseconds, and its commands fill the committer's queue: few are worked on at once, so that
 * other requests get in between. Accounts take turns. Resolves with what ends the turn; rejects with SlowDown.
 */
export function createDocumentTurns(meters: Meters): (account: string) => Promise<() => void> {
  const turns = createTurns({ concurrent: documentTurnsMax, concurrentOf: () => null, queueMax: waitingDocumentsMax, waitMsMax: documentWaitMsMax })
  meters.watch('holdfast_queue_length', () => [['documents', turns.waiting()]])
  return async (account) => {
    const turn = turns.begin(account)
    if (turn !== null && (turn === 'full' || !(await turn))) {
      countOne(meters.limited, 'documents')
      throw new S3Error('SlowDown', undefined, { headers: { 'Retry-After': '1' } })
    }
    return () => turns.done(account)
  }
}
