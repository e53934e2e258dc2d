import { MessageChannel } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { Piscina } from 'piscina'
import { createCaution } from '../domain/caution.ts'
import { readBlock, readBlockHere, RotError } from '../storage/backend.ts'
import type { Block } from '../storage/backend.ts'
import { withPort } from './transfer.ts'

/**
 * Threads that read blocks of large bodies and compare their checksums, so that the main thread only sends them. Each has one task of
 * the pool that lasts as long as the thread, beside the bodies that it hashes and writes.
 */
export interface Readers {
  /**
   * Fills the first bytes of `buffer`, which is shared between threads, and returns them. Rejects with RotError or the system's error. One
   * whose thread dies over it is read by another way.
   */
  read(block: Block, buffer: Uint8Array): Promise<Uint8Array>
  /** Lets the threads go, each after what it was given. */
  end(): void
}

interface Job {
  readonly block: Block
  readonly buffer: Uint8Array
  readonly resolve: (bytes: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

interface Reader {
  readonly port: MessagePort
  /** In the order in which they were given, which is that of the answers. */
  readonly jobs: Job[]
}

interface Question {
  readonly block: Block
  readonly buffer: Uint8Array
}

interface Answer {
  readonly failure: { readonly message: string; readonly rot: boolean } | null
  readonly tookMs: number
}

/**
 * A thread reads what is in the page cache, one block after the other. Where the disk has to be asked, it can be asked for many blocks at
 * once: slow blocks send the following ones to the threads of Node's own pool, for ten times as long as they took.
 */
const slowMs = 4
const cautionTimes = 10
const cautionMsMax = 10_000
/**
 * A block that is sent asks for the next one, whose answer may be there before Node has looked at the last message: without a bound the
 * event loop would go on with nothing else for a tenth of a second.
 */
const perTurnMax = 8
/** Blocks that wait for a thread before another one is asked: as many as it reads in two milliseconds. */
const behindMax = 8

export function createReaders(threads: Piscina, count: number): Readers {
  const readers = new Set<Reader>()
  let ended = false
  let settledInTurn = 0
  const caution = createCaution(cautionTimes, cautionMsMax)

  function open(): void {
    const { port1, port2 } = new MessageChannel()
    const reader: Reader = { port: port1, jobs: [] }
    readers.add(reader)
    port1.on('message', (answer: Answer) => {
      const job = reader.jobs.shift()
      caution.took(answer.tookMs, answer.tookMs > slowMs, performance.now())
      if (job === undefined) return
      if (settledInTurn === 0) setImmediate(() => (settledInTurn = 0))
      settledInTurn += 1
      if (settledInTurn <= perTurnMax) settle(job, answer)
      else setImmediate(settle, job, answer)
    })
    // An idle port must not keep the process from its end; whoever reads has a socket open.
    port1.unref()
    threads.run(withPort({ port: port2 }), { name: 'serveReads' }).then(() => close(reader), () => close(reader))
  }

  /** The thread has ended: nothing of it touches the buffers any more, and what it did not answer is read again. */
  function close(reader: Reader): void {
    readers.delete(reader)
    reader.port.close()
    for (const { block, buffer, resolve, reject } of reader.jobs) readBlock(block, buffer).then(resolve, reject)
  }

  /** One thread reads faster than the main thread sends; another one is asked when it is kept from reading, by bodies that it hashes. */
  function choose(): Reader | null {
    let least: Reader | null = null
    for (const reader of readers) {
      if (reader.jobs.length < behindMax) return reader
      if (least === null || reader.jobs.length < least.jobs.length) least = reader
    }
    return least
  }

  while (readers.size < count) open()
  return {
    read(block, buffer) {
      // The pool puts another thread in the place of one that died.
      if (readers.size < count && !ended) open()
      const reader = ended || !caution.allows(performance.now()) ? null : choose()
      if (reader === null) return readBlock(block, buffer)
      const { port, jobs } = reader
      const question: Question = { block, buffer }
      return new Promise((resolve, reject) => {
        jobs.push({ block, buffer, resolve, reject })
        port.postMessage(question)
      })
    },
    end() {
      ended = true
      for (const { port } of readers) port.postMessage(null)
    },
  }
}

function settle({ block, buffer, resolve, reject }: Job, { failure }: Answer): void {
  if (failure === null) resolve(buffer.subarray(0, block.length))
  else reject(failure.rot ? new RotError(failure.message) : new Error(failure.message))
}

/** The thread's side: answers the blocks that come over the port, in their order, until null comes. */
export function serveReads({ port }: { readonly port: MessagePort }): Promise<void> {
  return new Promise((resolve) => {
    port.on('message', (question: Question | null) => {
      if (question === null) return resolve()
      port.postMessage(answered(question))
    })
    port.on('close', resolve)
  })
}

function answered({ block, buffer }: Question): Answer {
  const began = performance.now()
  let failure: Answer['failure'] = null
  try {
    readBlockHere(block, buffer)
  } catch (error) {
    failure = { message: error instanceof Error ? error.message : String(error), rot: error instanceof RotError }
  }
  return { failure, tookMs: performance.now() - began }
}
