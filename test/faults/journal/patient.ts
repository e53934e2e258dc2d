import { closeSync, openSync, fstatSync, readSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrateSchema } from '../../../src/metadata/postgres/migrate.ts'
import { startTestPostgres } from '../../support/postgres.ts'
import { signedRequest } from '../../support/raw.ts'
import { startServer } from '../../support/server.ts'
import { createControl, type FaultControl } from './control.ts'
import { createDisk } from './disk.ts'
import { journalEnvironment, journalLibrary } from './library.ts'
import { ops, readEntries, wholeBytes, type Entry } from './records.ts'
import { createInspector } from './recovery.ts'
import { readRows, startRowsProxy } from './rows.ts'
import { createStage, memoryFolder, plainFates, stateOf, type Random } from './states.ts'
import { createWorkload, smallBodyBytesMax, type StepKind } from './workload.ts'

/** A running server on a disk that can be made to fail, and a client that remembers what it was told. Answers are what is broken. */
export interface Patient {
  readonly control: FaultControl
  /** Has it run with a sweeper that is always at work, or with one that sleeps. */
  be(sweeping: boolean): Promise<void>
  /** One step of the workload, of any kind or the given one. With `mustSucceed` any refusal is broken. */
  work(mustSucceed: boolean, kind?: StepKind): Promise<string[]>
  /** Waits until the sweeper has had its turn. */
  sweep(): Promise<void>
  /** Everything that the client counts on is read back, and nothing else is there. */
  unreadable(): Promise<string[]>
  /** The disk as the journal proves it to be durable, opened: a 200 that rests on what no sync confirmed is found here. */
  undurable(): Promise<string[]>
  /** Syncs of what a sync of the same process had failed on. */
  syncsTriedAgain(): string[]
  /** Status of a small PUT. */
  writes(): Promise<number>
  stop(): Promise<void>
  tryStart(): Promise<string[]>
  /** Ends it and starts it again: it must take writes. */
  restart(): Promise<string[]>
  remove(): Promise<void>
}

const refusals = new Set([500, 503, 507])

export async function openPatient(random: Random): Promise<Patient> {
  const library = await journalLibrary()
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-faulty-'))
  const [disk, journal] = [join(folder, 'disk'), join(folder, 'journal')]
  await mkdir(disk)
  const control = createControl(join(folder, 'control'))
  const undo: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true }), async () => control.close()]
  const remove = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    return await openOn({ library, disk, journal, control, undo, remove, random })
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
  readonly undo: (() => Promise<unknown>)[]
  readonly remove: () => Promise<void>
  readonly random: Random
}

