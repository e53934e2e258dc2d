import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { fields } from '../src/config-fields.ts'

/** The style of the house as tests: who may import whom, how long a file may be, what is never written. */

const root = fileURLToPath(new URL('..', import.meta.url))
const fileLinesMax = 450
/** Of a test file: a list of cases may be longer than a program. */
const testFileLinesMax = 900
/** Loose, because a factory counts with all the functions that it holds. */
const functionLinesMax = 150
const lineCharsMax = 220

interface Room {
  /** Files that other rooms may import; '*': all of them, because the room is pure. */
  readonly doors: readonly string[] | '*'
  /** Rooms whose doors it may call. Types of a door may be imported from any room that is not above. */
  readonly uses: readonly string[]
  /** Height in the house: arrows point down or sideways, never up. */
  readonly floor: number
}

const pure = ['domain', 'versioning', 'checksums', 'protocol']
const rooms: Readonly<Record<string, Room>> = {
  gateway: { doors: ['app.ts', 'control.ts', 'server.ts', 'tls.ts', 'admission.ts', 'exchange.ts', 'object-url.ts'], uses: [...pure, 'operations', 'telemetry'], floor: 4 },
  admin: { doors: '*', uses: ['domain', 'gateway', 'telemetry'], floor: 4 },
  cli: { doors: '*', uses: ['storage'], floor: 4 },
  operations: { doors: ['dispatch.ts'], uses: [...pure, 'auth', 'blobs', 'metadata'], floor: 3 },
  auth: { doors: ['auth.ts', 'policy.ts', 'chunk-signature.ts'], uses: pure, floor: 2 },
  blobs: { doors: ['blobs.ts'], uses: [...pure, 'storage', 'workers', 'auth', 'telemetry'], floor: 2 },
  workers: { doors: ['pool.ts', 'digester.ts', 'seal.ts', 'slabs.ts', 'worker.ts'], uses: [...pure, 'storage', 'auth'], floor: 2 },
  storage: { doors: ['backend.ts', 'scrub.ts', 'fsck.ts', 'fsck-repair.ts'], uses: pure, floor: 2 },
  metadata: { doors: ['store.ts'], uses: [...pure, 'telemetry'], floor: 2 },
  telemetry: { doors: ['log.ts', 'access-log.ts', 'profile.ts', 'metrics.ts', 'process-metrics.ts', 'redact.ts', 'traces.ts'], uses: ['domain'], floor: 1 },
  protocol: { doors: '*', uses: ['domain', 'checksums', 'versioning'], floor: 2 },
  versioning: { doors: '*', uses: ['domain'], floor: 1 },
  checksums: { doors: '*', uses: ['domain'], floor: 1 },
  domain: { doors: '*', uses: [], floor: 0 },
}

function filesBelow(folder: string, endings: readonly string[]): string[] {
  const absolute = path.join(root, folder)
  if (!existsSync(absolute)) return []
  return readdirSync(absolute, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((name) => endings.some((ending) => name.endsWith(ending)) && !name.includes('node_modules') && !name.startsWith(path.join('perf', 'out')) && statSync(path.join(root, name)).isFile())
    .sort()
}

const text = (file: string): string => readFileSync(path.join(root, file), 'utf8')
const source = filesBelow('src', ['.ts'])
const tests = filesBelow('test', ['.ts'])
const tools = [...filesBelow('scripts', ['.mjs', '.ts']), ...filesBelow('perf', ['.ts'])]

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

function importsOf(file: string): Import[] {
  if (file === 'drizzle.config.ts') return [...text(file).matchAll(/'(\.\/src\/[^']+\.ts)'/g)].map((match) => ({ from: file, to: path.normalize(match[1] ?? ''), typeOnly: false }))
  const found = text(file).matchAll(/^(?:import|export)\s+(type\s)?[^'"]*?from\s+'(\.[^']+)'|^import\s+()'(\.[^']+)'|\bimport\('(\.[^']+)'\)|new URL\('(\.[^']+\.ts)', import\.meta\.url\)/gm)
  return [...found].map((match) => ({
    from: file,
    to: path.join(path.dirname(file), match[2] ?? match[4] ?? match[5] ?? match[6] ?? ''),
    typeOnly: match[1] !== undefined || match[5] !== undefined,
  }))
}

/** `src/auth/auth.ts` -> `auth`; null for the files directly below src, which put the rooms together. */
function roomOf(file: string): string | null {
  const parts = file.split(path.sep)
  return parts.length > 2 ? parts[1] ?? null : null
}

function violation({ from, to, typeOnly }: Import): string | null {
  const [here, there] = [roomOf(from), roomOf(to)]
  if (here === null || here === there) return null
  const arrow = `${from} -> ${to}`
  if (there === null) return `${arrow}: only the files below src put rooms together`
  const [own, other] = [rooms[here], rooms[there]]
  if (own === undefined || other === undefined) return `${arrow}: a room that the table of this test does not know`
  if (other.doors !== '*' && !other.doors.includes(path.relative(path.join('src', there), to))) return `${arrow}: not a door`
  if (typeOnly) return other.floor > own.floor ? `${arrow}: an arrow up` : null
  return own.uses.includes(there) ? null : `${arrow}: ${here} does not call ${there}`
}

/** Lines of `files` that match, as `file:line: text`. */
function lines(files: readonly string[], pattern: RegExp): string[] {
  return files.flatMap((file) => text(file).split('\n').flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])))
}

