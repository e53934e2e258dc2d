import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { applied, readMutants, type Mutant } from './patches.ts'

/**
 * `npm run test:mutants`: puts each known bug back into a copy of the tree and runs the test that is named in its patch, which must
 * fail. What catches no bug any more is a hole in the suite.
 */

const usage = `npm run test:mutants -- [--only name[,name]] [--jobs n]
  --only   those whose name begins so
  --jobs   how many at once (default 1)`

const root = path.join(import.meta.dirname, '..', '..', '..')
/** What the tests need; a data folder in the checkout may be large. */
const copied = ['drizzle', 'scripts', 'src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts']
const mutantMsMax = 180_000

interface Verdict {
  readonly caughtBy: string | null
  readonly why: string
}

/** What of vitest's report is looked at. */
interface Report {
  readonly testResults: readonly { readonly message: string; readonly assertionResults: readonly { readonly fullName: string; readonly status: string; readonly failureMessages: readonly string[] }[] }[]
}

function copyTree(): string {
  // Vite compares real paths.
  const copy = realpathSync(mkdtempSync(path.join(tmpdir(), 'holdfast-mutant-')))
  for (const name of copied) cpSync(path.join(root, name), path.join(copy, name), { recursive: true })
  symlinkSync(realpathSync(path.join(root, 'node_modules')), path.join(copy, 'node_modules'))
  return copy
}

const projectOf = (file: string): string => file.split('/')[1] ?? ''
const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Runs the named tests of the copy. Null: vitest left no report. */
async function runTests(copy: string, { file, test }: Mutant): Promise<{ report: Report | null; output: string }> {
  const out = path.join(copy, 'report.json')
  const args = [path.join(copy, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--project', projectOf(file), file, '--reporter=json', `--outputFile=${out}`]
  if (test !== null) args.push('-t', literally(test))
  // What CI asks of the suite (more histories, longer searches) would only take longer to find the same bug.
  const { HOLDFAST_TEST_PATIENT: _patient, HOLDFAST_TEST_SEQUENCES: _sequences, ...inherited } = process.env
  const env = { ...inherited, HOLDFAST_TEST_SEED: '1' }
  // A group of its own: what a test leaves behind when its time is over ends with it.
  const child = spawn(process.execPath, args, { cwd: copy, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), mutantMsMax)
  await new Promise((resolve) => child.once('close', resolve))
  clearTimeout(timer)
  try {
    return { report: JSON.parse(readFileSync(out, 'utf8')) as Report, output }
  } catch (error) {
    return { report: null, output: `${output}\n${String(error)}` }
  }
}

/** Only an assertion that failed counts, also of a poll, of a promise, or within a property of fast-check: a server that does not start would catch everything. */
const isAssertion = (message: string): boolean => /^(?:AssertionError|Error: (?:Property failed after|promise (?:resolved|rejected)|expected) )/.test(message)

function judge(report: Report | null, output: string): Verdict {
  if (report === null) return { caughtBy: null, why: `no report: ${output.trim().slice(-2000)}` }
  const results = report.testResults.flatMap((result) => result.assertionResults)
  const failed = results.filter(({ status }) => status === 'failed')
  const caught = failed.find(({ failureMessages }) => failureMessages.some(isAssertion))
  if (caught !== undefined) return { caughtBy: caught.fullName.trim(), why: caught.failureMessages[0]?.split('\n    at ')[0] ?? '' }
  const [broken] = failed
  if (broken !== undefined) return { caughtBy: null, why: `failed otherwise than by an assertion: ${broken.fullName}: ${broken.failureMessages.join('\n').slice(0, 2000)}` }
  const passed = results.filter(({ status }) => status === 'passed').length
  return { caughtBy: null, why: passed > 0 ? `${passed} tests passed` : `no test ran: ${report.testResults.map(({ message }) => message).join('\n')}\n${output.trim().slice(-1000)}` }
}

async function tryMutant(mutant: Mutant): Promise<Verdict> {
  const copy = copyTree()
  try {
    for (const [file, text] of applied(mutant, copy)) writeFileSync(path.join(copy, file), text)
    const { report, output } = await runTests(copy, mutant)
    return judge(report, output)
  } catch (error) {
    return { caughtBy: null, why: String(error) }
  } finally {
    rmSync(copy, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: 'string' }, jobs: { type: 'string', default: '1' }, help: { type: 'boolean' } } })
  if (values.help === true) {
    console.log(usage)
    return 0
  }
  const wanted = values.only?.split(',')
  const mutants = readMutants().filter(({ name }) => wanted === undefined || wanted.some((start) => name.startsWith(start)))
  const waiting = mutants.values()
  let caught = 0
  const work = async (): Promise<void> => {
    for (const mutant of waiting) {
      const startedAt = performance.now()
      const { caughtBy, why } = await tryMutant(mutant)
      const took = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`
      if (caughtBy === null) console.log(`NOT CAUGHT ${mutant.name} (${took}): ${mutant.bug}\n    ${mutant.file}: ${why.replaceAll('\n', '\n    ')}`)
      else console.log(`caught ${mutant.name} by ${mutant.file}: ${caughtBy} (${took})`)
      if (caughtBy !== null) caught += 1
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs) || 1) }, work))
  console.log(`${caught} of ${mutants.length} mutants caught`)
  return mutants.length > 0 && caught === mutants.length ? 0 : 1
}

process.exitCode = await main()
