import type { OpenLoopResult } from '../open-loop.ts'
import { memoryOf } from '../processes.ts'
import { makeDataFolder, startHoldfast } from '../server.ts'
import { median } from '../statistics.ts'
import { createFigures, megabytes, must, say, smallBytes, untilQuiet, watchMemory, type Big, type Figures } from './bench.ts'
import type { FloodResult } from './flood.ts'
import { assertFiles, generate, type Job, type WireRequest } from './generator.ts'

const uploadersDefault = 10_000
const bursts = 3
const perSecond = 3000
const openSecondsDefault = 30
const bucket = 'connections'

/** Very many clients that upload at once, from a process of their own. */
export const connections: Big = {
  name: 'connections',
  async run(options) {
    const uploaders = options.uploaders ?? uploadersDefault
    const seconds = options.loadSeconds ?? openSecondsDefault
    assertFiles(uploaders + 1000)
    const figures = createFigures('connections')
    const folder = makeDataFolder(options.dir)
    try {
      const server = await startHoldfast({ dataDir: folder.path })
      try {
        await must(server, 'PUT', bucket, '')
        const requestsOf = (name: string, count: number): WireRequest[] =>
          Array.from({ length: count }, (_, index) => ({ method: 'PUT', path: server.signer.path('PUT', bucket, `${name}/${index}`), bodyBytes: smallBytes }))
        const job = { host: server.host, port: server.port, connections: uploaders, seconds, perSecond }
        say('  warming up')
        await generate({ ...job, kind: 'flood', connections: 64, seconds: 3, requests: requestsOf('warm', 5000) })
        await untilQuiet(server.pid)
        figures.add('memory before, all processes', 'MB', megabytes(allOf(server.pid)), 'less')
        const watch = watchMemory(server.pid)
        await measureBursts(job, (round) => requestsOf(`burst-${round}`, uploaders), figures)
        await untilQuiet(server.pid)
        const open = await generate<OpenLoopResult>({ ...job, kind: 'open', requests: requestsOf('open', 30_000) })
        watch.stop()
        const name = `${uploaders} connections, open loop at ${perSecond}/s for ${seconds} s`
        figures.add(`${name}: answers other than 2xx`, 'requests', open.refused, 'less')
        figures.add(`${name}: without an answer`, 'requests', open.broken, 'less')
        figures.add(`${name}: mean`, 'ms', open.meanMs, 'less')
        figures.add(`${name}: p50`, 'ms', open.p50Ms, 'less')
        figures.add(`${name}: p99`, 'ms', open.p99Ms, 'less')
        figures.add(`${name}: p99.9`, 'ms', open.p999Ms, 'less')
        figures.add(`most memory, server ${megabytes(watch.most.server).toFixed(0)}, PostgreSQL ${megabytes(watch.most.helpers).toFixed(0)}`, 'MB', megabytes(watch.most.all), 'less')
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

function allOf(pid: number): number {
  const { serverBytes, helperBytes } = memoryOf(pid)
  return serverBytes + helperBytes
}

/** The median of some bursts, and the errors of all. */
async function measureBursts(job: Omit<Job, 'kind' | 'requests'>, requestsOf: (round: number) => WireRequest[], figures: Figures): Promise<void> {
  const results: FloodResult[] = []
  for (let round = 0; round < bursts; round++) results.push(await generate<FloodResult>({ ...job, kind: 'burst', requests: requestsOf(round) }))
  const sum = (of: (result: FloodResult) => number): number => results.reduce((total, result) => total + of(result), 0)
  const name = `${job.connections} connections send at once`
  figures.add(`${name}, ${bursts} times: SlowDown`, 'requests', sum((result) => result.slowDown.count), 'less')
  figures.add(`${name}, ${bursts} times: other answers`, 'requests', sum((result) => result.refused), 'less')
  figures.add(`${name}, ${bursts} times: without an answer`, 'requests', sum((result) => result.broken), 'less')
  figures.add(`${name}: mean`, 'ms', median(results.map((result) => result.good.meanMs)), 'less')
  figures.add(`${name}: p99`, 'ms', median(results.map((result) => result.good.p99Ms)), 'less')
  figures.add(`${name}: all answered`, 'ms', median(results.map((result) => result.seconds * 1000)), 'less')
}
