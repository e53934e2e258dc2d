import { rm } from 'node:fs/promises'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { testMasterKey } from '../../support/postgres.ts'
import { openPostgresStore } from '../../../src/metadata/postgres/store.ts'
import type { MetadataStore } from '../../../src/metadata/store.ts'
import { createDisk, type FolderNode } from './disk.ts'
import { brokenAnswers, dataFolder, markOf, rowsAt, type Recording } from './recording.ts'
import { ops } from './records.ts'
import { createInspector, type Expectation, type Inspector } from './recovery.ts'
import { loadSnapshot, readRows, type Rows } from './rows.ts'
import { createStage, memoryFolder, plainFates, randomFate, stateOf, type DiskState, type Random, type Stage } from './states.ts'

export interface ExploreOptions {
  readonly random: Random
  /** When to stop, whatever is left. */
  readonly until: number
  /** Distinct states to look at in any case: what a run shows is not a matter of how fast its machine is. */
  readonly statesMin: number
  /** Distinct states after which to stop. */
  readonly statesMax: number
  /** States for which the sweeper is run on a real PostgreSQL: one in so many. */
  readonly sweepEvery: number
  readonly violationsMax?: number
}

export interface Explored {
  /** Distinct pairs of a disk and the rows that may go with it. */
  readonly states: number
  readonly places: number
  readonly sweeps: number
  readonly violations: string[]
}

/**
 * Builds the disk as it may look after a power cut at every place of a recording, and opens each with the program's own code. The first pass
 * looks at what was synced when somebody was told something, the second at every place; later ones at the same places with other fates, until time or states are up.
 */
export async function explore(recording: Recording, options: ExploreOptions): Promise<Explored> {
  const folder = mkdtempSync(join(memoryFolder, 'holdfast-states-'))
  const stage = createStage(join(folder, 'disk'))
  const inspector = createInspector()
  const client = new pg.Client(recording.postgres.connection)
  client.on('error', () => undefined)
  await client.connect()
  const store = await openPostgresStore({ connection: recording.postgres.connection, masterKey: testMasterKey, shared: false, log: () => undefined, now: Date.now })
  const search = createSearch(recording, options, { stage, inspector, client, store })
  try {
    await search.run()
    return search.found()
  } finally {
    await store.close()
    await client.end()
    await inspector.close()
    await rm(folder, { recursive: true, force: true })
  }
}

interface Tools {
  readonly stage: Stage
  readonly inspector: Inspector
  readonly client: pg.Client
  readonly store: MetadataStore
}

function createSearch(recording: Recording, { random, until, statesMin, statesMax, sweepEvery, violationsMax = 20 }: ExploreOptions, { stage, inspector, client, store }: Tools) {
  const { entries, snapshots, workload } = recording
  const rows = rowsAt(entries)
  const read = new Map<number, Rows>()
  const seen = new Set<string>()
  const told = new Set<string>()
  const violations = brokenAnswers(recording)
  let [sweeps, places] = [0, 0]

  function expectation(index: number): Expectation {
    const known = read.get(index) ?? readRows(snapshots[index] ?? {})
    read.set(index, known)
    return { rows: known, bodies: workload.bodies }
  }

  const over = (): boolean => violations.length >= violationsMax || seen.size >= statesMax || (seen.size >= statesMin && Date.now() > until)

  /** The same thing in many states is told once. */
  function report(text: string, where: string): void {
    if (told.has(text) || violations.length >= violationsMax) return
    told.add(text)
    violations.push(`${text} (${where})`)
  }

  async function look(state: DiskState, place: number, snapshot: number): Promise<void> {
    const id = `${state.id} ${snapshot}`
    if (seen.has(id) || over()) return
    seen.add(id)
    const expected = expectation(snapshot)
    const entry = entries[place]
    stage.show(state)
    const found = await inspector.broken(join(stage.folder, dataFolder), expected, (path) => state.files.get(path.slice(stage.folder.length + 1))?.id)
    // A group of which a part was written is what a sweeper has most to think about.
    const torn = entry?.op === ops.write && entry.path.includes('/segments/')
    if (found.length === 0 && random() * (torn ? sweepEvery / 5 : sweepEvery) < 1) {
      sweeps += 1
      await loadSnapshot(client, snapshots[snapshot] ?? {})
      found.push(...(await inspector.brokenBySweep(join(stage.folder, dataFolder), expected, store)))
      stage.forget()
    }
    for (const text of found) report(text.replaceAll(stage.folder, ''), `first seen after entry ${place} (${entry?.op} ${entry?.path}) with rows ${snapshot}`)
  }

  async function lookAround(root: FolderNode, place: number, fates: number): Promise<void> {
    const { certain, possible } = rows[place] ?? { certain: 0, possible: null }
    const chosen = [...(fates === 0 ? plainFates : []), ...Array.from({ length: 3 + fates }, () => randomFate(random))]
    for (const fate of chosen) {
      const state = stateOf(root, fate)
      await look(state, place, certain)
      if (possible !== null) await look(state, place, possible)
    }
  }

  /**
   * Nothing but what was synced, whenever somebody was told something: where a promise is given too early, it is broken here. And names
   * without the bytes, whenever something got its name.
   */
  async function acknowledged(): Promise<void> {
    const disk = createDisk(recording.disk)
    const [nothing, , namesOnly] = plainFates
    for (const [place, entry] of entries.entries()) {
      disk.take(entry)
      const told = entry.op === ops.mark && ['rows', 'end'].includes(markOf(entry).kind)
      const fate = told ? nothing : entry.op === ops.rename || entry.op === ops.link ? namesOnly : undefined
      if (fate !== undefined) await look(stateOf(disk.root, fate), place, rows[place]?.certain ?? 0)
    }
  }

  async function pass(number: number, share: number): Promise<void> {
    const disk = createDisk(recording.disk)
    let waiting = false
    for (const [place, entry] of entries.entries()) {
      if (over()) return
      const before = rows[place - 1]
      const here = rows[place]
      const changed = disk.take(entry) || here?.certain !== before?.certain || here?.possible !== before?.possible
      // Places that are passed over leave their turn to the next one.
      waiting ||= changed
      if (!waiting || random() >= share) continue
      waiting = false
      places += number === 0 ? 1 : 0
      await lookAround(disk.root, place, number)
    }
  }

  return {
    async run(): Promise<void> {
      // A short run looks at places all over the recording, not at its beginning.
      await acknowledged()
      const share = Math.min(1, statesMax / (entries.length * 4))
      for (let number = 0; !over() && number < 40; number++) await pass(number, share)
    },
    found: (): Explored => ({ states: seen.size, places, sweeps, violations }),
  }
}
