import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Results } from './report.ts'
import { markdown } from './tables.ts'

/** `node perf/results.ts A.json B.json [--to FILE.md]`: one page of several runs, such as the comparison and the long runs. */
function main(argv: readonly string[]): void {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options: { to: { type: 'string' } } })
  if (positionals.length === 0) throw new Error('node perf/results.ts A.json B.json ... [--to FILE.md]')
  const page = markdown(positionals.map((file) => JSON.parse(readFileSync(file, 'utf8')) as Results))
  if (values.to === undefined) process.stdout.write(page)
  else writeFileSync(values.to, page)
}

main(process.argv.slice(2))
