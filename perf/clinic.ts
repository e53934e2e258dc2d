import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { readOptions, type Options } from './options.ts'
import { descendantsOf } from './processes.ts'
import { tableHead, tableLine } from './report.ts'
import { connectionsOf } from './scenario-names.ts'
import { fill, measure, openBench } from './scenarios.ts'
import { makeDataFolder, outDir, root, startHoldfast } from './server.ts'

const tools = { flame: 'flame', doctor: 'doctor', heap: 'heap-profiler' } as const
const threadLog = /^isolate.*-v8\.log$/
const clinic = path.join(root, 'node_modules', '.bin', 'clinic')

/** `npm run perf:flame -- --only put`: one scenario with the server below one of clinic's tools; the report is HTML below perf/out. */
async function main(tool: keyof typeof tools, options: Options): Promise<void> {
  mkdirSync(outDir, { recursive: true })
  // Doctor reads any trace of the folder, flame any of V8's logs, also one that another run left behind.
  for (const name of readdirSync(outDir)) if (/^node_trace.*\.log$/.test(name) || threadLog.test(name)) rmSync(path.join(outDir, name))
  const folder = makeDataFolder(options.dir)
  const dest = path.join(outDir, `clinic-${tool}-${new Date().toISOString().replaceAll(':', '').slice(0, 17)}`)
  try {
    const server = await startHoldfast({
      dataDir: folder.path,
      wrapper: [process.execPath, clinic, tools[tool], '--open=false', '--dest', dest, '--'],
      nodeArgs: ['--import', pathToFileURL(path.join(import.meta.dirname, 'main-thread-only.ts')).href],
      env: { NO_INSIGHT: '1' },
    })
    keepMainThreadLog()
    console.log(tableHead())
    try {
      const bench = await openBench(server, options)
      await fill(bench, options.only)
      for (const scenario of options.only) {
        console.log(tableLine(await measure(bench, scenario, connectionsOf(scenario, options).at(-1) ?? 64)))
      }
    } finally {
      // The server ends and clinic, which waits for it, makes the report. The heap profiler ends by the signal of a terminal only.
      for (const child of descendantsOf(server.pid)) if (child.command.endsWith('src/main.ts')) process.kill(child.pid, 'SIGINT')
      await server.stop()
    }
  } finally {
    await stopDatabase(folder.path)
    folder.remove()
  }
  const report = existsSync(dest) ? readdirSync(dest).find((name) => name.endsWith('.html')) : undefined
  if (report === undefined) throw new Error(`clinic ${tools[tool]} left no report in ${dest}`)
  console.log(`written: ${path.join(dest, report)}`)
}

/**
 * V8 logs each thread into a file of its own, and flame takes the first one that the folder lists, which may be that of a worker. The main
 * thread's is the oldest; the others are still written to, but have no name any more.
 */
function keepMainThreadLog(): void {
  const logs = readdirSync(outDir).filter((name) => threadLog.test(name)).map((name) => path.join(outDir, name))
  const born = (file: string): number => statSync(file).birthtimeMs
  for (const file of logs.toSorted((a, b) => born(a) - born(b)).slice(1)) rmSync(file)
}

/** The heap profiler ends the process as soon as it has written its file, which may be before PostgreSQL was stopped. */
async function stopDatabase(dataDir: string): Promise<void> {
  const pidFile = path.join(dataDir, 'postgres', 'postmaster.pid')
  if (!existsSync(pidFile)) return
  const pid = Number(readFileSync(pidFile, 'utf8').split('\n')[0])
  if (Number.isInteger(pid) && pid > 1) spawnSync('kill', ['-INT', String(pid)])
  for (let waited = 0; existsSync(pidFile) && waited < 10_000; waited += 50) await sleep(50)
}

const [tool = '', ...rest] = process.argv.slice(2)
const options = readOptions(rest.some((argument) => argument.startsWith('--only')) ? rest : [...rest, '--only', 'put,get'])
if (options === 'help' || !(tool in tools)) console.log('node perf/clinic.ts flame|doctor|heap [options of npm run perf]\n--only put,get unless told otherwise; the largest of --connections counts')
else await main(tool as keyof typeof tools, options)
