import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LongRun, Sample } from './figure.ts'
import { readOptions, usage, type Options } from './options.ts'
import { subjects, type Subject } from './peers.ts'
import { changes, latestFile, makeResults, summary, tableHead, writeCommitted, writeOut, type Results } from './report.ts'
import { runRound, type Contender } from './round.ts'
import { samplesOf, type ServerRound } from './samples.ts'
import { makeDataFolder } from './server.ts'
import { figuresTable, findingsTable } from './tables.ts'
import { hasWrk } from './wrk.ts'

/** `npm run perf`: loads the server of this checkout, alone or in turn with its peers, prints what it found and writes it down. */
async function main(options: Options, longRuns: readonly LongRun[]): Promise<void> {
  const before = existsSync(latestFile) ? JSON.parse(readFileSync(latestFile, 'utf8')) as Results : null
  const servers = options.only.length > 0 ? await runRounds(contendersOf(options), options) : []
  const long: Sample[] = []
  for (const name of options.long) {
    const figures = await longRuns.find((run) => run.name === name)?.run({ dir: options.dir }) ?? []
    long.push(...figures.map((figure) => ({ server: 'holdfast', round: 'long', ...figure })))
  }
  const results = makeResults(servers, [...servers.flatMap(samplesOf), ...long], options)
  console.log(`\n${summary(servers)}`)
  if (options.peers.length > 0) console.log(`\n${figuresTable(results.samples).join('\n')}`)
  if (options.peers.length > 0 || long.length > 0) console.log(`\n${findingsTable(results.samples).join('\n')}`)
  if (options.quick && before !== null) printChanges(results, before)
  console.log(`\nwritten: ${writeOut(results)}`)
  if (options.results !== null) console.log(`written: ${writeCommitted(options.results, results)}`)
}

function printChanges(results: Results, before: Results): void {
  const lines = changes(results, before)
  if (lines.length > 0) console.log(`\nbeside the run of ${before.date.slice(0, 16)} (${before.commit ?? 'unknown'}): before, now, ratio\n${lines.join('\n')}`)
}

/** Those that take part; a peer that is not installed is named and left out. */
function contendersOf(options: Options): Contender[] {
  const unknown = options.peers.find((name) => !subjects.some((subject) => subject.name === name && !name.startsWith('holdfast')))
  if (unknown !== undefined) throw new Error(`--peers: ${unknown} is not known`)
  const peers = subjects.filter((subject) => options.peers.includes(subject.name))
  const own = (name: string): Subject[] => subjects.filter((subject) => subject.name === name)
  const alone = options.peers.length === 0
  // Beside a peer that syncs nothing, Holdfast runs once more as it does.
  const wanted = [
    ...!alone || options.durability === 'strict' ? own('holdfast') : [],
    ...(alone ? options.durability === 'relaxed' : peers.some(({ durability }) => durability === 'R') && !options.inMemory) ? own('holdfast-relaxed') : [],
    ...peers,
  ]
  return wanted.flatMap((subject) => {
    const version = subject.version()
    if (version === null) console.log(`${subject.name} is not installed: left out (perf/README.md says how to get it)`)
    return version === null ? [] : [{ subject, version, folder: makeDataFolder(options.dir, options.inMemory), filled: false, putsPerSecond: 0 }]
  })
}

/** One server at a time, in an order that turns around with each round: A B C, C B A, and so on. */
async function runRounds(contenders: readonly Contender[], options: Options): Promise<ServerRound[]> {
  if (!await hasWrk()) console.log('wrk is not installed: all requests come from Node, which takes about three times as much of the cores.')
  const rounds: ServerRound[] = []
  console.log(tableHead())
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) rounds.push(await runRound(contender, round, options))
    }
    return rounds
  } finally {
    for (const { folder } of contenders) {
      if (options.keep) console.log(`data folder: ${folder.path}`)
      else folder.remove()
    }
  }
}

async function readLongRuns(): Promise<readonly LongRun[]> {
  const file = path.join(import.meta.dirname, 'big', 'index.ts')
  if (!existsSync(file)) return []
  return (await import(pathToFileURL(file).href) as { readonly bigScenarios: readonly LongRun[] }).bigScenarios
}

const longRuns = await readLongRuns()
const options = readOptions(process.argv.slice(2), longRuns.map(({ name }) => name))
if (options === 'help') console.log(usage)
else await main(options, longRuns)
