import { parseArgs } from 'node:util'

export const scenarioNames = ['put', 'get', 'head', 'list', 'delete', 'put-large', 'get-large'] as const
export type ScenarioName = (typeof scenarioNames)[number]

export interface Options {
  /** How long each line of the table is measured. */
  readonly seconds: number
  readonly connections: readonly number[]
  readonly streams: readonly number[]
  readonly only: readonly ScenarioName[]
  /** Objects of 4 KiB that are there before GET, HEAD and LIST begin. */
  readonly objects: number
  /** Folder below which the data folder is made; null: the system's temporary folder, if that is on a disk. */
  readonly dir: string | null
  /** Writes a CPU profile of the server's main thread for each line to perf/out. */
  readonly profile: boolean
  readonly keep: boolean
}

export const usage = `npm run perf -- [options]

  --quick              short runs: everything once in less than three minutes
  --seconds N          seconds for each line (5; quick: 2)
  --connections LIST   connections of the small requests (1,16,64)
  --streams LIST       connections of the 64 MiB bodies (1,8)
  --only LIST          of ${scenarioNames.join(',')}
  --objects N          objects of 4 KiB for GET, HEAD and LIST (20000; quick: 10000)
  --dir PATH           make the data folder below this one
  --profile            write a CPU profile of the server's main thread for each line to perf/out/
  --keep               leave the data folder behind
`

/** Throws an Error with one line when something is not understood. */
export function readOptions(argv: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      seconds: { type: 'string' },
      connections: { type: 'string', default: '1,16,64' },
      streams: { type: 'string', default: '1,8' },
      only: { type: 'string', default: scenarioNames.join(',') },
      objects: { type: 'string' },
      dir: { type: 'string' },
      profile: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  return {
    seconds: number('--seconds', values.seconds ?? (values.quick ? '2' : '5')),
    connections: values.connections.split(',').map((text) => number('--connections', text)),
    streams: values.streams.split(',').map((text) => number('--streams', text)),
    only: values.only.split(',').map(scenario),
    objects: Math.max(2000, number('--objects', values.objects ?? (values.quick ? '10000' : '20000'))),
    dir: values.dir ?? null,
    profile: values.profile,
    keep: values.keep,
  }
}

function number(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`${flag}: ${text} is not a number above 0`)
  return value
}

function scenario(text: string): ScenarioName {
  const found = scenarioNames.find((name) => name === text)
  if (found === undefined) throw new Error(`--only: ${text} is none of ${scenarioNames.join(', ')}`)
  return found
}
