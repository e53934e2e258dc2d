import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectProfiler, type Profiler } from './inspector.ts'
import { readOptions, usage, type Options } from './options.ts'
import { memoryOf, type Memory } from './processes.ts'
import { summary, tableHead, tableLine, writeResults, type Results } from './report.ts'
import { fill, isLarge, measure, openBench, type Row } from './scenarios.ts'
import { durabilityOf, freePort, makeDataFolder, outDir, startHoldfast, type Server } from './server.ts'

/** `npm run perf`: starts the server of this checkout, loads it, prints a table, writes it as JSON below perf/out. */
async function main(options: Options): Promise<void> {
  const folder = makeDataFolder(options.dir)
  try {
    const results = await runAll(options, folder.path)
    console.log(`\n${summary(results)}`)
    console.log(`written: ${writeResults(results, options)}`)
  } finally {
    if (options.keep) console.log(`data folder: ${folder.path}`)
    else folder.remove()
  }
}

async function runAll(options: Options, dataDir: string): Promise<Results> {
  const first = await startHoldfast({ dataDir })
  await first.stop()
  const inspectPort = options.profile ? await freePort() : null
  const server = await startHoldfast({ dataDir, nodeArgs: inspectPort === null ? [] : [`--inspect=127.0.0.1:${inspectPort}`] })
  try {
    const durability = await durabilityOf(dataDir)
    await sleep(2000)
    const idle = memoryOf(server.pid)
    const { rows, loaded } = await runScenarios(server, options, inspectPort === null ? null : await connectProfiler(inspectPort))
    await sleep(3000)
    const memory = { idle, loaded, after: memoryOf(server.pid) }
    return { server: server.name, durability, startSeconds: { empty: first.startSeconds, again: server.startSeconds }, memory, rows }
  } finally {
    await server.stop()
  }
}

/** The rows, and the most memory that was seen while they were measured. */
async function runScenarios(server: Server, options: Options, profiler: Profiler | null): Promise<{ rows: Row[]; loaded: Memory }> {
  const bench = await openBench(server, options)
  if (!bench.wrk) console.log('wrk is not installed: all requests come from Node, which takes about three times as much of the cores.')
  await fill(bench, options.only)
  let loaded = memoryOf(server.pid)
  const watch = setInterval(() => {
    const now = memoryOf(server.pid)
    if (now.serverBytes + now.helperBytes > loaded.serverBytes + loaded.helperBytes) loaded = now
  }, 1000)
  const rows: Row[] = []
  console.log(tableHead())
  for (const scenario of options.only) {
    for (const connections of isLarge(scenario) ? options.streams : options.connections) {
      const row = await measure(bench, scenario, connections, profiler, path.join(outDir, `${scenario}-${connections}.cpuprofile`))
      rows.push(row)
      console.log(tableLine(row))
    }
  }
  clearInterval(watch)
  profiler?.close()
  return { rows, loaded }
}

const options = readOptions(process.argv.slice(2))
if (options === 'help') console.log(usage)
else await main(options)
