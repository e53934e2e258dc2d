import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { freePort, host, launch, type DurabilityClass, type Server } from './launch.ts'
import { durabilityOf, root, startHoldfast } from './server.ts'

export interface Start {
  readonly dataDir: string
  /** A tool that replaces itself by the server; its arguments come before the server's. */
  readonly wrapper?: readonly string[]
  readonly nodeArgs?: readonly string[]
}

/** A server with its settings that takes part in a comparison. */
export interface Subject {
  readonly name: string
  readonly durability: Exclude<DurabilityClass, 'T'>
  /** Null: it is not installed. */
  readonly version: () => string | null
  start(options: Start): Promise<Server>
  /** Settings of the running server that the class rests on; throws when they are others. */
  settings(dataDir: string, server: Server): Promise<Readonly<Record<string, string>>>
}

const holdfast = (name: string, durability: 'strict' | 'relaxed'): Subject => ({
  name,
  durability: durability === 'strict' ? 'S' : 'R',
  version: () => (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version,
  start: ({ dataDir, wrapper = [], nodeArgs = [] }) => startHoldfast({
    dataDir, name, wrapper, nodeArgs, transparent: true, env: durability === 'strict' ? {} : { HOLDFAST_DURABILITY: durability },
  }),
  settings: (dataDir, server) => durabilityOf(dataDir, server, durability),
})

const noSettings = (): Promise<Record<string, string>> => Promise.resolve({})
const accessKeyId = 'HOLDFASTPERF'

/** One drive, as `minio server FOLDER` is; it syncs what it writes before it answers. */
const minio: Subject = {
  name: 'minio',
  durability: 'S',
  version: () => versionOf('minio'),
  async start({ dataDir, wrapper = [] }) {
    const [port, consolePort] = [await freePort(), await freePort()]
    const secretAccessKey = randomBytes(24).toString('hex')
    return launch({
      name: 'minio', port, keys: { accessKeyId, secretAccessKey }, cwd: dataDir,
      command: [...wrapper, found('minio'), 'server', '--quiet', '--address', `${host}:${port}`, '--console-address', `${host}:${consolePort}`, path.join(dataDir, 'drive')],
      env: { ...process.env, MINIO_ROOT_USER: accessKeyId, MINIO_ROOT_PASSWORD: secretAccessKey, MINIO_BROWSER: 'off', MINIO_UPDATE: 'off' },
    })
  },
  settings: noSettings,
}

/** Files and extended attributes in a folder, without a sync. Keep-alive is off unless asked for, and each request is printed. */
const versitygw: Subject = {
  name: 'versitygw',
  durability: 'R',
  version: () => versionOf('versitygw'),
  async start({ dataDir, wrapper = [] }) {
    const port = await freePort()
    const secretAccessKey = randomBytes(24).toString('hex')
    const folder = path.join(dataDir, 'gateway')
    mkdirSync(folder, { recursive: true })
    return launch({
      name: 'versitygw', port, keys: { accessKeyId, secretAccessKey }, cwd: dataDir,
      command: [...wrapper, found('versitygw'), '--quiet', '--keep-alive', '--port', `${host}:${port}`, 'posix', folder],
      env: { ...process.env, ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    })
  },
  settings: noSettings,
}

/** One node with LMDB; in class S with both of its options for syncs. */
const garage = (name: string, durability: 'S' | 'R'): Subject => ({
  name,
  durability,
  version: () => versionOf('garage'),
  async start({ dataDir, wrapper = [] }) {
    const [port, rpcPort] = [await freePort(), await freePort()]
    const config = path.join(dataDir, 'garage.toml')
    const keyFile = path.join(dataDir, 'keys.json')
    const known = existsSync(keyFile)
    const keys = known
      ? JSON.parse(readFileSync(keyFile, 'utf8')) as { accessKeyId: string; secretAccessKey: string; rpcSecret: string }
      : { accessKeyId: `GK${randomBytes(12).toString('hex')}`, secretAccessKey: randomBytes(32).toString('hex'), rpcSecret: randomBytes(32).toString('hex') }
    writeFileSync(config, [
      `metadata_dir = "${dataDir}/meta"`, `data_dir = "${dataDir}/data"`, 'db_engine = "lmdb"', 'replication_factor = 1',
      `metadata_fsync = ${durability === 'S'}`, `data_fsync = ${durability === 'S'}`,
      `rpc_bind_addr = "${host}:${rpcPort}"`, `rpc_public_addr = "${host}:${rpcPort}"`, `rpc_secret = "${keys.rpcSecret}"`,
      '[s3_api]', 's3_region = "us-east-1"', `api_bind_addr = "${host}:${port}"`, '',
    ].join('\n'))
    const command = [...wrapper, found('garage'), '-c', config, 'server']
    const env = { ...process.env, RUST_LOG: 'garage=warn' }
    if (known) return launch({ name, port, keys, cwd: dataDir, command, env })
    // The first start waits for a layout and a key, which only a running node takes.
    const started = launch({ name, port, keys, cwd: dataDir, command, env })
    await Promise.race([started, prepareGarage(config, keys)])
    writeFileSync(keyFile, JSON.stringify(keys))
    return started
  },
  settings: () => Promise.resolve({ metadata_fsync: String(durability === 'S'), data_fsync: String(durability === 'S') }),
})

async function prepareGarage(config: string, keys: { readonly accessKeyId: string; readonly secretAccessKey: string }): Promise<void> {
  const ask = (...args: readonly string[]): string => execFileSync(found('garage'), ['-c', config, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const node = await retried(() => ask('node', 'id', '-q').trim().split('@')[0] ?? '')
  await retried(() => ask('layout', 'assign', '-z', 'perf', '-c', '100G', node))
  ask('layout', 'apply', '--version', '1')
  ask('key', 'import', '--yes', '-n', 'perf', keys.accessKeyId, keys.secretAccessKey)
  ask('key', 'allow', '--create-bucket', keys.accessKeyId)
}

async function retried<T>(ask: () => T): Promise<T> {
  for (let left = 100; ; left--) {
    try {
      return ask()
    } catch (error) {
      if (left === 0) throw error
      await new Promise((resolve) => {
        setTimeout(resolve, 100)
      })
    }
  }
}

export const subjects: readonly Subject[] = [
  holdfast('holdfast', 'strict'), holdfast('holdfast-relaxed', 'relaxed'), minio, versitygw, garage('garage', 'R'), garage('garage-fsync', 'S'),
]

/** The program of a peer: `MINIO_BIN` and so on, PATH, or where `go install` and `cargo install` put it. */
function binaryOf(name: string): string | null {
  const named = process.env[`${name.toUpperCase()}_BIN`]
  if (named !== undefined && named !== '') {
    if (!runs(named)) throw new Error(`${name.toUpperCase()}_BIN is ${named}, which is no program`)
    return path.resolve(named)
  }
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter), process.env.GOBIN ?? '', path.join(process.env.GOPATH ?? path.join(homedir(), 'go'), 'bin'), path.join(homedir(), '.cargo', 'bin'),
  ]
  return folders.filter((folder) => folder !== '').map((folder) => path.join(folder, name)).find(runs) ?? null
}

function found(name: string): string {
  const binary = binaryOf(name)
  if (binary === null) throw new Error(`${name} is not installed`)
  return binary
}

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}

/** What the Go toolchain says about a program that it built, which names the commit when the program does not; else what it says of itself. */
function versionOf(name: string): string | null {
  const binary = binaryOf(name)
  if (binary === null) return null
  const built = printed('go', ['version', '-m', binary])
  return /^\s+mod\s+\S+\s+(\S+)/m.exec(built)?.[1] ?? printed(binary, ['--version']).split('\n')[0] ?? ''
}

function printed(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch (error) {
    if (error instanceof Error) return ''
    throw error
  }
}
