import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { Piscina } from 'piscina'
import { withPort } from './transfer.ts'
import type { BatchOutcome, BatchTask } from './worker.ts'

/**
 * Threads that write groups of small bodies, each one as a single task of the pool that lasts as long as its thread. A task for each
 * group costs more than the way there: its bookkeeping holds on to everything that the group refers to until the next collection of
 * the whole heap, and each collection of young objects copies that meanwhile.
 */
export interface Lanes {
  /** Runs a group on a thread that is free, or as soon as one is. Rejects when the thread dies over it. */
  run(task: BatchTask): Promise<BatchOutcome>
  readonly running: number
  readonly queued: number
  /** Lets the threads go, each after the group that it has. */
  end(): void
}

interface Job extends PromiseWithResolvers<BatchOutcome> {
  readonly task: BatchTask
}

/** What both sides of a lane hold. */
export interface LaneEnd {
  readonly port: MessagePort
  /** Rung for each message: the thread sleeps on it, which wakes it sooner than its event loop would. */
  readonly bell: Int32Array
}

interface Lane extends LaneEnd {
  job: Job | null
}

export function createLanes(threads: Piscina, count: number): Lanes {
  const lanes = new Set<Lane>()
  const idle: Lane[] = []
  const waiting: Job[] = []
  let ended = false

  function open(): void {
    const { port1, port2 } = new MessageChannel()
    const lane: Lane = { port: port1, bell: new Int32Array(new SharedArrayBuffer(4)), job: null }
    lanes.add(lane)
    port1.on('message', (outcome: BatchOutcome) => {
      const { job } = lane
      lane.job = null
      free(lane)
      job?.resolve(outcome)
    })
    threads.run(withPort({ port: port2, bell: lane.bell }), { name: 'serveBatches' }).then(
      () => close(lane, endedError()), (error: unknown) => close(lane, error),
    )
    free(lane)
  }

  function close(lane: Lane, error: unknown): void {
    lanes.delete(lane)
    const at = idle.indexOf(lane)
    if (at >= 0) idle.splice(at, 1)
    // Its answer comes over another port than its end, and may not have been looked at yet.
    const answer = receiveMessageOnPort(lane.port)
    if (answer === undefined) lane.job?.reject(error)
    else lane.job?.resolve(answer.message as BatchOutcome)
    lane.port.close()
    // The pool puts another thread in the place of one that died; its lane is opened by the next group.
    if (waiting.length > 0 && !ended) open()
  }

  /** Takes the group that has waited longest. */
  function free(lane: Lane): void {
    const next = waiting.shift()
    if (next === undefined) idle.push(lane)
    else give(lane, next)
  }

  function give(lane: Lane, job: Job): void {
    lane.job = job
    send(lane, job.task)
  }

  while (lanes.size < count) open()
  return {
    run(task) {
      if (ended) return Promise.reject(endedError())
      const job: Job = { task, ...Promise.withResolvers<BatchOutcome>() }
      const lane = idle.pop()
      if (lane !== undefined) give(lane, job)
      else {
        waiting.push(job)
        if (lanes.size < count) open()
      }
      return job.promise
    },
    get running() {
      return lanes.size - idle.length
    },
    get queued() {
      return waiting.length
    },
    end() {
      ended = true
      for (const lane of lanes) send(lane, null)
      for (const { reject } of waiting.splice(0)) reject(endedError())
    },
  }
}

/** The thread's side: answers the groups that come over the port, one after the other, until null comes. Sleeps on the bell in between. */
export function serveLane({ port, bell }: LaneEnd, answer: (task: BatchTask) => BatchOutcome): void {
  for (let rung = 0; ;) {
    Atomics.wait(bell, 0, rung)
    // Read before the messages: one that comes after them rings again.
    rung = Atomics.load(bell, 0)
    for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) {
      const task = got.message as BatchTask | null
      if (task === null) return
      port.postMessage(answer(task))
    }
  }
}

const endedError = (): Error => new Error('the threads of groups were ended')

function send({ port, bell }: LaneEnd, message: BatchTask | null): void {
  port.postMessage(message)
  Atomics.add(bell, 0, 1)
  Atomics.notify(bell, 0)
}
