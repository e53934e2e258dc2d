import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { appendFile, chmod, lstat, mkdir, mkdtemp, open, readFile, readdir, realpath, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { clearLeftovers } from './leftovers.ts'
import { findProgram, type EmbeddedProgram } from './program.ts'
import { embeddedSettings } from './settings.ts'

/** Where the embedded PostgreSQL answers: what `pg` takes to connect. */
export interface EmbeddedConnection {
  /** Folder of the Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
}

export interface EmbeddedPostgres {
  readonly connection: EmbeddedConnection
  readonly pid: number
  /** Resolves when the process has ended, whoever ended it; `expected` says whether `stop` was called. */
  readonly exited: Promise<{ expected: boolean; code: number | null; signal: NodeJS.Signals | null }>
  /** Fast shutdown: ends sessions, writes a checkpoint. Idempotent. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  /** The data folder; the caller holds its lock. The cluster is `<dataDir>/postgres`. */
  readonly dataDir: string
  readonly log: (message: string) => void
  /** Default: plenty for one server process. */
  readonly connectionsMax?: number
  /** Called once a program of PostgreSQL's is at work, and this process has nothing to do but to wait: initdb, when there is no cluster yet. */
  readonly atWork?: (program: 'initdb' | 'postgres') => void
}

const connectionsMaxDefault = 40

const user = 'holdfast'
const database = 'holdfast'
/** The major version that the package carries; its clusters cannot be read by another one. */
const majorVersion = '18'
/** `sun_path` holds 108 bytes on Linux with the closing zero, 104 on macOS. */
const socketPathBytesMax = process.platform === 'darwin' ? 103 : 107
const fastStopMs = 20_000
const connectMsMax = 5000
const logBytesMax = 16 * 1024 ** 2

/**
 * Starts the private PostgreSQL on a Unix socket that only this user may reach, makes its cluster first when there is none,
 * and recovers from whatever the last run left behind. Resolves when it accepts connections.
 */
export async function startEmbedded({ dataDir, log, connectionsMax = connectionsMaxDefault, atWork }: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const folder = resolve(dataDir)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const cluster = join(folder, 'postgres')
  const program = await findProgram(folder)
  await makeCluster(program, cluster, atWork)
  const socket = await socketFolder(folder)
  try {
    await clearLeftovers(cluster, socket.path)
    await writeSettings(join(cluster, 'postgresql.conf'), embeddedSettings(connectionsMax, await diskBytes(cluster)))
    return await run(program, cluster, socket, { log, atWork })
  } catch (error) {
    await socket.remove()
    throw error
  }
}

/** initdb works in a folder of its own, so that a cluster under its final name is always complete. */
async function makeCluster(program: EmbeddedProgram, cluster: string, atWork: EmbeddedOptions['atWork']): Promise<void> {
  const version = await readFile(join(cluster, 'PG_VERSION'), 'utf8').then((text) => text.trim(), () => null)
  if (version !== null && version !== majorVersion) {
    throw new Error(`${cluster} belongs to PostgreSQL ${version}; this program carries PostgreSQL ${majorVersion}. Dump it with ${version} and restore it, or set HOLDFAST_DATABASE_URL.`)
  }
  if (version !== null) return
  const parent = join(cluster, '..')
  for (const name of await readdir(parent)) {
    // An initdb whose starter was killed may be at work in it for a moment still.
    if (name.startsWith('postgres.initdb-')) await rm(join(parent, name), { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }
  const fresh = await mkdtemp(join(parent, 'postgres.initdb-'))
  const args = ['-D', fresh, '-U', user, '-E', 'UTF8', '--locale=C', '--auth-local=trust', '--auth-host=reject', '--no-instructions']
  const made = execute(program, program.initdb, args)
  atWork?.('initdb')
  await made
  await rename(fresh, cluster)
  await syncFolder(parent)
}

/** Never half there. Where the disk is full those of before go on to hold: deletes need the database. */
async function writeSettings(path: string, settings: string): Promise<void> {
  const old = await readFile(path, 'utf8').catch(() => null)
  if (old === settings) return
  const fresh = `${path}.holdfast`
  try {
    await writeFile(fresh, settings, { mode: 0o600 })
    await rename(fresh, path)
  } catch (error) {
    await rm(fresh, { force: true })
    if (old === null || !['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

async function execute(program: EmbeddedProgram, path: string, args: readonly string[]): Promise<void> {
  const [command, ...rest] = [...program.wrapper, path, ...args]
  try {
    await promisify(execFile)(command as string, rest, { env: environment(program) })
  } catch (error) {
    throw new Error(`${path} failed: ${(error as { stderr?: string }).stderr ?? String(error)}`, { cause: error })
  }
}

async function diskBytes(folder: string): Promise<number> {
  const { blocks, bsize } = await statfs(folder)
  return blocks * bsize
}

/** What PostgreSQL and its tools see of the environment: the secrets of the server are no use to them, and whoever may read files through SQL could read them there. */
function environment(program: EmbeddedProgram): NodeJS.ProcessEnv {
  const { HOLDFAST_ROOT_SECRET_KEY: _secret, HOLDFAST_MASTER_KEY: _master, HOLDFAST_DATABASE_URL: _url, ...others } = process.env
  return { ...others, ...program.env, LC_ALL: 'C' }
}

interface SocketFolder {
  readonly path: string
  remove(): Promise<void>
}

/**
 * Inside the data folder; where that path is too long for a socket, a private folder of the system's temporary one. Its name
 * follows from the data folder, so that a database which is started again answers at the same place.
 */
async function socketFolder(dataDir: string): Promise<SocketFolder> {
  const { own, path } = await socketPath(dataDir)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const { uid } = await lstat(path)
  // In the temporary folder anybody may have been there before.
  if (process.getuid !== undefined && uid !== process.getuid()) throw new Error(`${path} belongs to another user; PostgreSQL's socket needs it.`)
  await chmod(path, 0o700)
  return { path, remove: () => (path === own ? Promise.resolve() : rm(path, { recursive: true, force: true })) }
}

async function socketPath(dataDir: string): Promise<{ own: string; path: string }> {
  const own = join(dataDir, 'postgres-socket')
  const fits = Buffer.byteLength(join(own, '.s.PGSQL.5432')) <= socketPathBytesMax
  return { own, path: fits ? own : join(tmpdir(), `holdfast-${hash('sha256', await realpath(dataDir)).slice(0, 16)}`) }
}

/** Where the PostgreSQL of a running server answers, for whoever did not start it. */
export async function embeddedConnection(dataDir: string): Promise<EmbeddedConnection> {
  return { host: (await socketPath(resolve(dataDir))).path, port: 5432, user, database }
}

async function run(program: EmbeddedProgram, cluster: string, socket: SocketFolder, { log, atWork }: Pick<EmbeddedOptions, 'log' | 'atWork'>): Promise<EmbeddedPostgres> {
  const logFile = join(cluster, '..', 'postgres.log')
  if (await stat(logFile).then((found) => found.size > logBytesMax, () => false)) await rename(logFile, `${logFile}.old`)
  await appendFile(logFile, '', { mode: 0o600 })
  const logStart = (await stat(logFile)).size
  const { child, exit } = await spawnServer(program, cluster, socket.path, logFile)
  atWork?.('postgres')
  let stopping = false
  const exited = exit.then((found) => ({ expected: stopping, ...found }))
  const stop = async () => {
    stopping = true
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT')
    const timer = setTimeout(() => child.kill('SIGQUIT'), fastStopMs)
    await exited
    clearTimeout(timer)
    await socket.remove()
  }
  const connection = { host: socket.path, port: 5432, user, database }
  try {
    await untilReady(child, connection, log)
  } catch (error) {
    await stop()
    const said = (await readFile(logFile)).subarray(logStart).toString().trim()
    throw new Error(`The embedded PostgreSQL did not start (see ${logFile}): ${said.split('\n').slice(-5).join(' | ') || String(error)}`, { cause: error })
  }
  return { connection, pid: child.pid as number, exited, stop }
}

/**
 * A backend gives its memory back to the system after each transaction and takes it again for the next one, three calls and the page
 * faults that follow. With these variables glibc keeps up to 4 MiB of it; other libraries of C do not know them.
 */
const keptMemory = { MALLOC_TRIM_THRESHOLD_: String(4 * 1024 ** 2), MALLOC_TOP_PAD_: String(256 * 1024) }

interface Spawned {
  readonly child: ChildProcess
  readonly exit: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

async function spawnServer(program: EmbeddedProgram, cluster: string, socketPath: string, logFile: string): Promise<Spawned> {
  const quoted = `"${socketPath.replaceAll('"', '""')}"`
  const args = ['-D', cluster, '-c', `unix_socket_directories=${quoted}`, '-c', 'listen_addresses=', '-c', 'unix_socket_permissions=0700']
  const [command, ...rest] = [...program.wrapper, program.postgres, ...args]
  const output = await open(logFile, 'a')
  try {
    // A process group of its own: Ctrl-C in the terminal must reach Holdfast alone, which drains before it stops the database.
    const child = spawn(command as string, rest, {
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
      env: { ...keptMemory, ...environment(program) },
    })
    child.unref()
    // Listened for from here on: one that ends at once does so before this function does.
    const exit = new Promise<Awaited<Spawned['exit']>>((ended) => child.once('exit', (code, signal) => ended({ code, signal })))
    await new Promise<void>((started, failed) => {
      child.once('spawn', started)
      child.once('error', failed)
    })
    return { child, exit }
  } finally {
    await output.close()
  }
}

/** Polls by connecting. A long recovery is waited for as long as the process lives. */
async function untilReady(child: ChildProcess, connection: EmbeddedConnection, log: (message: string) => void): Promise<void> {
  const socket = join(connection.host, '.s.PGSQL.5432')
  const startedAt = Date.now()
  let told = false
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('it ended at once')
    if (existsSync(socket)) {
      const refused = await tryConnect(connection)
      if (refused === null) return
      if (refused === '3D000') await createDatabase(connection)
      else if (refused.startsWith('28')) throw new Error(`it refuses connections (${refused})`)
    }
    if (!told && Date.now() - startedAt > 5000) {
      told = true
      log('PostgreSQL is recovering; this can take a while after a crash')
    }
    await sleep(10)
  }
}

/** Null when a connection was made, else the code of the error. */
async function tryConnect(connection: EmbeddedConnection): Promise<string | null> {
  // One that is taken and never answered must not hold up the start: the next one may be.
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: connectMsMax })
  client.on('error', () => {})
  try {
    await client.connect()
    return null
  } catch (error) {
    return (error as { code?: string }).code ?? 'unknown'
  } finally {
    client.end().catch(() => undefined)
  }
}

async function createDatabase(connection: EmbeddedConnection): Promise<void> {
  const client = new pg.Client({ ...connection, database: 'postgres' })
  await client.connect()
  await client.query(`CREATE DATABASE ${database}`)
  await client.end()
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync()
  await handle.close()
}
