import type pg from 'pg'
import { S3Error } from '../../domain/errors.ts'
import { failpoint } from '../../domain/failpoint.ts'
import { countOne, type Meters } from '../../telemetry/metrics.ts'
import type { AnnouncedPut, Command, PreparedPut, PutCommand, PutPartCommand, PutResult } from '../store.ts'
import { clientError, isConnectionLoss, openLine, type Line, type Patience, type Statement } from './connect.ts'
import { planDeleteCommand, planPutCommand, planPutTags } from './group-plan.ts'
import { planAbort, planComplete, planPutPart } from './group-plan-multipart.ts'
import { emptyState, groupReads, needsOf, type GroupNeeds, type GroupRead, type Needing } from './group-read.ts'
import type { GroupState } from './group-state.ts'
import { groupWrites } from './group-write.ts'
import { commit, opening, rollback } from './group-frame.ts'
import { incarnationOf, rememberIncarnation, wasCommitted, wasPut, type WholePut } from './outcome.ts'
import { canGoAhead, putAhead, putAheadAnswer, putResult, putWhole, type PutAhead } from './put-ahead.ts'
import { roundTrip } from './round-trip.ts'

/**
 * Runs commands in groups: one transaction, two round trips and one flush to disk for up to `groupCommandsMax` of them. A group
 * closes when a lane is free to take it, never on a timer: a single command goes at once, and under load groups grow.
 */
export interface Committer {
  commit(command: Command): Promise<unknown>
  /** How each ended, by its place. */
  commitAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]>
  /** Begins the group of a put whose command is still to come, when no lane is busy: its first round trip runs meanwhile. */
  prepare(put: AnnouncedPut | PutCommand): PreparedPut | null
  /** Whether a command would be taken up at once. */
  isFree(): boolean
  /** Waits for the commands that were accepted. */
  close(): Promise<void>
}

export interface CommitterOptions {
  readonly connection: pg.ClientConfig
  readonly log: (message: string) => void
  readonly now: () => number
  /** How long a command waits for a database that is away. */
  readonly waitMs: number
  readonly lazy?: boolean
  /** Other processes write to this database too. */
  readonly shared?: boolean
  readonly meters: Meters
  /** With a database that says nothing; the line's own when it is not given. */
  readonly patience?: Patience
}

/** So many come from as many clients: beyond it a larger group saves little, and the first command waits for the last. */
const groupCommandsMax = 256
/** Of a longer queue, where the commands wait for each other anyway. Each holds a lock in the database's table, which has room for so many where a server is alone with it. */
const longGroupMaxAlone = 1000
/** Commands in waiting: about a second's worth. More is answered with SlowDown, so that memory and waiting stay bounded. */
const queueCommandsMax = 8192
/** While one lane's COMMIT is on its way to the disk, the other one reads and plans. */
const laneCount = 2
/** Counters of usage are spread over this many rows for each bucket. */
const usageShards = 64
const attemptsMax = 3
/** So many buckets a lane remembers to keep no versions. */
const plainBucketsMax = 10_000

interface Job {
  /** Null while it is still to come, and for ever when it was cancelled. */
  command: Command | null
  /** What the command is, or as much of it as was announced; all of it, and that very object, when it is foreseen. */
  readonly needs: Needing
  /** Resolves when the command has come, or never will; null from then on. */
  arrival: Promise<void> | null
  readonly waiting: Waiting
  /** For who waits for many. */
  readonly place: number
}

/** Who waits for a job, or for many. */
interface Waiting {
  settle(place: number, result: PromiseSettledResult<unknown>): void
}

/** So long a transaction waits for the bytes of what it has prepared: a disk that takes longer must not keep locks from others. */
const arrivalMsMax = 1000

type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown }

interface Lane {
  readonly line: Line
  readonly shard: number
  /** Buckets that kept no versions when they were last looked at. */
  readonly plain: Set<number>
  busy: boolean
  /** Takes a job that a group could not wait for. */
  readonly again: (job: Job) => void
}

