import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { readOptions, usage, type Options } from './runner/options.ts'
import { checkOf, placeOf, type Check, type Finding } from './runner/promise.ts'
import { markdown, rowsOf, table, type Sheet, type SheetLine } from './runner/sheet.ts'

/**
 * `npm run promises`: every module of this folder for its share of the time, one after the other, and a sheet of what they found.
 * The exit code is 0 only without any violation; a module that throws or does not end is one.
 */

const here = import.meta.dirname
const root = path.join(here, '..', '..', '..')
/** What a module may take on top of three times its time, on a busy machine, before it counts as one that hangs. */
const patienceMs = 240_000

async function checks(only: readonly string[]): Promise<Check[]> {
  const names = readdirSync(here).filter((name) => name.endsWith('.ts') && name !== 'run.ts').map((name) => path.basename(name, '.ts')).sort()
  const modules = await Promise.all(names.map(async (name) => checkOf(name, (await import(pathToFileURL(path.join(here, `${name}.ts`)).href)) as object)))
  const all = modules.filter((check) => check !== null).sort((a, b) => placeOf(a.rows[0]?.row ?? '') - placeOf(b.rows[0]?.row ?? ''))
  const unknown = only.filter((name) => !all.some((check) => isNamed(check, [name])))
  if (unknown.length > 0) throw new Error(`No row or module is called ${unknown.join(', ')}. There are: ${all.map(({ name, rows }) => `${rows.map(({ row }) => row).join(', ')} (${name})`).join('; ')}`)
  return only.length === 0 ? all : all.filter((check) => isNamed(check, only))
}

function isNamed({ name, rows }: Check, only: readonly string[]): boolean {
  return only.includes(name) || rows.some(({ row }) => only.includes(row))
}

/** What leaves a promise without anybody who waits for it belongs to whoever runs just now. */
let stray: ((error: unknown) => void) | null = null
for (const event of ['uncaughtException', 'unhandledRejection'] as const) process.on(event, (error: unknown) => (stray === null ? console.error(error) : stray(error)))

async function runOne(check: Check, seed: number, seconds: number): Promise<SheetLine[]> {
  const began = Date.now()
  const strays: string[] = []
  stray = (error) => void strays.push(`nobody caught ${described(error)}`)
  const timer = new AbortController()
  const limitMs = seconds * 3000 + patienceMs
  const broken = (violation: string): Finding[] => check.rows.map(() => ({ cases: 0, violations: [violation] }))
  const findings = await Promise.race([
    (async () => check.run({ seed, seconds, say: (text) => console.log(`  ${text}`) }))().catch((error: unknown) => broken(`it threw ${described(error)}`)),
    sleep(limitMs, null, { signal: timer.signal }).then(() => broken(`it did not end within ${limitMs / 1000} s`), () => []),
  ])
  timer.abort()
  stray = null
  const took = (Date.now() - began) / 1000
  return check.rows.map((row, index) => {
    const { cases, violations } = findings[index] ?? { cases: 0, violations: ['it found nothing'] }
    // No case is no evidence.
    const none = cases === 0 && violations.length === 0 ? ['not a single case'] : []
    return { ...row, module: check.name, seed, seconds: took, cases, violations: [...violations, ...strays, ...none] }
  })
}

function described(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error)
}

async function main(options: Options): Promise<void> {
  const began = Date.now()
  const all = await checks(options.only)
  const weights = all.reduce((sum, { weight }) => sum + weight, 0)
  console.log(`${all.length} modules, ${options.seconds} s, seed ${options.seed}`)
  const lines: SheetLine[] = []
  for (const [index, check] of all.entries()) {
    const seconds = Math.max(1, Math.round((options.seconds * check.weight) / weights))
    console.log(`[${index + 1}/${all.length}] ${check.rows.map(({ row }) => row).join(', ')} (${check.name}, ${seconds} s)`)
    const found = await runOne(check, options.seed, seconds)
    for (const { row, cases, violations } of found) {
      console.log(`  ${row}: ${cases} cases, ${violations.length} violations`)
      // On one line, which is what .ci/run tells again at its end.
      for (const text of violations) console.log(`  VIOLATION of "${row}": ${text.replaceAll('\n', ' | ')}`)
    }
    lines.push(...found)
  }
  const sheet: Sheet = {
    date: new Date(began).toISOString().slice(0, 10), commit: commit(), machine: `${cpus().length} cores, Node ${process.versions.node}`,
    seed: options.seed, seconds: (Date.now() - began) / 1000, lines: lines.sort((a, b) => placeOf(a.row) - placeOf(b.row)),
  }
  write(sheet, options)
  const { passed, failed, absent } = rowsOf(sheet)
  console.log(`\n${table(sheet)}\n`)
  if (options.only.length === 0 && absent.length > 0) console.log(`No module is about: ${absent.join(', ')}`)
  console.log(`${passed} rows passed, ${failed} rows failed, ${lines.reduce((sum, { violations }) => sum + violations.length, 0)} violations, ${sheet.seconds.toFixed(0)} s, seed ${options.seed}`)
  process.exit(failed === 0 ? 0 : 1)
}

function write(sheet: Sheet, { results }: Options): void {
  const folder = path.join(root, 'test-results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'promises.json'), `${JSON.stringify({ ...sheet, rows: rowsOf(sheet) }, null, 2)}\n`)
  writeFileSync(path.join(folder, 'promises.md'), markdown(sheet))
  if (results === null) return
  mkdirSync(path.join(here, 'results'), { recursive: true })
  writeFileSync(path.join(here, 'results', `${results}.md`), markdown(sheet))
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'no commit'
  }
}

try {
  const options = readOptions(process.argv.slice(2))
  if (options === 'help') console.log(usage)
  else await main(options)
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(2)
}
