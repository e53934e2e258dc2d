import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * A mutant is a known bug as a patch: a plain unified diff that `git apply` takes, under a head of lines that begin with `#`:
 *
 *     # What the bug is, in one sentence.
 *     # Caught by: test/unit/x.test.ts
 *     # Test: a piece of the names of the tests that must fail; all tests of the file when it is left out
 */
export interface Mutant {
  /** The patch's file name without its ending. */
  readonly name: string
  readonly bug: string
  readonly file: string
  readonly test: string | null
  readonly hunks: readonly Hunk[]
}

interface Hunk {
  readonly path: string
  /** What is there, and what takes its place: whole lines, those around them included. */
  readonly before: string
  readonly after: string
}

const folder = import.meta.dirname

export function readMutants(): Mutant[] {
  return readdirSync(folder).filter((name) => name.endsWith('.patch')).sort().map((name) => parse(path.basename(name, '.patch'), readFileSync(path.join(folder, name), 'utf8')))
}

function parse(name: string, text: string): Mutant {
  const lines = text.split('\n')
  const head = lines.filter((line) => line.startsWith('# ')).map((line) => line.slice(2))
  const field = (of: string): string | null => head.find((line) => line.startsWith(`${of}: `))?.slice(of.length + 2) ?? null
  const [bug] = head
  const file = field('Caught by')
  if (bug === undefined || file === null) throw new Error(`${name}: the head does not say what the bug is and what catches it`)
  return { name, bug, file, test: field('Test'), hunks: hunksOf(name, lines.filter((line) => !line.startsWith('#'))) }
}

/** Line numbers are not looked at: a hunk belongs where its old lines are. */
function hunksOf(name: string, lines: readonly string[]): Hunk[] {
  const hunks: { path: string; before: string; after: string }[] = []
  let file = ''
  let at: (typeof hunks)[number] | null = null
  for (const line of lines) {
    const rest = `${line.slice(1)}\n`
    if (line.startsWith('diff ') || line.startsWith('--- ')) at = null
    else if (line.startsWith('+++ b/')) file = line.slice('+++ b/'.length)
    else if (line.startsWith('@@ ')) hunks.push(at = { path: file, before: '', after: '' })
    else if (at !== null && line.startsWith('-')) at.before += rest
    else if (at !== null && line.startsWith('+')) at.after += rest
    else if (at !== null && line.startsWith(' ')) Object.assign(at, { before: at.before + rest, after: at.after + rest })
    else if (line !== '' && !line.startsWith('\\')) throw new Error(`${name}: not a line of a patch: ${line}`)
  }
  if (hunks.length === 0) throw new Error(`${name}: changes nothing`)
  return hunks
}

/** The changed files, by path below `root`. Throws when the old lines of a hunk are not there exactly once. */
export function applied(mutant: Mutant, root: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const hunk of mutant.hunks) {
    const text = files.get(hunk.path) ?? `\n${readFileSync(path.join(root, hunk.path), 'utf8')}`
    const [start, end, ...more] = text.split(`\n${hunk.before}`)
    if (start === undefined || end === undefined || more.length > 0) throw new Error(`${mutant.name}: its lines are ${end === undefined ? 'not' : 'more than once'} in ${hunk.path}:\n${hunk.before}`)
    files.set(hunk.path, `${start}\n${hunk.after}${end}`)
  }
  return new Map([...files].map(([file, text]) => [file, text.slice(1)]))
}
