import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client } from 'pg'
import { freePort, host, launch, type LoopDelay, type Server } from './launch.ts'
import { createSigner } from './presign.ts'
import { serverEnvironment, serverFlags } from '../scripts/pinned.mjs'

export { freePort, type Server } from './launch.ts'

export const root = path.dirname(import.meta.dirname)
export const outDir = path.join(root, 'perf', 'out')

/** statfs(2): TMPFS_MAGIC. A sync there costs nothing, so figures from it say nothing. */
const tmpfsType = 0x01021994

export interface DataFolder {
  readonly path: string
  remove(): void
}

/** A new folder on a real disk; with `inMemory`, on a tmpfs, where all servers are in class T. */
export function makeDataFolder(dir: string | null, inMemory = false): DataFolder {
  mkdirSync(outDir, { recursive: true })
  const parent = dir ?? (inMemory ? '/dev/shm' : statfsSync(tmpdir()).type === tmpfsType ? outDir : tmpdir())
  if ((statfsSync(parent).type === tmpfsType) !== inMemory) throw new Error(`${parent} is ${inMemory ? 'not ' : ''}a tmpfs; give another folder by --dir`)
  const made = mkdtempSync(path.join(parent, 'holdfast-perf-'))
  return { path: made, remove: () => rmSync(made, { recursive: true, force: true }) }
}

export interface HoldfastOptions {
  readonly dataDir: string
  readonly name?: string
  /** Another checkout than this one. */
  readonly checkout?: string
  /** Arguments for Node, before the program. */
  readonly nodeArgs?: readonly string[]
  /** Runs the server inside another program (clinic); its arguments come before Node's. */
  readonly wrapper?: readonly string[]
  /** The tool that `wrapper` is replaces itself by the server, and needs no patience (strace -D). */
  readonly transparent?: boolean
  readonly env?: Readonly<Record<string, string>>
}

/** Starts the server of this checkout and waits until it answers. Rejects with what it printed when it ends before that. */
export async function startHoldfast({ dataDir, name = 'holdfast', checkout = root, nodeArgs = [], wrapper = [], transparent = false, env = {} }: HoldfastOptions): Promise<Server> {
  const [port, controlPort] = [await freePort(), await freePort()]
  const keys = { accessKeyId: 'HOLDFASTPERF', secretAccessKey: randomBytes(24).toString('base64url') }
  return launch({
    name, port, keys, cwd: outDir, wrapped: wrapper.length > 0 && !transparent,
    command: [...wrapper, process.execPath, ...serverFlags, ...nodeArgs, path.join(checkout, 'src', 'main.ts')],
    env: {
      // As `npm start` has it: the same flags, and types are stripped and code is compiled once, not by every thread of every start.
      ...serverEnvironment(withoutHoldfast(process.env)), NODE_COMPILE_CACHE: path.join(root, 'node_modules', '.cache', 'holdfast'), HOLDFAST_DATA_DIR: dataDir, HOLDFAST_HOST: host, HOLDFAST_PORT: String(port), HOLDFAST_CONTROL_PORT: String(controlPort),
      HOLDFAST_ROOT_ACCESS_KEY: keys.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: keys.secretAccessKey, HOLDFAST_LOG_LEVEL: 'warn', ...env,
    },
    controlPort,
    loopDelay: () => loopDelayOf(controlPort, keys),
  })
}

async function loopDelayOf(port: number, keys: { readonly accessKeyId: string; readonly secretAccessKey: string }): Promise<LoopDelay | null> {
  const target = createSigner({ host: `${host}:${port}`, region: 'us-east-1', ...keys }).path('GET', 'debug', 'runtime', { reset: '' })
  const answer = await fetch(`http://${host}:${port}${target}`)
  if (answer.status !== 200) {
    await answer.body?.cancel()
    return null
  }
  return (await answer.json() as { eventLoopDelayMs?: LoopDelay }).eventLoopDelayMs ?? null
}

/**
 * The settings that a durable answer rests on, asked from the running PostgreSQL, and what the server itself promises for the bytes
 * of objects. Throws when one is not as it must be: figures of such a run would compare a promise with none.
 */
export async function durabilityOf(dataDir: string, { controlPort }: Pick<Server, 'controlPort'>, wanted: 'strict' | 'relaxed' = 'strict'): Promise<Record<string, string>> {
  const health = await (await fetch(`http://${host}:${controlPort}/health/live`)).json() as { readonly durability?: string }
  // A server that does not say so knows only the one.
  const durability = health.durability ?? 'strict'
  if (durability !== wanted) throw new Error(`The server runs ${durability}, not ${wanted}.`)
  return withDatabase(dataDir, async (client) => {
    const settings: Record<string, string> = { durability }
    for (const name of ['fsync', 'synchronous_commit', 'full_page_writes']) {
      const { rows } = await client.query<Record<string, string>>(`SHOW ${name}`)
      settings[name] = rows[0]?.[name] ?? ''
      if (settings[name] !== 'on') throw new Error(`${name} is ${settings[name]}: this run would not be durable.`)
    }
    return settings
  })
}

/** Bytes of all tables and indexes of the metadata. */
export async function metadataBytesOf(dataDir: string): Promise<number> {
  return withDatabase(dataDir, async (client) => {
    const { rows } = await client.query<{ bytes: string }>('SELECT pg_database_size(current_database()) AS bytes')
    return Number(rows[0]?.bytes ?? 0)
  })
}

async function withDatabase<T>(dataDir: string, ask: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ host: path.join(dataDir, 'postgres-socket'), port: 5432, user: 'holdfast', database: 'holdfast' })
  await client.connect()
  try {
    return await ask(client)
  } finally {
    await client.end()
  }
}

function withoutHoldfast(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('HOLDFAST_')))
}
