#!/usr/bin/env node
/**
 * `npm run check:image`: builds the image on a base of its own and runs it as an operator would: its own user, a read-only root file
 * system, no capability. Needs root and Debian's packages buildah and debootstrap; no container engine. The last line is
 * "N passed, N failed".
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from './free-ports.mjs'
import { isPinned, pinnedNode, runNode } from './pinned.mjs'

const root = path.resolve(import.meta.dirname, '..')
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'holdfast', 'image')
const store = ['--root', path.join(cache, 'containers'), '--runroot', path.join(cache, 'run'), '--storage-driver', 'vfs']
const sizeMegabytesMax = 350
const user = 10001
/** What surrounds a client of the server: the program's own variables are not meant for it. */
const outside = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_')))
let passed = 0
let failed = 0

const run = (command, args, options = {}) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 * 1024 ** 2, ...options })?.trim() ?? ''
const buildah = (...args) => run('buildah', [...store, ...args])

function check(what, good, detail = '') {
  if (good) passed += 1
  else failed += 1
  console.log(`${what}: ${good ? 'ok' : 'FAILED'}${detail === '' ? '' : ` (${detail})`}`)
}

function needed() {
  if (process.getuid() !== 0) return 'Run it as root: a root file system is made by chroot.'
  for (const tool of ['buildah', 'debootstrap', 'unshare', 'setpriv']) {
    try {
      run('sh', ['-c', `command -v ${tool}`])
    } catch {
      return `${tool} is missing: apt-get install buildah debootstrap util-linux`
    }
  }
  return null
}

/** A small Debian with the pinned Node, as the base of the image. Made once for each version of Node. */
function base() {
  const name = `localhost/holdfast-base:node-${run(pinnedNode(), ['--version'])}`
  if (buildah('images', '--format', '{{.Name}}:{{.Tag}}').split('\n').includes(name)) return name
  const tree = path.join(cache, 'debian')
  if (!existsSync(path.join(tree, 'done'))) {
    rmSync(tree, { recursive: true, force: true })
    mkdirSync(tree, { recursive: true })
    const release = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable'
    run('debootstrap', ['--variant=minbase', '--include=ca-certificates,libatomic1', release, tree, ...mirror()], { stdio: ['ignore', 'ignore', 'inherit'] })
    for (const folder of ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/locale', 'usr/share/man']) rmSync(path.join(tree, folder), { recursive: true, force: true })
    writeFileSync(path.join(tree, 'done'), '')
  }
  const node = path.join(tree, 'usr', 'local')
  cpSync(pinnedNode(), path.join(node, 'bin', 'node'))
  const npm = path.dirname(path.dirname(run('sh', ['-c', 'readlink -f "$(command -v npm)"'])))
  cpSync(npm, path.join(node, 'lib', 'node_modules', 'npm'), { recursive: true, dereference: true })
  // Whom this machine trusts, the build does: it may be behind a proxy with a certificate of its own.
  const trusted = '/etc/ssl/certs/ca-certificates.crt'
  cpSync(trusted, path.join(tree, trusted))
  writeFileSync(path.join(node, 'bin', 'npm'), `#!/bin/sh\nNODE_EXTRA_CA_CERTS=${trusted} exec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n`, { mode: 0o755 })
  const container = buildah('from', 'scratch')
  buildah('add', '--quiet', container, tree, '/')
  buildah('config', '--env', 'PATH=/usr/local/bin:/usr/bin:/bin', container)
  buildah('commit', '--quiet', container, name)
  buildah('rm', container)
  return name
}

/** All but the base, for which the next run would wait; what runs that were killed left behind goes, too. */
function tidyUp(baseName) {
  buildah('rm', '--all')
  rmSync(path.join(cache, 'debian'), { recursive: true, force: true })
  const images = JSON.parse(buildah('images', '--json'))
  for (const { id, names } of images) if (names?.includes(baseName) !== true) buildah('rmi', '--force', id)
}

/** The one that this machine installs from. */
function mirror() {
  const lists = ['/etc/apt/sources.list', ...(existsSync('/etc/apt/sources.list.d') ? readdirSync('/etc/apt/sources.list.d').map((name) => `/etc/apt/sources.list.d/${name}`) : [])]
  const text = lists.filter(existsSync).map((file) => readFileSync(file, 'utf8')).join('\n').replace(/^#.*$/gm, '')
  const found = /^URIs:\s*(\S+)/m.exec(text)?.[1] ?? /^deb\s+(?:\[[^\]]*\]\s*)?(\S+)/m.exec(text)?.[1]
  return found === undefined ? [] : [found]
}

// Read-only root and the volume, nothing else that could be written: what `docker run --read-only` gives; then the image's user without any capability.
const confined = `set -e
  mount --bind "$0" "$0"; mount --bind "$1" "$0/data"; mount -o remount,bind,ro "$0"
  mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"
  shift
  exec /usr/sbin/chroot "$0" /usr/bin/setpriv --reuid ${user} --regid ${user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"`
const confine = (tree, data, command) => ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', confined, tree, data, ...command]

/** Starts the image's command with these settings, uses it, and stops it. `name` is what the lines of the report begin with; `file`: the ports are in a file. */
async function serveAndUse(name, { tree, data, image, settings, file = false }) {
  const [port, controlPort] = await freePorts(2)
  const credentials = { HOLDFAST_ROOT_ACCESS_KEY: 'CHECKIMAGEKEY', HOLDFAST_ROOT_SECRET_KEY: 'check-image-secret-key' }
  if (file) writeFileSync(path.join(data, 'holdfast.yaml'), `port: ${port}\ncontrolPort: ${controlPort}\n`)
  const ports = file ? { HOLDFAST_CONFIG: '/data/holdfast.yaml' } : { HOLDFAST_PORT: String(port), HOLDFAST_CONTROL_PORT: String(controlPort) }
  const env = { ...image.environment, ...credentials, ...settings, ...ports }
  const began = performance.now()
  const child = spawn('unshare', confine(tree, data, image.Entrypoint), { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { said += bytes.toString() })
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)))
  try {
    const until = Date.now() + 60_000
    for (;;) {
      if (await fetch(`http://127.0.0.1:${controlPort}/health/ready`).then((answer) => answer.ok, () => false)) break
      if (Date.now() > until || child.exitCode !== null) throw new Error('The server did not start.')
      await sleep(20)
    }
    check(`${name}: starts`, true, `${((performance.now() - began) / 1000).toFixed(2)} s`)
    const status = readFileSync(`/proc/${inner(child.pid)}/status`, 'utf8')
    check(`${name}: process 1 is node, not root, without capabilities`, /^Name:\s+(?:node|MainThread|node-MainThread)/m.test(status) && /^Uid:\s+10001\s/m.test(status) && /^CapEff:\s+0+$/m.test(status) && /^NSpid:\s+\d+\s+1$/m.test(status))
    run('nsenter', ['--target', String(inner(child.pid)), '--mount', '--pid', '--root', '--', ...image.Healthcheck.Test.slice(1)], { env })
    check(`${name}: its health check passes`, true)
    const round = run(process.execPath, [path.join(root, 'scripts', 'start.mjs'), 'check-endpoint', `http://127.0.0.1:${port}`], { env: { ...outside, ...credentials } })
    check(`${name}: a round of PUT, GET, LIST and DELETE`, true, round.split('\n').at(-1))
    process.kill(inner(child.pid), 'SIGTERM')
    const code = await Promise.race([ended, sleep(30_000).then(() => 'no end within 30 s')])
    check(`${name}: SIGTERM ends it with 0`, code === 0, String(code))
  } catch (error) {
    check(`${name}: runs`, false, `${error instanceof Error ? error.message : error}\n${said}`)
  } finally {
    child.kill('SIGKILL')
  }
}

