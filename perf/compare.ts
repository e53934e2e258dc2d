import path from 'node:path'
import { readOptions, type ScenarioName } from './options.ts'
import { connectionsOf } from './scenario-names.ts'
import { fill, measure, openBench, type Bench, type Row } from './scenarios.ts'
import { makeDataFolder, startHoldfast, type DataFolder, type Server } from './server.ts'
import { median } from './statistics.ts'

const rounds = 8

/**
 * `node perf/compare.ts OTHER_CHECKOUT --only put,get --connections 64 --seconds 1`: this checkout and another one, both running,
 * loaded in turn for short times. On a machine that does other things too, only the medians of such neighbours can be compared.
 */
async function main(other: string, args: readonly string[]): Promise<void> {
  const options = readOptions(args)
  if (options === 'help') throw new Error('see perf/README.md')
  const started: { name: string; folder: DataFolder; server: Server; bench: Bench }[] = []
  try {
    for (const [name, checkout] of [['other', path.resolve(other)], ['this', undefined]] as const) {
      const folder = makeDataFolder(options.dir)
      const server = await startHoldfast({ dataDir: folder.path, ...checkout === undefined ? {} : { checkout } })
      const bench = await openBench(server, options)
      started.push({ name, folder, server, bench })
      await fill(bench, options.only)
    }
    console.log('scenario     conn.        other         this        ratio   (medians of CPU us/request: all, node, postgres; then p50 and event loop p99.9 ms, requests/s)')
    for (const scenario of options.only) {
      for (const connections of connectionsOf(scenario, options)) {
        const rows = new Map<string, Row[]>(started.map(({ name }) => [name, []]))
        for (let round = 0; round < rounds; round++) {
          for (const { name, bench } of started) rows.get(name)?.push(await measure(bench, scenario, connections))
        }
        print(scenario, connections, rows.get('other') ?? [], rows.get('this') ?? [])
      }
    }
  } finally {
    for (const { server, folder } of started) {
      await server.stop()
      folder.remove()
    }
  }
}

function print(scenario: ScenarioName, connections: number, other: readonly Row[], own: readonly Row[]): void {
  const figures: [string, (row: Row) => number][] = [
    ['CPU', (row) => row.serverCpuMicroseconds + row.helperCpuMicroseconds], ['node', (row) => row.serverCpuMicroseconds],
    ['postgres', (row) => row.helperCpuMicroseconds], ['p50 ms', (row) => row.p50Ms], ['loop p99.9 ms', (row) => row.loopDelayMs?.p999 ?? Number.NaN], ['per s', (row) => row.requests / row.seconds],
  ]
  for (const [name, of] of figures) {
    const [a, b] = [median(other.map(of)), median(own.map(of))]
    console.log(`${scenario.padEnd(12)}${String(connections).padStart(6)}${a.toFixed(2).padStart(13)}${b.toFixed(2).padStart(13)}${(b / a).toFixed(3).padStart(13)}   ${name}`)
  }
}

await main(process.argv[2] ?? '', process.argv.slice(3))
