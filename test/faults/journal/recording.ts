import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrateSchema } from '../../../src/metadata/postgres/migrate.ts'
import { startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { createControl, type FaultControl } from './control.ts'
import { journalEnvironment, journalLibrary } from './library.ts'
import { appendMark, readEntries, type Entry, type Mark } from './records.ts'
import { readRows, startRowsProxy, type RowsProxy, type Snapshot } from './rows.ts'
import type { Random } from './states.ts'
import { createWorkload, smallBodyBytesMax, stepKinds, type StepKind, type Workload } from './workload.ts'

/** The data folder does not exist before the first start: that its own name is durable is the program's business, too. */
export const dataFolder = 'data'

/** A real server that did everything, with all that it wrote, all that the database held, and all that the client was told. */
export interface Recording {
  /** The folder that stands for the disk; the data folder is in it. */
  readonly disk: string
  readonly entries: readonly Entry[]
  readonly snapshots: readonly Snapshot[]
  readonly steps: readonly RecordedStep[]
  readonly workload: Workload
  readonly postgres: TestPostgres
  /** Dead now: may be started again on whatever its data folder holds then. */
  readonly server: TestServer
  remove(): Promise<void>
}

export interface RecordedStep {
  readonly kind: StepKind | 'thin'
  /** What the client counts on after it. */
  readonly view: readonly string[]
}

export interface RecordOptions {
  readonly random: Random
  /** How often each kind of step is done before the first restart. */
  readonly rounds: number
  readonly say: (text: string) => void
  readonly checkout?: string
}

const slowSyncMs = 300
const kindsInOrder: readonly StepKind[] = ['small', 'group', 'large', 'versioned', 'create', 'part', 'overwrite', 'copy', 'unversion', 'complete', 'delete', 'group', 'create', 'bigPart', 'abort', 'blocks']

/**
 * Records a workload: everything a few times, an orderly restart, most small objects deleted until the sweeper has compacted what is
 * left, the death of the process, everything once more.
 */
export async function record(options: RecordOptions): Promise<Recording> {
  const library = await journalLibrary()
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-journal-'))
  const disk = join(folder, 'disk')
  await mkdir(disk)
  const journal = join(folder, 'journal')
  const control = createControl(join(folder, 'control'))
  const undo: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true }), async () => control.close()]
  const remove = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    return await recordInto({ ...options, library, disk, journal, control, undo, remove })
  } catch (error) {
    await remove()
    throw error
  }
}

interface Place {
  readonly library: string
  readonly disk: string
  readonly journal: string
  readonly control: FaultControl
  /** What ends the things that were started, the last one first. */
  readonly undo: (() => Promise<unknown>)[]
  readonly remove: () => Promise<void>
}

