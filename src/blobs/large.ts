import type { Hasher } from '../checksums/algorithms.ts'
import { blockBytes, slabsPerUploadMax } from '../domain/limits.ts'
import { pageBytes } from '../storage/backend.ts'
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

/** What a slab holds behind `start`, in memory of its own: bytes and marks in order. */
function piecesBehind(start: number, bytes: Uint8Array, marks: readonly ChunkMark[]): (Uint8Array | string)[] {
  const pieces: (Uint8Array | string)[] = []
  let from = start
  for (const [at, signature] of marks.filter(([offset]) => offset > start)) {
    if (at > from) pieces.push(bytes.slice(from, at))
    pieces.push(signature)
    from = at
  }
  if (bytes.length > from) pieces.push(bytes.slice(from))
  return pieces
}

/** Slabs that one upload holds or has sent away. */
function createHeld(slabs: Slabs) {
  const held = new Map<number, Slab>()
  function giveBack(index: number): void {
    const slab = held.get(index)
    if (slab === undefined) return
    held.delete(index)
    slabs.give(slab)
  }
  return {
    count: () => held.size,
    add: (slab: Slab) => void held.set(slab.index, slab),
    giveBack,
    giveAllBack: () => [...held.keys()].forEach(giveBack),
  }
}

export function startLargeUpload(options: {
  readonly session: ReturnType<WorkerPool['upload']>
  readonly slabs: Slabs
  /** Computes the checksum that the worker leaves to this thread; null: it does everything. */
  readonly hasher: Hasher | null
  /** The sink was full and is not any more. */
  readonly onReady: () => void
}): LargeUpload {
  const { session, slabs, hasher } = options
  const { port } = session
  /** Bytes and marks that no slab was there for; at most what one read of the socket brought. */
  const pending: (Uint8Array | string)[] = []
  let slab: Slab | null = null
  let filled = 0
  let marks: ChunkMark[] = []
  const held = createHeld(slabs)
  let waiting = false
  let ended = false
  let whenPlaced: (() => void) | null = null

  const holder: SlabHolder = {
    take(given) {
      waiting = false
      hold(given)
      place()
    },
    flush,
  }

  function hold(given: Slab): void {
    held.add(given)
    slab = given
    filled = 0
  }

  port.on('message', (index: number) => {
    held.giveBack(index)
    place()
  })

  const outcome = session.outcome.finally(() => {
    ended = true
    slabs.cancel(holder)
    slab = null
    // A thread that died may still be reading some, for a file that will never have a name; nobody but their holder writes to them.
    held.giveAllBack()
    whenPlaced?.()
  })
  // The caller may look at it late; until then a rejection is nobody's surprise.
  outcome.catch(() => undefined)

  const post = (message: UploadMessage): void => port.postMessage(message)

  function send(): void {
    if (slab === null || filled === 0) return
    slabs.filling(holder, false)
    post({ kind: 'bytes', slab: slab.index, length: filled, marks })
    // Behind the message: the worker is at it already, and gives the slab back to this thread alone.
    hasher?.update(slab.bytes.subarray(0, filled))
    slab = null
    filled = 0
    marks = []
  }

  /** Sends what is there in whole pages, so that the next slab can be written straight again; the rest has to wait for a slab. */
  function flush(): void {
    if (slab === null || filled === 0) return
    const whole = filled - (filled % pageBytes)
    pending.push(...piecesBehind(whole, slab.bytes.subarray(0, filled), marks))
    marks = marks.filter(([at]) => at <= whole)
    filled = whole
    if (whole > 0) send()
    else {
      const { index } = slab
      slab = null
      slabs.filling(holder, false)
      held.giveBack(index)
    }
    place()
  }

  /** Whether there is a slab to fill now. */
  function obtain(): boolean {
    if (slab !== null) return true
    if (waiting || ended || held.count() >= slabsPerUploadMax) return false
    const given = slabs.ask(holder)
    waiting = given === null
    if (given === null) return false
    hold(given)
    return true
  }

  /** Copies what is pending to slabs as far as there are any; a full slab leaves at once. */
  function place(): void {
    if (pending.length === 0) return
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      const rest = typeof next === 'string' ? null : fill(next)
      if (typeof next === 'string') marks.push([filled, next])
      if (rest !== null) return void pending.unshift(rest)
    }
    whenPlaced?.()
    options.onReady()
  }

  /** Bytes that did not fit, or null. */
  function fill(bytes: Uint8Array): Uint8Array | null {
    let from = 0
    while (from < bytes.length) {
      if (!obtain() || slab === null) return bytes.subarray(from)
      const piece = bytes.subarray(from, from + blockBytes - filled)
      slab.bytes.set(piece, filled)
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
      copies: true,
      bytes(bytes) {
        if (pending.length > 0) return void pending.push(bytes)
        const rest = fill(bytes)
        if (rest !== null) pending.push(rest)
      },
      mark(signature) {
        if (pending.length > 0) pending.push(signature)
        else marks.push([filled, signature])
      },
      full: () => pending.length > 0,
    },
    async finish(end) {
      if (pending.length > 0 && !ended) await new Promise<void>((resolve) => { whenPlaced = resolve })
      if (!ended) {
        send()
        post({ kind: 'end', end: { ...end, elsewhere: hasher?.digestBase64() ?? null }, marks })
      }
      return outcome
    },
    async abort() {
      if (!ended) post({ kind: 'abort' })
      await Promise.allSettled([outcome])
    },
  }
}
