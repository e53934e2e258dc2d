import { parseArgs } from 'node:util'

export interface Options {
  readonly seed: number
  /** Of all modules together. */
  readonly seconds: number
  /** Names of rows or of modules; empty: all. */
  readonly only: readonly string[]
  /** Name of a Markdown file in `results`. */
  readonly results: string | null
}

const secondsDefault = 16 * 60
const quickSeconds = 5 * 60

export const usage = `npm run promises -- [options]

  --seconds N      time for all of them together (${secondsDefault}); starts and ends of servers come on top
  --quick          in place of that ${quickSeconds} seconds
  --only LIST      rows or modules, with commas between: "rot,power cut"
  --seed N         what is random follows from it (the time)
  --results NAME   write the sheet to test/faults/promises/results/NAME.md too
`

/** Throws an Error with one line when something is not understood. */
export function readOptions(argv: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seed: { type: 'string' }, seconds: { type: 'string' }, only: { type: 'string', default: '' }, results: { type: 'string' },
      quick: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  if (values.results !== undefined && !/^[\w-]+$/.test(values.results)) throw new Error('--results takes a name of letters, digits and dashes')
  return {
    seed: values.seed === undefined ? Date.now() % 2 ** 31 : whole('seed', values.seed),
    seconds: values.seconds === undefined ? (values.quick ? quickSeconds : secondsDefault) : whole('seconds', values.seconds),
    only: values.only.split(',').map((name) => name.trim()).filter((name) => name !== ''),
    results: values.results ?? null,
  }
}

function whole(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} takes a whole number, not ${text}`)
  return Number(text)
}
