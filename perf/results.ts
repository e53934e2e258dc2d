import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import type { Results } from './report.ts'
import { goalsPage, markdown } from './tables.ts'

const usage = 'node perf/results.ts A.json B.json ... [--goals] [--to FILE.md]'

/**
 * One page of several runs, such as the comparison and the long runs; with `--goals` the goals alone, each with the newest run that has
 * a figure for it, as `perf/results/goals.md` is.
 */
function main(argv: readonly string[]): void {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options: { to: { type: 'string' }, goals: { type: 'boolean', default: false } } })
  if (positionals.length === 0) throw new Error(usage)
  const kept = positionals.map((file) => ({ page: path.basename(file, '.json'), results: JSON.parse(readFileSync(file, 'utf8')) as Results }))
  const page = values.goals ? goalsPage(kept) : markdown(kept.map(({ results }) => results))
  if (values.to === undefined) process.stdout.write(page)
  else writeFileSync(values.to, page)
}

main(process.argv.slice(2))