/** The server's and those of an operator: first start, second one with two server processes, external PostgreSQL. */
async function serveInAllWays(tree) {
  const config = JSON.parse(buildah('inspect', '--type', 'image', 'localhost/holdfast:check')).Docker.config
  const image = { ...config, environment: Object.fromEntries(config.Env.map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)])) }
  const [own, other] = [volume(), volume()]
  try {
    // It ends over the file that is not there, and has loaded what reads one by then, which the help has not.
    const looked = spawnSync('unshare', confine(tree, own, image.Entrypoint), { env: { ...image.environment, HOLDFAST_CONFIG: '/nowhere.yaml', NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }, encoding: 'utf8' })
    const [taken, missed] = [/success, size=/g, /(?:reading cache|loading).*?(?:failed|mismatch|cannot)/gi].map((pattern) => [...`${looked.stdout}${looked.stderr}`.matchAll(pattern)].length)
    check('its user starts from compiled code', taken > 100 && missed === 0, `${taken} files`)
    await serveAndUse('first start', { tree, image, data: own, settings: {} })
    await serveAndUse('second start, two processes, a configuration file', { tree, image, data: own, settings: { HOLDFAST_PROCESSES: '2' }, file: true })
    const { startExternalPostgres } = await import('../test/support/external-postgres.ts')
    const database = await startExternalPostgres()
    try {
      await serveAndUse('external PostgreSQL', { tree, image, data: other, settings: { HOLDFAST_DATABASE_URL: database.url } })
    } finally {
      await database.remove()
    }
  } finally {
    for (const folder of [own, other]) rmSync(folder, { recursive: true, force: true })
  }
}

/** As a container engine makes one: empty, the user's. */
function volume() {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-image-'))
  chownSync(folder, user, user)
  return folder
}

/** The process in the namespace: the child of `unshare`. */
function inner(pid) {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0])
}

// The tests' PostgreSQL is TypeScript.
if (!isPinned()) process.exit(await runNode([import.meta.filename]))
const missing = needed()
if (missing !== null) {
  console.error(missing)
  process.exit(2)
}
mkdirSync(cache, { recursive: true })
const registry = run('npm', ['config', 'get', 'registry'])
const baseName = base()
const began = performance.now()
buildah('bud', '--quiet', '--isolation', 'chroot', '--layers=false', '--build-arg', `BASE=${baseName}`, '--build-arg', `NPM_CONFIG_REGISTRY=${registry}`, '--format', 'docker', '-t', 'localhost/holdfast:check', root)
check('builds', true, `${((performance.now() - began) / 1000).toFixed(0)} s`)
const container = buildah('from', 'localhost/holdfast:check')
try {
  const tree = buildah('mount', container)
  const [total, app] = [tree, path.join(tree, 'app')].map((folder) => Number(run('du', ['-sxm', folder]).split('\t')[0]))
  check(`is below ${sizeMegabytesMax} MB unpacked`, total < sizeMegabytesMax, `${total} MB, of which ${app} are the program`)
  await serveInAllWays(tree)
  mkdirSync(path.join(root, 'test-results'), { recursive: true })
  writeFileSync(path.join(root, 'test-results', 'sbom.cyclonedx.json'), run('npm', ['sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev', '--package-lock-only'], { cwd: root }))
  check('its parts are listed', true, 'test-results/sbom.cyclonedx.json')
} finally {
  buildah('rm', container)
  tidyUp(baseName)
}
console.log(`\n${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