async function recordInto(options: RecordOptions & Place): Promise<Recording> {
  const { random, rounds, say, library, disk, journal, control, undo, remove } = options
  const dataDir = join(disk, dataFolder)
  const postgres = await startTestPostgres()
  undo.push(() => postgres.stop())
  await migrateSchema(postgres.connection)
  const marks = openSync(journal, 'a', 0o600)
  const proxy: RowsProxy = await startRowsProxy(postgres.connection, journal)
  undo.push(() => proxy.close())
  const server = await startServer({
    dataDir, ...(options.checkout === undefined ? {} : { checkout: options.checkout }),
    env: {
      ...journalEnvironment(library, { root: disk, journal, control: control.file }), HOLDFAST_DATABASE_URL: proxy.url, HOLDFAST_SMALL_BODY_BYTES_MAX: String(smallBodyBytesMax),
      HOLDFAST_SWEEP_GRACE_SECONDS: '0', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1', HOLDFAST_LOG_LEVEL: 'warn',
    },
  })
  undo.push(() => server.remove())
  const workload = createWorkload(() => server, random, String(Math.floor(random() * 1e6)))
  const steps: RecordedStep[] = []

  async function marked(kind: RecordedStep['kind'], run: () => Promise<void>): Promise<void> {
    appendMark(marks, { kind: 'begin', step: steps.length })
    await run()
    appendMark(marks, { kind: 'end', step: steps.length })
    steps.push({ kind, view: workload.view() })
  }

  const step = (kind?: StepKind): Promise<void> => marked(kind ?? 'small', async () => {
    const done = await workload.step(kind)
    const refused = done.answers.find(({ status }) => status >= 300)
    if (refused !== undefined) throw new Error(`${kind} was refused without a fault: ${refused.status} ${refused.text}\n${server.output()}`)
    done.settle()
  })

  /** Waits for the sweeper to have nothing left to do. */
  async function swept(): Promise<void> {
    const segments = async (): Promise<number> => (await readdir(join(dataDir, 'drive', 'segments'))).length
    for (let quiet = 0, before = -1, tries = 0; quiet < 2 && tries < 15; tries++) {
      await sleep(1100)
      const [waiting] = await postgres.query<{ n: string }>('SELECT count(*) AS n FROM released_blobs')
      const now = await segments()
      quiet = waiting?.n === '0' && now === before ? quiet + 1 : 0
      before = now
    }
  }

  await workload.prepare()
  // Syncs that take longer than a COMMIT: who does not wait for them has its answer before they are done.
  control.arm({ calls: ['sync'], at: 1, times: 1_000_000, kind: { delayMs: slowSyncMs } })
  for (const kind of ['small', 'large', 'versioned'] as const) await step(kind)
  control.disarm()
  for (let round = 0; round < rounds; round++) for (const kind of kindsInOrder) await step(kind)
  await server.stop()
  await server.restart()
  await step('group')
  await workload.thin(0.85, (run) => marked('thin', run))
  await swept()
  for (let index = 0; index < rounds * 6; index++) await step(stepKinds[Math.floor(random() * stepKinds.length)])
  await server.killServer()
  await server.restart()
  for (const kind of kindsInOrder.slice(0, 12)) await step(kind)
  await server.killServer()
  closeSync(marks)
  const entries = readEntries(readFileSync(journal))
  say(`recorded ${steps.length} steps: ${entries.length} entries, ${proxy.snapshots.length} states of the rows`)
  return { disk, entries, snapshots: proxy.snapshots, steps, workload, postgres, server, remove }
}

export function markOf(entry: Entry): Mark {
  return JSON.parse(entry.path) as Mark
}

/** Which rows were there at each place, and which may have been: the COMMIT that was on its way. */
export interface RowsAt {
  readonly certain: number
  /** The next state of the rows, when its COMMIT was sent already; else null. */
  readonly possible: number | null
}

export function rowsAt(entries: readonly Entry[]): RowsAt[] {
  const sentAt = new Map<number, number>()
  const changes: { rows: number; from: number; until: number }[] = []
  entries.forEach((entry, index) => {
    if (entry.path[0] !== '{' || entry.op !== 100) return
    const mark = markOf(entry)
    if (mark.kind === 'sent') sentAt.set(mark.id, index)
    if (mark.kind === 'rows') changes.push({ rows: mark.rows, from: sentAt.get(mark.sent) ?? index, until: index })
  })
  const all: RowsAt[] = []
  let [certain, next] = [0, 0]
  for (let index = 0; index < entries.length; index++) {
    for (let change = changes[next]; change !== undefined && change.until <= index; change = changes[next]) {
      certain = change.rows
      next += 1
    }
    const change = changes[next]
    all.push({ certain, possible: change !== undefined && change.from <= index ? change.rows : null })
  }
  return all
}

/** What the database held when the client got each answer, against what the client was told. */
export function brokenAnswers({ entries, snapshots, steps }: Pick<Recording, 'entries' | 'snapshots' | 'steps'>): string[] {
  const rows = rowsAt(entries)
  return entries.flatMap((entry, index) => {
    if (entry.op !== 100) return []
    const mark = markOf(entry)
    if (mark.kind !== 'end') return []
    const step = steps[mark.step]
    const have = readRows(snapshots[rows[index]?.certain ?? 0] ?? {}).view
    const missing = step?.view.filter((line) => !have.includes(line)) ?? []
    const extra = have.filter((line) => step?.view.includes(line) !== true)
    return missing.length + extra.length === 0 ? [] : [`step ${mark.step} (${step?.kind}) was answered, but the rows lack [${missing.join('; ')}] and have [${extra.join('; ')}]`]
  })
}
