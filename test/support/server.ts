import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { S3Client } from '@aws-sdk/client-s3'
import { inject } from 'vitest'
import { layCluster } from './cluster.ts'
import { familyOf, signalAll } from './processes.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const startMsMax = 60_000

/** Where a server is and who may use it; plain data, so that it can be handed to other processes. */
export interface ServerAddress {
  /** `http://127.0.0.1:PORT` of the S3 port, or https. */
  readonly url: string
  readonly endpoint: string
  readonly controlUrl: string
  readonly port: number
  readonly controlPort: number
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly accessKey: string
  readonly secretKey: string
  readonly region: string
  readonly dataDir: string
}

export interface TestServer extends ServerAddress {
  /** The SDK with its default settings, in path style, without retries. */
  readonly client: S3Client
  readonly pid: number
  /** What the server wrote so far: standard output and standard error. */
  output(): string
  /** SIGTERM, then waits for the exit code. */
  stop(): Promise<number | null>
  /** SIGKILL to the server and its PostgreSQL at once, as a loss of power would. */
  kill9(): Promise<void>
  /** SIGKILL to the server alone: its PostgreSQL is left behind without a parent. */
  killServer(): Promise<void>
  /** SIGKILL to the embedded PostgreSQL alone. */
  killPostgres(): Promise<void>
  /** Resolves with the exit code when the server has ended, by whatever cause. */
  exited(): Promise<number | null>
  /** Starts again on the same data folder and the same ports, after `stop` or `kill9`. */
  restart(env?: Readonly<Record<string, string>>): Promise<void>
  /** Stops when it runs, and removes the data folder. */
  remove(): Promise<void>
}

export interface StartOptions {
  /** Further HOLDFAST_ variables; they win over the defaults of the tests. */
  readonly env?: Readonly<Record<string, string>>
  /** A folder to use as it is, and to keep; else a temporary one with a cluster in it, that `remove` deletes. */
  readonly dataDir?: string
  /** Another checkout than this one. */
  readonly checkout?: string
  /** What runs the server: a program that becomes Node, with its arguments. */
  readonly wrapper?: readonly string[]
}

interface Running {
  readonly child: ChildProcess
  readonly exited: Promise<number | null>
  readonly ports: { readonly port: number; readonly controlPort: number }
}

