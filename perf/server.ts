import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { request } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { createSigner, type Signer } from './presign.ts'
import { serverEnvironment, serverFlags } from '../scripts/pinned.mjs'

/** A server that the scenarios can be run against. Another one (a peer) is another function that makes this. */
export interface Server {
  readonly name: string
  readonly host: string
  readonly port: number
  /** Its helper processes are the descendants of this one. */
  readonly pid: number
  readonly signer: Signer
  /** From the start of the process to the first answer of 200 to a signed request. */
  readonly startSeconds: number
  stop(): Promise<void>
}

export const root = path.dirname(import.meta.dirname)
export const outDir = path.join(root, 'perf', 'out')

const startMsMax = 60_000
const stopMsMax = 30_000
const reportMsMax = 600_000
/** statfs(2): TMPFS_MAGIC. A sync there costs nothing, so figures from it say nothing. */
const tmpfsType = 0x01021994

export interface DataFolder {
  readonly path: string
  remove(): void
}

/** A new folder on a real disk. */
export function makeDataFolder(dir: string | null): DataFolder {
  mkdirSync(outDir, { recursive: true })
  const parent = dir ?? (statfsSync(tmpdir()).type === tmpfsType ? outDir : tmpdir())
  if (statfsSync(parent).type === tmpfsType) throw new Error(`${parent} is a tmpfs; give a folder on a disk by --dir`)
  const made = mkdtempSync(path.join(parent, 'holdfast-perf-'))
  return { path: made, remove: () => rmSync(made, { recursive: true, force: true }) }
}

export interface HoldfastOptions {
  readonly dataDir: string
  /** Another checkout than this one. */
  readonly checkout?: string
  /** Arguments for Node, before the program. */
  readonly nodeArgs?: readonly string[]
  /** Runs the server inside another program (clinic); its arguments come before Node's. */
  readonly wrapper?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Starts the server of this checkout and waits until it answers. Rejects with what it printed when it ends before that. */
export async function startHoldfast({ dataDir, checkout = root, nodeArgs = [], wrapper = [], env = {} }: HoldfastOptions): Promise<Server> {
  const host = '127.0.0.1'
  const [port, controlPort] = [await freePort(), await freePort()]
  const keys = { accessKeyId: 'HOLDFASTPERF', secretAccessKey: randomBytes(24).toString('base64url') }
  const signer = createSigner({ host: `${host}:${port}`, region: 'us-east-1', ...keys })
  const [command = process.execPath, ...args] = [...wrapper, process.execPath, ...serverFlags, ...nodeArgs, path.join(checkout, 'src', 'main.ts')]
  const startedAt = performance.now()
  const child = spawn(command, args, {
    cwd: outDir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      // As `npm start` has it: the same flags, and types are stripped and code is compiled once, not by every thread of every start.
      ...serverEnvironment(withoutHoldfast(process.env)), NODE_COMPILE_CACHE: path.join(root, 'node_modules', '.cache', 'holdfast'), HOLDFAST_DATA_DIR: dataDir, HOLDFAST_HOST: host, HOLDFAST_PORT: String(port), HOLDFAST_CONTROL_PORT: String(controlPort),
      HOLDFAST_ROOT_ACCESS_KEY: keys.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: keys.secretAccessKey, HOLDFAST_LOG_LEVEL: 'warn', ...env,
    },
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-8192)
    })
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null
  while (!(await answers(host, port, signer.path('GET', '', '')))) {
    if (ended()) throw new Error(`The server ended before it answered:\n${printed}`)
    if (performance.now() - startedAt > startMsMax) {
      child.kill('SIGKILL')
      throw new Error(`The server did not answer within ${startMsMax / 1000} s:\n${printed}`)
    }
    await sleep(5)
  }
  const startSeconds = (performance.now() - startedAt) / 1000
  const stop = async (): Promise<void> => {
    // A wrapper ends by itself after the server, which its user has to stop, and may then work for minutes on its report.
    if (!ended() && wrapper.length === 0) child.kill('SIGTERM')
    const force = setTimeout(() => child.kill('SIGKILL'), wrapper.length > 0 ? reportMsMax : stopMsMax)
    await exited
    clearTimeout(force)
    if (child.exitCode !== 0) process.stderr.write(`The server ended with ${child.exitCode ?? child.signalCode}:\n${printed}\n`)
  }
  return { name: 'holdfast', host, port, pid: child.pid ?? 0, signer, startSeconds, stop }
}

/**
 * The settings that a durable answer rests on, asked from the running PostgreSQL. Throws when one is off: figures of such a run
 * would compare a promise with none.
 */
export async function durabilityOf(dataDir: string): Promise<Record<string, string>> {
  const client = new Client({ host: path.join(dataDir, 'postgres-socket'), port: 5432, user: 'holdfast', database: 'holdfast' })
  await client.connect()
  try {
    const settings: Record<string, string> = {}
    for (const name of ['fsync', 'synchronous_commit', 'full_page_writes']) {
      const { rows } = await client.query<Record<string, string>>(`SHOW ${name}`)
      settings[name] = rows[0]?.[name] ?? ''
      if (settings[name] !== 'on') throw new Error(`${name} is ${settings[name]}: this run would not be durable.`)
    }
    return settings
  } finally {
    await client.end()
  }
}

function withoutHoldfast(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('HOLDFAST_')))
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function answers(host: string, port: number, target: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: target, agent: false }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode === 200))
    })
    asked.on('error', () => resolve(false))
    asked.end()
  })
}
