import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkObjects, openBench } from './bench.ts'
import type { Figure } from './figure.ts'
import { connectProfiler } from './inspector.ts'
import { classIn, type Options } from './options.ts'
import type { Subject } from './peers.ts'
import { memoryOf, type Memory } from './processes.ts'
import { tableLine } from './report.ts'
import { diskBytesOf, type MeasuredRow, type ServerRound } from './samples.ts'
import { connectionsOf } from './scenario-names.ts'
import { fill, measure, readsObjects, untilQuiet, type Observers } from './scenarios.ts'
import { freePort, makeDataFolder, metadataBytesOf, outDir, type DataFolder } from './server.ts'
import { hasStrace, measureSyncs } from './syncs.ts'
import { watchMemory } from './watch.ts'

/** A server with what it keeps from one round to the next. */
export interface Contender {
  readonly subject: Subject
  readonly version: string
  readonly folder: DataFolder
  filled: boolean
  putsPerSecond: number
}

const syncConnections = [1, 64]
const idleMs = 2000
const restMs = 3000

/** Starts the server, loads it with everything once, stops it. The first round also fills it. */
export async function runRound(contender: Contender, round: number, options: Options): Promise<ServerRound> {
  const { subject, version, folder: { path: dataDir } } = contender
  const first = !contender.filled
  const others: Figure[] = []
  const empty = await emptyStartOf(subject, options)
  if (first) {
    others.push(...await syncsOf(subject, options))
    // The start that counts as one with data finds a cluster.
    await (await subject.start({ dataDir })).stop()
  }
  const inspectPort = options.profile && subject.name.startsWith('holdfast') ? await freePort() : null
  const server = await subject.start({ dataDir, nodeArgs: inspectPort === null ? [] : [`--inspect=127.0.0.1:${inspectPort}`] })
  const watch = watchMemory(server.pid)
  const profiler = inspectPort === null ? null : await connectProfiler(inspectPort)
  try {
    const settings = await subject.settings(dataDir, server)
    await sleep(idleMs)
    const idle = memoryOf(server.pid)
    const bench = await openBench(server, { ...options, round: String(round), fresh: first })
    if (first) {
      others.push(...await measuredFill(contender, options, () => fill(bench, options.only)))
      contender.putsPerSecond = bench.putsPerSecond
      contender.filled = true
    } else {
      bench.putsPerSecond = contender.putsPerSecond
      if (options.only.some((name) => readsObjects.includes(name))) await checkObjects(bench).catch(rethrow(subject.name))
    }
    const rows: MeasuredRow[] = []
    for (const scenario of options.only) {
      for (const connections of connectionsOf(scenario, options)) {
        const observers: Observers = { watch, profiler, profileFile: path.join(outDir, `${scenario}-${connections}.cpuprofile`) }
        const makesObjects = scenario === 'put' || scenario === 'put-128k'
        const before = makesObjects ? diskBytesOf(dataDir) : 0
        const row = await measure(bench, scenario, connections, observers)
        if (makesObjects) await untilQuiet(server.pid)
        rows.push({ ...row, diskBytesPerObject: makesObjects && row.requests > 0 ? (diskBytesOf(dataDir) - before) / row.requests : null })
        console.log(tableLine(row, subject.name))
      }
    }
    await sleep(restMs)
    const memory = { idle, loaded: most(rows.filter(({ scenario }) => scenario.startsWith('put'))), after: memoryOf(server.pid) }
    const { name, durability } = subject
    return { server: name, round: String(round), durability: classIn(options, durability), version, settings, startSeconds: { empty, again: server.startSeconds }, memory, rows, others }
  } finally {
    profiler?.close()
    await watch.stop()
    await server.stop()
  }
}

/** Seconds of a start in a new folder, which is thrown away. */
async function emptyStartOf(subject: Subject, options: Options): Promise<number> {
  const folder = makeDataFolder(options.dir, options.inMemory)
  try {
    const server = await subject.start({ dataDir: folder.path })
    await server.stop()
    return server.startSeconds
  } finally {
    folder.remove()
  }
}

/** Fills, and says what the objects of 4 KiB took on the disk. */
async function measuredFill({ subject, folder }: Contender, options: Options, run: () => Promise<void>): Promise<Figure[]> {
  const ours = subject.name.startsWith('holdfast')
  const onlySmall = !options.only.includes('get-large')
  const [diskBefore, metadataBefore] = [diskBytesOf(folder.path), ours ? await metadataBytesOf(folder.path) : 0]
  await run()
  if (!options.only.some((name) => readsObjects.includes(name))) return []
  const figure = (name: string, bytes: number): Figure => ({ name, unit: '', value: bytes / options.objects, better: 'less' })
  return [
    ...onlySmall ? [figure('fill: disk bytes/object', diskBytesOf(folder.path) - diskBefore)] : [],
    ...ours ? [figure('fill: metadata bytes/object', await metadataBytesOf(folder.path) - metadataBefore)] : [],
  ]
}

async function syncsOf(subject: Subject, options: Options): Promise<Figure[]> {
  if (options.quick || !options.only.includes('put') || !hasStrace()) return []
  const folder = makeDataFolder(options.dir, options.inMemory)
  try {
    return await measureSyncs(subject, folder.path, syncConnections)
  } finally {
    folder.remove()
  }
}

function most(rows: readonly MeasuredRow[]): Memory | null {
  const total = ({ serverBytes, helperBytes }: Memory): number => serverBytes + helperBytes
  return rows.map(({ memory }) => memory).filter((memory) => memory !== null).reduce<Memory | null>((best, memory) => (best === null || total(memory) > total(best) ? memory : best), null)
}

function rethrow(name: string) {
  return (error: unknown): never => {
    throw new Error(`${name} lost what it had answered for`, { cause: error })
  }
}
