import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const source = fileURLToPath(new URL('journal.c', import.meta.url))
const beside = fileURLToPath(new URL('../../../test-results/journal', import.meta.url))
/** The loader takes a space or a colon in LD_PRELOAD for the end of a name: a checkout below such a folder has its library elsewhere. */
const cache = /[\s:]/.test(beside) ? path.join(tmpdir(), `holdfast-journal-${userInfo().uid}`) : beside

export const journalLibrary = (): Promise<string> => preloadedLibrary(source, 'Faults of the disk')

/** Builds a library for LD_PRELOAD when this version of it was not built yet; its path. Rejects with what to install where there is no C compiler. */
export async function preloadedLibrary(file: string, what: string): Promise<string> {
  if (process.platform !== 'linux') throw new Error(`${what} need LD_PRELOAD, which ${process.platform} does not have: run this on Linux.`)
  const version = createHash('sha256').update(await readFile(file)).digest('hex').slice(0, 16)
  const library = path.join(cache, `${path.basename(file, '.c')}-${version}.so`)
  if (existsSync(library)) return library
  await mkdir(cache, { recursive: true, mode: 0o700 })
  // Several runs may build it at once: each gets it whole.
  const fresh = `${library}.${process.pid}`
  try {
    await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-o', fresh, file, '-ldl', '-pthread'])
  } catch (cause) {
    throw new Error(`${what} need a C compiler: install Debian's packages gcc and libc6-dev (apt-get install gcc libc6-dev).`, { cause })
  }
  await rename(fresh, library)
  return library
}

/** Why tests of faults of the disk cannot run on this machine, which needs nothing but Node and npm otherwise; null where they can. In CI they must. */
export async function journalMissing(): Promise<string | null> {
  if (process.env['CI'] === 'true') return null
  return journalLibrary().then(() => null, (error: Error) => error.message)
}

/** Variables that make a program write down what it does below `root`, and suffer what is asked for through `control`. */
export function journalEnvironment(library: string, options: { root: string; journal: string; control?: string }): Record<string, string> {
  return {
    LD_PRELOAD: library, JOURNAL_ROOT: options.root, JOURNAL_FILE: options.journal,
    ...(options.control === undefined ? {} : { JOURNAL_CONTROL: options.control }),
    // The ring takes calls to the kernel past every library.
    UV_USE_IO_URING: '0',
  }
}