async function openOn({ library, disk, journal, control, undo, remove, random }: Place): Promise<Patient> {
  const postgres = await startTestPostgres()
  undo.push(() => postgres.stop())
  await migrateSchema(postgres.connection)
  const proxy = await startRowsProxy(postgres.connection, journal)
  undo.push(() => proxy.close())
  const dataDir = join(disk, 'data')
  const sweeps = (often: boolean): Record<string, string> => ({ HOLDFAST_SWEEP_INTERVAL_SECONDS: often ? '1' : '86400' })
  const server = await startServer({
    dataDir,
    env: {
      ...journalEnvironment(library, { root: disk, journal, control: control.file }), HOLDFAST_DATABASE_URL: proxy.url, HOLDFAST_SMALL_BODY_BYTES_MAX: String(smallBodyBytesMax),
      HOLDFAST_SWEEP_GRACE_SECONDS: '0', HOLDFAST_LOG_LEVEL: 'warn', ...sweeps(false),
    },
  })
  undo.push(() => server.remove())
  const inspector = createInspector()
  undo.push(() => inspector.close())
  const stageFolder = await mkdtemp(join(memoryFolder, 'holdfast-states-'))
  const stage = createStage(join(stageFolder, 'disk'))
  undo.push(() => rm(stageFolder, { recursive: true, force: true }))
  const workload = createWorkload(() => server, random, String(Math.floor(random() * 1e6)))
  await workload.prepare()

  let sweepsOften = false
  const model = createDisk(disk)
  const reading = openSync(journal, 'r')
  undo.push(async () => closeSync(reading))
  let readBytes = 0
  /** Descriptors whose sync failed: by process and path. */
  const failed = new Set<string>()
  const again: string[] = []

  /** Takes what the journal has got since the last look. */
  function follow(): void {
    const bytes = Buffer.alloc(fstatSync(reading).size - readBytes)
    readSync(reading, bytes, 0, bytes.length, readBytes)
    const whole = bytes.subarray(0, wholeBytes(bytes))
    readBytes += whole.length
    for (const entry of readEntries(whole)) {
      model.take(entry)
      watch(entry)
    }
  }

  function watch({ op, pid, path, error }: Entry): void {
    // SQLite's, which holds nothing but who runs.
    if (/holdfast(-servers)?\.lock/.test(path)) return
    const name = `${pid} ${path}`
    if (op === ops.sync && error === 0 && failed.has(name)) again.push(`a sync of ${path} that had failed was tried again`)
    // A folder is synced for other names as well, and a full disk is none that failed.
    if (op === ops.sync && error === 5 && !model.isFolder(path)) failed.add(name)
  }

  const patient: Patient = {
    control, remove,
    async be(sweeping) {
      if (sweeping === sweepsOften) return
      sweepsOften = sweeping
      await server.stop()
      await server.restart(sweeps(sweepsOften))
    },
    async work(mustSucceed, kind) {
      const done = await workload.step(kind).catch((error: unknown) => String(error))
      if (typeof done === 'string') return [`no answer: ${done}`]
      done.settle()
      const refused = done.answers.filter(({ status }) => status < 200 || status >= 300)
      return refused.filter(({ status }) => mustSucceed || !refusals.has(status)).map(({ status, text }) => `${done.kind} was answered ${status} ${text}`)
    },
    sweep: () => sleep(1200),
    async unreadable() {
      const broken: string[] = []
      for (const [name, etag] of workload.current()) {
        const answer = await signedRequest({ server, path: `/${name}` }).catch((error: unknown) => String(error))
        if (typeof answer === 'string') return [`reads have ended: ${answer}`]
        if (answer.status !== 200 || workload.bodies.get(etag)?.equals(answer.body) !== true) broken.push(`${name}: ${answer.status}, ${answer.body.length} bytes`)
      }
      const have = readRows(proxy.snapshots.at(-1) ?? {}).view
      const expected = workload.view()
      const missing = expected.filter((line) => !have.includes(line))
      const extra = have.filter((line) => !expected.includes(line))
      if (missing.length + extra.length > 0) broken.push(`the rows lack [${missing.join('; ')}] and have [${extra.join('; ')}], which nobody was told`)
      return broken
    },
    async undurable() {
      follow()
      const [nothing] = plainFates
      if (nothing === undefined) return []
      const state = stateOf(model.root, nothing)
      stage.show(state)
      const rows = readRows(proxy.snapshots.at(-1) ?? {})
      const broken = await inspector.broken(join(stage.folder, 'data'), { rows, bodies: workload.bodies }, (path) => state.files.get(path.slice(stage.folder.length + 1))?.id)
      return broken.map((text) => `after a power cut: ${text}`)
    },
    syncsTriedAgain() {
      follow()
      return again.splice(0)
    },
    async writes() {
      return (await signedRequest({ server, method: 'PUT', path: `/${workload.plainBucket}/refused`, body: 'refused' })).status
    },
    async stop() {
      await server.stop()
    },
    async tryStart() {
      const failure = await server.restart(sweeps(sweepsOften)).then(() => null, (error: unknown) => String(error))
      // `Holdfast could not start: EIO...`, or what it logged before it ended.
      if (failure !== null && !/EIO|ENOSPC|i\/o error|no space/i.test(failure)) return [`the start ended without a word on the reason: ${failure}`]
      return []
    },
    async restart() {
      await server.stop()
      const failure = await server.restart(sweeps(sweepsOften)).then(() => null, (error: unknown) => String(error))
      if (failure !== null) return [`no start once the fault was over: ${failure}`]
      const done = await workload.step('small')
      done.settle()
      return [...done.answers.filter(({ status }) => status !== 200).map(({ status }) => `a write after the restart was answered ${status}`), ...(await patient.unreadable())]
    },
  }
  return patient
}
