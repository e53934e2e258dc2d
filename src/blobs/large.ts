import { blockBytes, slabsPerUploadMax } from '../domain/limits.ts'
import type { ChunkMark, DigestEnd } from '../workers/digester.ts'
import type { Slab, SlabHolder, Slabs } from '../workers/slabs.ts'
import type { UploadMessage, UploadOutcome } from '../workers/worker.ts'
import type { WorkerPool } from '../workers/pool.ts'
import type { Sink } from './receive.ts'

/** Main thread's side of one large upload: fills slabs, sends them to its worker, takes them back. */
export interface LargeUpload {
  readonly sink: Sink
  /** Everything was received: sends the rest and the end, and waits for the worker's verdict. */
  finish(end: DigestEnd): Promise<UploadOutcome>
  /** Gives the upload up and waits until its file is gone. */
  abort(): Promise<void>
  /** The verdict as soon as it is there, which for a refusal or a failed write is before the end. */
  readonly outcome: Promise<UploadOutcome>
}

export function startLargeUpload(options: {
  readonly session: ReturnType<WorkerPool['upload']>
  readonly slabs: Slabs
  /** The sink was full and is not any more. */
  readonly onReady: () => void
}): LargeUpload {
  const { session, slabs } = options
  const { port } = session
  /** Bytes and marks that no slab was there for; at most what one read of the socket brought. */
  const pending: (Uint8Array | string)[] = []
  let slab: Slab | null = null
  let filled = 0
  let marks: ChunkMark[] = []
  /** Slabs that this upload holds or has sent away. */
  let held = 0
  let waiting = false
  let ended = false
  let whenPlaced: (() => void) | null = null

  const holder: SlabHolder = {
    take(given) {
      waiting = false
      held += 1
      slab = given
      filled = 0
      place()
    },
    flush: () => send(),
  }

  port.on('message', (returned: Slab) => {
    held -= 1
    slabs.give(returned)
    if (pending.length > 0) place()
  })

  const outcome = session.outcome.finally(() => {
    ended = true
    slabs.cancel(holder)
    if (slab !== null) {
      slabs.give(slab)
      held -= 1
      slab = null
    }
    if (held > 0) slabs.lost(held)
    held = 0
    whenPlaced?.()
  })
  // The caller may look at it late; until then a rejection is nobody's surprise.
  outcome.catch(() => undefined)

  function post(message: UploadMessage, transfer: ArrayBuffer[]): void {
    port.postMessage(message, transfer)
  }

  function send(): void {
    if (slab === null || filled === 0) return
    slabs.filling(holder, false)
    post({ kind: 'bytes', slab, length: filled, marks }, [slab.buffer])
    slab = null
    filled = 0
    marks = []
  }

  /** Whether there is a slab to fill now. */
  function obtain(): boolean {
    if (slab !== null) return true
    if (waiting || ended || held >= slabsPerUploadMax) return false
    const given = slabs.ask(holder)
    waiting = given === null
    if (given === null) return false
    held += 1
    slab = given
    filled = 0
    return true
  }

  /** Copies what is pending to slabs as far as there are any; a full slab leaves at once. */
  function place(): void {
    const wasFull = pending.length > 0
    let done = 0
    for (const next of pending) {
      if (typeof next === 'string') marks.push([filled, next])
      else {
        const rest = fill(next)
        if (rest !== null) {
          pending[done] = rest
          break
        }
      }
      done += 1
    }
    pending.splice(0, done)
    if (wasFull && pending.length === 0) {
      whenPlaced?.()
      options.onReady()
    }
  }

  /** Bytes that did not fit, or null. */
  function fill(bytes: Uint8Array): Uint8Array | null {
    let from = 0
    while (from < bytes.length) {
      if (!obtain() || slab === null) return bytes.subarray(from)
      const piece = bytes.subarray(from, from + blockBytes - filled)
      slab.set(piece, filled)
      if (filled === 0) slabs.filling(holder, true)
      filled += piece.length
      from += piece.length
      if (filled === blockBytes) send()
    }
    return null
  }

  return {
    outcome,
    sink: {
      bytes(bytes) {
        if (pending.length > 0) return void pending.push(bytes)
        const rest = fill(bytes)
        if (rest !== null) pending.push(rest)
          },
      mark(signature) {
        if (pending.length > 0) pending.push(signature)
        else marks.push([filled, signature])
      },
      get full() {
        return pending.length > 0
      },
    },
    async finish(end) {
      if (pending.length > 0 && !ended) await new Promise<void>((resolve) => { whenPlaced = resolve })
      if (!ended) {
        send()
        post({ kind: 'end', end, marks }, [])
      }
      return outcome
    },
    async abort() {
      if (!ended) post({ kind: 'abort' }, [])
      await Promise.allSettled([outcome])
    },
  }
}
