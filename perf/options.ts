import { parseArgs } from 'node:util'
import type { DurabilityClass } from './launch.ts'
import { quickScenarios, scenarioNames, type ScenarioName } from './scenario-names.ts'

export { scenarioNames, type ScenarioName } from './scenario-names.ts'

export interface Options {
  /** How long each line of the table is measured. */
  readonly seconds: number
  /** In place of what each scenario has. */
  readonly connections: readonly number[] | null
  readonly quick: boolean
  readonly only: readonly ScenarioName[]
  /** Runs of perf/big that were named. */
  readonly long: readonly string[]
  /** Objects of 4 KiB that are there before GET, HEAD and LIST begin. */
  readonly objects: number
  /** Servers to compare with. */
  readonly peers: readonly string[]
  readonly rounds: number
  /** Class T: all data on a tmpfs. */
  readonly inMemory: boolean
  /** Class of Holdfast when it runs alone. */
  readonly durability: 'strict' | 'relaxed'
  /** Name of the files below perf/results. */
  readonly results: string | null
  /** Folder below which the data folder is made; null: the system's temporary folder, if that is on a disk. */
  readonly dir: string | null
  /** Writes a CPU profile of the server's main thread for each line to perf/out. */
  readonly profile: boolean
  readonly keep: boolean
}

export const usage = `npm run perf -- [options]

  --peers LIST         compare with these, one at a time, in rounds: minio, versitygw, garage, garage-fsync; missing ones are left out
  --rounds N           rounds of a comparison (3), of Holdfast alone (1)
  --quick              short runs of what matters most: less than three minutes
  --seconds N          seconds for each line (5; quick: 1.5)
  --connections LIST   in place of what each scenario has; 64 MiB bodies keep theirs
  --only LIST          of ${scenarioNames.join(',')}; and the long runs of perf/big
  --objects N          objects of 4 KiB for GET, HEAD and LIST (20000; quick: 5000)
  --durability CLASS   strict or relaxed, for Holdfast alone (strict)
  --in-memory          class T: data folders on a tmpfs
  --results NAME       write perf/results/NAME.json and NAME.md
  --dir PATH           make the data folder below this one
  --profile            write a CPU profile of Holdfast's main thread for each line to perf/out/
  --keep               leave the data folder behind
`

/** Throws an Error with one line when something is not understood. `longRuns`: names that --only takes besides the scenarios. */
export function readOptions(argv: readonly string[], longRuns: readonly string[] = []): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      peers: { type: 'string', default: '' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      seconds: { type: 'string' },
      connections: { type: 'string' },
      only: { type: 'string' },
      objects: { type: 'string' },
      durability: { type: 'string', default: 'strict' },
      'in-memory': { type: 'boolean', default: false },
      results: { type: 'string' },
      dir: { type: 'string' },
      profile: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const peers = values.peers.split(',').filter((name) => name !== '')
  const { quick, durability } = values
  if (durability !== 'strict' && durability !== 'relaxed') throw new Error(`--durability: ${durability} is neither strict nor relaxed`)
  const only = values.only?.split(',') ?? (quick ? quickScenarios : scenarioNames)
  const unknown = only.find((name) => !isScenario(name) && !longRuns.includes(name))
  if (unknown !== undefined) throw new Error(`--only: ${unknown} is none of ${[...scenarioNames, ...longRuns].join(', ')}`)
  return {
    seconds: number('--seconds', values.seconds ?? (quick ? '1.5' : '5')),
    connections: values.connections?.split(',').map((text) => number('--connections', text)) ?? null,
    quick,
    only: only.filter(isScenario),
    long: only.filter((name) => !isScenario(name)),
    objects: Math.max(2000, number('--objects', values.objects ?? (quick ? '5000' : '20000'))),
    peers,
    rounds: number('--rounds', values.rounds ?? (peers.length > 0 ? '3' : '1')),
    inMemory: values['in-memory'],
    durability,
    results: values.results ?? null,
    dir: values.dir ?? null,
    profile: values.profile,
    keep: values.keep,
  }
}

/** A server's class, as it is in this run. */
export function classIn(options: Pick<Options, 'inMemory'>, own: DurabilityClass): DurabilityClass {
  return options.inMemory ? 'T' : own
}

function number(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`${flag}: ${text} is not a number above 0`)
  return value
}

function isScenario(text: string): text is ScenarioName {
  return scenarioNames.some((name) => name === text)
}