/** Plans look rows up by key: no scan of a table, whatever the statistics say of it at the moment. */
const laneSetup = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
  SET enable_bitmapscan = off; SET enable_material = off; SET jit = off; SET lock_timeout = '10s'; SET statement_timeout = '20s';
  SET idle_in_transaction_session_timeout = '15s'`

export function openCommitter(options: CommitterOptions): Committer {
  const queue: Job[] = []
  const firstShard = Math.floor(Math.random() * usageShards)
  const lanes: Lane[] = Array.from({ length: laneCount }, (_, index) => ({
    line: openLine({ ...options, setup: laneSetup, pipeline: false, onConnect: rememberIncarnation }), shard: (firstShard + index) % usageShards, plain: new Set(), busy: false, again: (job) => enqueue(job),
  }))
  const longGroupMax = options.shared === false ? longGroupMaxAlone : groupCommandsMax
  let idle: (() => void) | null = null
  options.meters.watch('holdfast_queue_length', () => [['committer', queue.length]])

  /** A long queue is shared among the lanes: larger groups cost less for each command, and one that took all of it would leave the other lane nothing to do. */
  const weightMax = (length: number): number => Math.min(longGroupMax, Math.max(groupCommandsMax, Math.ceil(length / laneCount)))

  const run = async (lane: Lane): Promise<void> => {
    lane.busy = true
    while (queue.length > 0) await runJobs(lane, takeGroup(queue, weightMax(queue.length)), options)
    lane.busy = false
    if (lanes.every((each) => !each.busy)) idle?.()
  }
  /** What is more than one group waits for one lane only when there is no other. */
  const wake = (): void => {
    for (const lane of lanes) if (!lane.busy && queue.length > 0) void run(lane)
  }

  const enqueue = (job: Job): void => {
    queue.push(job)
    // Commands of the same turn of the event loop come into one group.
    if (queue.length === 1) queueMicrotask(wake)
  }

  return {
    commit: (command) => {
      if (queue.length >= queueCommandsMax) countOne(options.meters.limited, 'commands')
      if (queue.length >= queueCommandsMax) return Promise.reject(noRoom())
      return new Promise((resolve, reject) => enqueue({ command, needs: command, arrival: null, waiting: waitingFor(resolve, reject), place: 0 }))
    },
    commitAll: (commands) => new Promise((resolve) => {
      const taken = Math.max(0, Math.min(commands.length, queueCommandsMax - queue.length))
      const results: PromiseSettledResult<unknown>[] = []
      for (let place = taken; place < commands.length; place++) results[place] = { status: 'rejected', reason: noRoom() }
      if (taken < commands.length) countOne(options.meters.limited, 'commands')
      if (taken === 0) return resolve(results)
      let left = taken
      const waiting: Waiting = {
        settle(place, result) {
          results[place] = result
          left -= 1
          if (left === 0) resolve(results)
        },
      }
      for (const [place, command] of commands.slice(0, taken).entries()) enqueue({ command, needs: command, arrival: null, waiting, place })
    }),
    prepare: (put) => {
      if (queue.length >= groupCommandsMax || lanes.some((lane) => lane.busy)) return null
      const arrival = Promise.withResolvers<void>()
      const result = Promise.withResolvers<unknown>()
      // One that is given up is nobody's.
      result.promise.catch(() => undefined)
      const job: Job = { command: null, needs: 'content' in put ? put : { kind: 'put', ...put }, arrival: arrival.promise, waiting: waitingFor(result.resolve, result.reject), place: 0 }
      const settle = (command: PutCommand | null): void => {
        job.command ??= command
        job.arrival = null
        arrival.resolve()
      }
      enqueue(job)
      return {
        commit: (command) => {
          settle(command)
          return result.promise as Promise<PutResult>
        },
        cancel: () => settle(null),
      }
    },
    isFree: () => queue.length === 0 && lanes.some((lane) => !lane.busy),
    close: async () => {
      if (lanes.some((lane) => lane.busy) || queue.length > 0) await new Promise<void>((resolve) => { idle = resolve })
      await Promise.all(lanes.map((lane) => lane.line.close()))
    },
  }
}

/** Commands that carry many rows or long manifests count for more, so that a group's memory is bounded too. */
function takeGroup(queue: Job[], limit: number): Job[] {
  let weight = 0
  const end = queue.findIndex(({ command }, index) => {
    weight += command === null ? 1 : weightOf(command)
    return index > 0 && weight > limit
  })
  return queue.splice(0, end < 0 ? queue.length : end)
}

const extentsPerWeight = 64

function weightOf(command: Command): number {
  switch (command.kind) {
    case 'put': return 1 + Math.floor(command.content.manifest.length / extentsPerWeight)
    case 'put-part': return 1 + Math.floor(command.part.manifest.length / extentsPerWeight)
    case 'complete': case 'abort': return 32
    default: return 1
  }
}

/** Runs a group; when something in it is refused by the database, each command alone, so that one cannot fail the others. */
async function runJobs(lane: Lane, jobs: readonly Job[], options: CommitterOptions): Promise<void> {
  try {
    const outcomes = await runGroup(lane, jobs, options)
    for (const [index, job] of jobs.entries()) settle(job, outcomes[index] as Outcome)
  } catch (error) {
    if (error === notAsPrepared) return runArrived(lane, jobs, options)
    const cause = clientError(error)
    const hopeless = cause instanceof S3Error && cause.code === 'ServiceUnavailable'
    if (jobs.length > 1 && !hopeless) {
      for (const job of jobs) await runJobs(lane, [job], options)
      return
    }
    if (!(cause instanceof S3Error)) options.log(`a command failed: ${String(cause)}`)
    for (const { waiting, place } of jobs) waiting.settle(place, { status: 'rejected', reason: cause })
  }
}

/** What has come runs now, each of the others in a group of its own time. */
async function runArrived(lane: Lane, jobs: readonly Job[], options: CommitterOptions): Promise<void> {
  for (const job of jobs) void job.arrival?.then(() => lane.again(job))
  const here = jobs.filter((job) => job.arrival === null)
  if (here.length > 0) await runJobs(lane, here, options)
}

function settle({ waiting, place }: Job, outcome: Outcome): void {
  waiting.settle(place, outcome.ok ? { status: 'fulfilled', value: outcome.value } : { status: 'rejected', reason: outcome.error })
}

const noRoom = (): S3Error => new S3Error('SlowDown', undefined, { headers: { 'retry-after': '1' } })

const waitingFor = (resolve: (value: unknown) => void, reject: (error: unknown) => void): Waiting => ({
  settle: (_, result) => (result.status === 'fulfilled' ? resolve(result.value) : reject(result.reason)),
})

/** Until it is known to be committed; what is known not to be committed runs again. */
async function runGroup(lane: Lane, jobs: readonly Job[], options: CommitterOptions): Promise<readonly Outcome[]> {
  for (let attempt = 1; ; attempt++) {
    const client = await lane.line.client()
    const transaction: Transaction = { id: null, whole: null, outcomes: [] }
    try {
      await runTransaction(client, jobs, transaction, lane, options)
      return transaction.outcomes
    } catch (error) {
      if (isConnectionLoss(error)) {
        lane.line.drop(client)
        options.log(`a group of ${jobs.length} commands lost its connection: ${String(error)}`)
        if (transaction.id !== null && (await wasCommitted(lane.line, transaction.id, incarnationOf(client), options.waitMs))) return transaction.outcomes
        if (transaction.whole !== null) {
          const value = await wasPut(lane.line, transaction.whole, options.now())
          if (value !== null) return [{ ok: true, value }]
        }
      } else {
        await roundTrip(client, [rollback]).catch((again: unknown) => options.log(`rollback failed: ${String(again)}`))
        const { code } = error as { code?: string }
        if (code !== '40P01' && code !== '40001') throw error
      }
      if (attempt === attemptsMax) throw error
    }
  }
}

interface Transaction {
  /** Set when COMMIT is sent: from then on the outcome is unknown until the server has answered. */
  id: string | null
  /** The put whose only round trip is on its way, which has told no id yet. */
  whole: WholePut | null
  outcomes: Outcome[]
}

const notAsPrepared = new Error('a prepared command did not come in time, or was another one than foreseen')

async function arrived(jobs: readonly Job[]): Promise<void> {
  const arrivals = jobs.flatMap((job) => job.arrival ?? [])
  if (arrivals.length === 0) return
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, arrivalMsMax, notAsPrepared)
  })
  await Promise.race([Promise.all(arrivals), late]).finally(() => clearTimeout(timer))
}

async function runTransaction(client: pg.Client, jobs: readonly Job[], transaction: Transaction, lane: Lane, options: CommitterOptions): Promise<void> {
  const needs = needsOf(jobs.map((job) => job.needs))
  options.meters.transactions.observe(jobs.length)
  const whole = wholeOf(jobs, needs, lane)
  const value = whole === null ? null : await goWhole(client, whole, transaction, lane, options)
  if (value !== null) {
    transaction.outcomes = [{ ok: true, value }]
    return
  }
  const foreseen = foreseenOf(jobs, needs, lane)
  const put = foreseen === null ? null : await goAhead(client, needs, foreseen, lane, options)
  if (put !== null && put.result !== null) {
    await arrived(jobs)
    if (jobs[0]?.command !== foreseen) throw notAsPrepared
    transaction.outcomes = [{ ok: true, value: put.result }]
    return end(client, [], put.transactionId, jobs, transaction, options)
  }
  const began = performance.now()
  const state = await readState(client, needs, options.now, lane.plain, put !== null)
  options.meters.queries.of('transaction_read').observe((performance.now() - began) / 1000)
  await arrived(jobs)
  transaction.outcomes = jobs.map(({ command }) => (command === null ? cancelled : planned(state, command)))
  await end(client, groupWrites(state, lane.shard), state.transactionId, jobs, transaction, options)
}

/** The last round trip: what is still to be written, and COMMIT. */
async function end(client: pg.Client, writes: readonly Statement[], id: string | null, jobs: readonly Job[], transaction: Transaction, { meters }: CommitterOptions): Promise<void> {
  transaction.id = id
  failpoint?.('before COMMIT', kindsOf(jobs))
  const wrote = performance.now()
  const ended = await roundTrip(client, [...writes, commit])
  meters.queries.of('transaction_write').observe((performance.now() - wrote) / 1000)
  if (ended.at(-1)?.tag !== 'COMMIT') throw new Error('the transaction was rolled back')
  failpoint?.('after COMMIT', kindsOf(jobs))
}

/** The put of a group that can be written before its bytes are durable: one that is alone, foreseen, and on its way still. */
function foreseenOf([job, ...others]: readonly Job[], { buckets }: GroupNeeds, lane: Lane): PutCommand | null {
  if (job === undefined || others.length > 0 || job.arrival === null || !arePlain(buckets, lane.plain)) return null
  const { needs } = job
  return needs.kind === 'put' && 'content' in needs && canGoAhead(needs) ? needs : null
}

function wholeOf([job, ...others]: readonly Job[], needs: GroupNeeds, lane: Lane): WholePut | null {
  const command = job?.command
  if (command?.kind !== 'put' || others.length > 0 || !arePlain(needs.buckets, lane.plain) || !canGoAhead(command)) return null
  return command.carried ? { command, carried: command.carried, needs } : null
}

/** Null when it wrote nothing, and so changed nothing by its COMMIT: the put needs a plan. */
async function goWhole(client: pg.Client, put: WholePut, transaction: Transaction, lane: Lane, { now, meters }: CommitterOptions): Promise<PutResult | null> {
  const [began, at] = [performance.now(), now()]
  failpoint?.('before COMMIT', 'put;')
  transaction.whole = put
  const answers = await roundTrip(client, [...opening(put.needs), putWhole(put.command, put.carried, lane.shard, at), commit])
  transaction.whole = null
  meters.queries.of('transaction_whole').observe((performance.now() - began) / 1000)
  if (answers.at(-1)?.tag !== 'COMMIT') throw new Error('the transaction was rolled back')
  failpoint?.('after COMMIT', 'put;')
  return putResult(put.command, answers.at(-2)?.rows ?? [], at)
}

const arePlain = (buckets: ReadonlySet<number>, plain: ReadonlySet<number>): boolean => [...buckets].every((id) => plain.has(id))

async function goAhead(client: pg.Client, needs: GroupNeeds, command: PutCommand, lane: Lane, { now, meters }: CommitterOptions): Promise<PutAhead> {
  const [began, at] = [performance.now(), now()]
  const answers = await roundTrip(client, [...opening(needs), putAhead(command, lane.shard, at)])
  meters.queries.of('transaction_ahead').observe((performance.now() - began) / 1000)
  return putAheadAnswer(command, answers.at(-1)?.rows ?? [], at)
}

/** In one round trip, or in two when a bucket keeps versions that is not expected to. `locked`: the transaction has begun and holds its locks. */
async function readState(client: pg.Client, needs: GroupNeeds, now: () => number, plain: Set<number>, locked: boolean): Promise<GroupState> {
  const state = emptyState(needs)
  const { always, versioned } = groupReads(needs)
  const expected = arePlain(needs.buckets, plain)
  await read(client, state, locked ? [] : opening(needs), expected ? always : [...always, ...versioned])
  const isPlain = [...state.buckets.values()].every(({ versioning }) => versioning === 'off')
  if (expected && !isPlain) await read(client, state, [], versioned)
  if (plain.size + needs.buckets.size > plainBucketsMax) plain.clear()
  for (const id of needs.buckets) {
    if (state.buckets.get(id)?.versioning === 'off') plain.add(id)
    else plain.delete(id)
  }
  // The locks were waited for: who held them before changed the rows at an earlier time.
  state.now = now()
  return state
}

async function read(client: pg.Client, state: GroupState, before: readonly Statement[], reads: readonly GroupRead[]): Promise<void> {
  const answers = await roundTrip(client, [...before, ...reads.map(({ statement }) => statement)])
  for (const [index, { fill }] of reads.entries()) fill(state, answers[before.length + index]?.rows ?? [])
}

const kindsOf = (jobs: readonly Job[]): string => jobs.map(({ command }) => `${command?.kind};`).join('')
const cancelled: Outcome = { ok: true, value: null }

/** A plan throws only when a command's own data is bad, and before it has changed anything. */
function planned(state: GroupState, command: Command): Outcome {
  try {
    const result = plan(state, command)
    if (!result.ok && (command.kind === 'put' || command.kind === 'put-part')) giveBack(state, command)
    return { ok: true, value: result }
  } catch (error) {
    return { ok: false, error }
  }
}

/** The bytes of a refused write were stored for it alone: nobody will ever name them. */
function giveBack(state: GroupState, command: PutCommand | PutPartCommand): void {
  if (command.sharedFrom !== undefined) return
  state.released.push(...(command.kind === 'put' ? command.content.manifest : command.part.manifest))
}

function plan(state: GroupState, command: Command): { readonly ok: boolean } {
  switch (command.kind) {
    case 'put': return planPutCommand(state, command)
    case 'delete': return planDeleteCommand(state, command)
    case 'put-tags': return planPutTags(state, command)
    case 'put-part': return planPutPart(state, command)
    case 'complete': return planComplete(state, command)
    case 'abort': return planAbort(state, command)
  }
}