describe('rooms', () => {
  test('import only down, and only through doors', () => {
    expect(source.flatMap(importsOf).map(violation).filter((found) => found !== null)).toEqual([])
  })

  test('are in the map of src/README.md', () => {
    const map = text('src/README.md')
    const folders = readdirSync(path.join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory() && filesBelow(path.join('src', entry.name), ['.ts']).length > 0)
    expect(folders.map((entry) => entry.name).filter((name) => !map.includes(`\`${name}/\``))).toEqual([])
  })

  test('hold no file that nothing leads to', () => {
    const reached = new Set<string>()
    const visit = (file: string): void => {
      if (reached.has(file)) return
      reached.add(file)
      for (const { to } of importsOf(file)) visit(to)
    }
    // The second one is drizzle-kit's, which generates the migrations from the schema.
    for (const start of [path.join('src', 'main.ts'), 'drizzle.config.ts']) visit(start)
    expect(source.filter((file) => !reached.has(file))).toEqual([])
  })
})

describe('sizes', () => {
  test('of files', () => {
    const long = [...source, ...tools].filter((file) => text(file).split('\n').length > fileLinesMax)
    expect([...long, ...tests.filter((file) => text(file).split('\n').length > testFileLinesMax)]).toEqual([])
  })

  test('of lines', () => {
    expect(lines(source, new RegExp(`^.{${lineCharsMax + 1},}$`))).toEqual([])
  })

  test('of functions', () => {
    const long = source.flatMap((file) => {
      const all = text(file).split('\n')
      return all.flatMap((line, index) => {
        const start = /^(\s*)(?:export )?(?:async )?(?:function|(?:const|let) \w+ = (?:async )?\(.*=> \{$)/.exec(line)
        const length = start === null ? 0 : all.slice(index).indexOf(`${start[1]}}`)
        return length > functionLinesMax ? [`${file}:${index + 1}: ${length} lines`] : []
      })
    })
    expect(long).toEqual([])
  })
})

describe('never written', () => {
  const mine = path.join('test', 'tidy.test.ts')
  const everything = [...source, ...tools, ...tests.filter((file) => file !== mine)]

  test('console in the server', () => {
    expect(lines(source, /\bconsole\./)).toEqual([])
  })

  test('a variable of the environment outside the configuration', () => {
    // Handing the whole environment to a child process is not reading it.
    expect(lines(source, /process\.env(?:\.|\[)/)).toEqual([])
    expect(lines(source.filter((file) => file !== path.join('src', 'main.ts')), /\(process\.env/)).toEqual([])
  })

  test('a way around the types', () => {
    expect(lines(everything, /:\s*any\b(?!\w)|\bas any\b|<any>|@ts-(?:ignore|expect-error|nocheck)|oxlint-disable|eslint-disable/).filter((line) => !/^\S+\s*(?:\/\/|\*|\/\*\*)/.test(line))).toEqual([])
  })

  test('an error that disappears', () => {
    expect(everything.filter((file) => /catch\s*(?:\([^)]*\))?\s*\{\s*\}|catch\(\(\)\s*=>\s*\{\s*\}\)/.test(text(file)))).toEqual([])
  })

  test('a note to do something later', () => {
    expect(lines(everything, /\b(?:TODO|FIXME|XXX|HACK)\b/)).toEqual([])
  })

  test('new URL where keys and signatures need what was sent', () => {
    const wire = source.filter((file) => ['gateway', 'protocol', 'auth', 'operations'].includes(roomOf(file) ?? ''))
    expect(lines(wire, /new URL\(/)).toEqual([])
  })

  test('a path of somebody’s machine', () => {
    expect(lines([...everything, ...filesBelow('test', ['.json', '.py'])], /(?:^|[\s'"`(=:])\/(?:work|root|home|Users)\/[\w.-]+/)).toEqual([])
  })

  test('a registry in the lockfile', () => {
    expect(lines(['package-lock.json'], /"resolved":|https?:\/\/registry\./)).toEqual([])
  })
})

describe('the manual', () => {
  const manual = existsSync(path.join(root, 'README.md')) ? text('README.md') : null

  test.runIf(manual !== null)('names every variable of the configuration and no other', () => {
    const named = new Set(manual?.match(/\b(?:HOLDFAST|OTEL)_[A-Z0-9_]+\b/g))
    const known = ['HOLDFAST_CONFIG', ...fields.map((field) => field.variable)]
    expect([...named].filter((name) => !known.includes(name))).toEqual([])
    expect(known.filter((name) => !named.has(name))).toEqual([])
  })

  test('of the scripts: each file that package.json names is there', () => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> }
    const named = Object.values(scripts).flatMap((script) => script.match(/[\w/-]+\.(?:mjs|ts)\b/g) ?? [])
    expect(named.filter((file) => !existsSync(path.join(root, file)))).toEqual([])
  })

  test('version.ts has the version of package.json', () => {
    const { version } = JSON.parse(text('package.json')) as { version: string }
    expect(text(path.join('src', 'version.ts'))).toContain(`const programVersion = '${version}'`)
  })
})

test('the README says of each production dependency why it is there', () => {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: object; optionalDependencies: object }
  const section = /## Dependencies\n([\s\S]*?)\n## /.exec(readFileSync('README.md', 'utf8'))?.[1] ?? ''
  const named = [...section.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string)
  const covers = (pattern: string, name: string): boolean => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern)
  const packages = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)]
  expect(packages.filter((name) => !named.some((pattern) => covers(pattern, name)))).toEqual([])
  expect(named.filter((pattern) => !packages.some((name) => covers(pattern, name)))).toEqual([])
})