/** Starts a real server process on free ports with a data folder of its own. Rejects with its output when it does not start. */
export async function startServer({ env = {}, dataDir: given, checkout = root, wrapper = [] }: StartOptions = {}): Promise<TestServer> {
  const dataDir = given ?? await mkdtemp(path.join(tmpdir(), 'holdfast-test-'))
  const accessKeyId = env['HOLDFAST_ROOT_ACCESS_KEY'] ?? `TEST${randomBytes(8).toString('hex').toUpperCase()}`
  const secretAccessKey = env['HOLDFAST_ROOT_SECRET_KEY'] ?? randomBytes(20).toString('hex')
  const defaults = { HOLDFAST_DATA_DIR: dataDir, HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0', HOLDFAST_ROOT_ACCESS_KEY: accessKeyId, HOLDFAST_ROOT_SECRET_KEY: secretAccessKey, HOLDFAST_PROCESSES: '1', HOLDFAST_LOG_LEVEL: 'info' }
  if (given === undefined && env['HOLDFAST_DATABASE_URL'] === undefined) await layCluster(dataDir)
  const chunks: string[] = []
  const command = [...wrapper, process.execPath, path.join(checkout, 'src', 'main.ts')]
  let running = await launch(command, { ...defaults, ...env }, chunks)
  const { port, controlPort } = running.ports
  const region = env['HOLDFAST_REGION'] ?? 'us-east-1'
  const scheme = env['HOLDFAST_TLS_CERT_FILE'] === undefined ? 'http' : 'https'
  const url = `${scheme}://127.0.0.1:${port}`
  const client = new S3Client({ endpoint: url, region, forcePathStyle: true, maxAttempts: 1, credentials: { accessKeyId, secretAccessKey } })
  const stop = async (): Promise<number | null> => {
    running.child.kill('SIGTERM')
    return running.exited
  }
  return {
    url, endpoint: url, controlUrl: `${scheme}://127.0.0.1:${controlPort}`, port, controlPort, accessKeyId, secretAccessKey, accessKey: accessKeyId, secretKey: secretAccessKey, region, dataDir, client,
    get pid() {
      return running.child.pid as number
    },
    output: () => chunks.join(''),
    stop,
    async kill9() {
      const postmaster = await postmasterPid(running.child.pid, dataDir)
      const family = postmaster === null ? [] : await familyOf(postmaster)
      signalAll([running.child.pid as number, ...family], 'SIGKILL')
      await running.exited
    },
    async killServer() {
      running.child.kill('SIGKILL')
      await running.exited
    },
    async killPostgres() {
      const postmaster = await postmasterPid(running.child.pid, dataDir)
      if (postmaster !== null) signalAll(await familyOf(postmaster), 'SIGKILL')
    },
    exited: () => running.exited,
    async restart(more = {}) {
      running = await launch(command, { ...defaults, ...env, HOLDFAST_PORT: String(port), HOLDFAST_CONTROL_PORT: String(controlPort), ...more }, chunks)
    },
    async remove() {
      client.destroy()
      await stop()
      if (given === undefined) await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/**
 * Runs the server where it must not start: its exit code and all that it wrote. It is killed, alone, after so many
 * milliseconds or when the promise settles, wherever its start has come to by then.
 */
export async function failedStart(env: Readonly<Record<string, string>>, killed: number | Promise<unknown> = startMsMax): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [path.join(root, 'src', 'main.ts')], { cwd: root, env: environment({ HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0', ...env }), stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const kill = (): boolean => child.kill('SIGKILL')
  const timer = setTimeout(kill, typeof killed === 'number' ? killed : startMsMax)
  if (typeof killed !== 'number') void killed.then(kill, kill)
  // One that is killed leaves children behind that hold the pipes: they would put `close` off.
  const code = await new Promise<number | null>((resolve) => child.once(killed === startMsMax ? 'close' : 'exit', resolve))
  clearTimeout(timer)
  return { code, output }
}

/** The server that all files of test/s3 share; each file uses buckets of its own. */
export function sharedServer(): ServerAddress {
  return inject('holdfast')
}

/** Only these variables of the caller reach the server: a HOLDFAST_ variable of the developer's shell must not change a test. */
export function foreignVariables(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name, value]) => value !== undefined && !name.startsWith('HOLDFAST_') && name !== 'NODE_OPTIONS') as [string, string][]
  return Object.fromEntries(kept)
}

function environment(own: Readonly<Record<string, string>>): Record<string, string> {
  return { ...foreignVariables(), NODE_COMPILE_CACHE: path.join(root, 'node_modules', '.cache', 'holdfast'), ...own }
}

function launch([program = '', ...args]: readonly string[], env: Readonly<Record<string, string>>, chunks: string[]): Promise<Running> {
  const child = spawn(program, args, { cwd: root, env: environment(env), stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  let banner = ''
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(`The server did not start (${reason}):\n${chunks.join('')}`))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      fail('it took too long')
    }, startMsMax)
    child.stdout?.on('data', (chunk: Buffer) => {
      chunks.push(chunk.toString())
      banner += chunk.toString()
      const found = /S3 endpoint\s+https?:\/\/[^:\s]+:(\d+)\s+Control\s+https?:\/\/[^:\s]+:(\d+)\s/.exec(banner)
      if (found === null) return
      clearTimeout(timer)
      resolve({ child, exited, ports: { port: Number(found[1]), controlPort: Number(found[2]) } })
    })
    child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk.toString()))
    child.once('error', (error) => fail(error.message))
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      fail(`it ended with ${signal ?? code}`)
    })
  })
}

/** First line of `postmaster.pid`, as the server sees it; null when no embedded PostgreSQL runs. */
async function postmasterPid(server: number | undefined, dataDir: string): Promise<number | null> {
  const seen = path.join(`/proc/${server}/root`, dataDir)
  const folder = existsSync(seen) ? seen : dataDir
  const text = await readFile(path.join(folder, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '')
  const pid = Number(text.split('\n')[0])
  return Number.isSafeInteger(pid) && pid > 0 ? pid : null
}

declare module 'vitest' {
  export interface ProvidedContext {
    holdfast: ServerAddress
  }
}
