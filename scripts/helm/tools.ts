import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'

/**
 * The tools of the check: `helm` of the PATH, else one that Go builds; kubernetes-validate, which brings Kubernetes' schemas, in a Python
 * environment of its own. Both are kept below the user's cache folder ($XDG_CACHE_HOME/holdfast or ~/.cache/holdfast).
 */
const helmVersion = 'v3.22.0'
const validateVersion = '1.37.0'

export const cacheFolder = path.join(process.env['XDG_CACHE_HOME'] || path.join(homedir(), '.cache'), 'holdfast')

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 64 * 1024 ** 2 })
  return { code: status ?? 127, stdout: stdout ?? '', stderr: error === undefined ? stderr ?? '' : error.message }
}

/** Something is missing and cannot be installed; the message says what to do. */
export class ToolMissing extends Error {}

const works = (command: string, ...args: readonly string[]): boolean => run(command, args).code === 0

/** Path of a helm of version 3 or later. */
export function findHelm(): string {
  if (works('helm', 'version', '--short')) return 'helm'
  const kept = path.join(cacheFolder, 'bin', `helm-${helmVersion}`)
  if (existsSync(kept)) return kept
  if (!works('go', 'version')) throw new ToolMissing('helm is missing, and so is Go, which could build it: put helm (version 3 or later) or go on the PATH')
  process.stderr.write(`Building helm ${helmVersion} with Go into ${kept} (this happens once, and takes some minutes) ...\n`)
  const work = path.join(cacheFolder, 'go')
  const [bin, gopath] = [path.join(work, 'bin'), path.join(work, 'path')]
  mkdirSync(bin, { recursive: true })
  const built = run('go', ['install', `helm.sh/helm/v3/cmd/helm@${helmVersion}`], { GOBIN: bin, GOPATH: gopath, GOCACHE: path.join(work, 'cache'), GOFLAGS: '-modcacherw' })
  if (built.code !== 0) throw new ToolMissing(`helm is missing, and Go could not build it:\n${built.stderr.split('\n').slice(-15).join('\n')}`)
  mkdirSync(path.dirname(kept), { recursive: true })
  if (!works('cp', path.join(bin, 'helm'), `${kept}.new`) || !works('mv', `${kept}.new`, kept)) throw new ToolMissing(`helm could not be put at ${kept}`)
  // Sources and objects take more than a gigabyte and are needed no more.
  rmSync(work, { recursive: true, force: true })
  return kept
}

/** Path of a Python that has kubernetes-validate. */
export function findValidator(): string {
  if (works('python3', '-c', 'import kubernetes_validate')) return 'python3'
  const folder = path.join(cacheFolder, `kubernetes-validate-${validateVersion}`)
  const python = path.join(folder, 'bin', 'python')
  if (existsSync(python) && works(python, '-c', 'import kubernetes_validate')) return python
  process.stderr.write(`Installing kubernetes-validate ${validateVersion} into ${folder} (this happens once) ...\n`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(cacheFolder, { recursive: true })
  const made = run('python3', ['-m', 'venv', folder])
  if (made.code !== 0) throw new ToolMissing(`Python 3 with its venv module is missing (Debian: python3-venv): ${made.stderr || made.stdout}`)
  const installed = run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `kubernetes-validate==${validateVersion}`])
  if (installed.code !== 0) {
    rmSync(folder, { recursive: true, force: true })
    throw new ToolMissing(`kubernetes-validate could not be installed from PyPI: ${installed.stderr.trim()}`)
  }
  return python
}
