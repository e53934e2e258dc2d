import { spawn } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { accessSync, constants, createReadStream } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, readlink, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

/** What a finished command left behind. */
export interface Ran {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Text for standard input; without it, standard input is empty. */
  readonly input?: string
  /** The exit status that is expected, or several; 'any' leaves the judgement to the caller. Default 0. */
  readonly status?: number | readonly number[] | 'any'
  /** Milliseconds until the command is killed. */
  readonly timeoutMs?: number
}

/** A program with its environment and its leading arguments filled in. */
export type Tool = (args: readonly string[], options?: Omit<RunOptions, 'env'>) => Promise<Ran>

const runTimeoutMs = 120_000

/**
 * Runs a program to its end, without a shell. Throws with the command line and all that it printed when its exit status is not the
 * expected one, so that a failing test shows what the tool had to say.
 */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  const child = spawn(program, args, { env: options.env, stdio: 'pipe', ...(options.cwd === undefined ? {} : { cwd: options.cwd }) })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece))
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece))
  // A program that does not read its input closes the pipe early; what it answers is judged below.
  child.stdin.on('error', (error) => stderr.push(Buffer.from(`(standard input: ${error.message})\n`)))
  child.stdin.end(options.input ?? '')
  const timeoutMs = options.timeoutMs ?? runTimeoutMs
  const timer = setTimeout(() => {
    stderr.push(Buffer.from(`(killed after ${timeoutMs} ms)\n`))
    child.kill('SIGKILL')
  }, timeoutMs)
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? -1))
  }).finally(() => clearTimeout(timer))
  const ran = { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }
  const expected = options.status ?? 0
  if (expected !== 'any' && ![expected].flat().includes(status)) {
    throw new Error(`${[program, ...args].join(' ')}\nexit status ${status}, expected ${expected}\n${ran.stderr.slice(-6000)}\n${ran.stdout.slice(-6000)}`)
  }
  return ran
}

/**
 * The absolute path of a program: Debian's own before whatever else is on the PATH, because that is the version that people have.
 * Another version is tried by naming it: `HOLDFAST_TOOL_AWS=/opt/aws/bin/aws npm run test:clients`. Throws with the name of the Debian package when the program is missing; a client test is never skipped.
 */
export function findTool(name: string, debianPackage: string = name): string {
  const named = process.env[`HOLDFAST_TOOL_${name.toUpperCase()}`]
  if (named !== undefined) return named
  const folders = ['/usr/bin', ...(process.env['PATH'] ?? '').split(path.delimiter)].filter((folder) => folder !== '')
  const found = folders.map((folder) => path.join(folder, name)).find(isExecutable)
  if (found === undefined) {
    throw new Error(`The client tests need ${name}: install Debian's package ${debianPackage} (apt-get install ${debianPackage}). All of them are listed in test/clients/packages.txt.`)
  }
  return found
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A program with an environment and leading arguments, ready to be called with the rest. */
export function tool(program: string, env: Readonly<Record<string, string>>, leading: readonly string[] = []): Tool {
  return (args, options = {}) => run(program, [...leading, ...args], { ...options, env })
}

/** A folder of one test file: HOME of the tools that it runs, and room for its files. */
export interface Workplace {
  readonly folder: string
  /** A clean environment: nothing of the caller's credentials, proxies or configuration reaches a tool. */
  readonly env: Readonly<Record<string, string>>
  /** An absolute path inside the folder. */
  at(...names: readonly string[]): string
  remove(): Promise<void>
}

export async function makeWorkplace(name: string): Promise<Workplace> {
  const folder = await mkdtemp(path.join(os.tmpdir(), `holdfast-${name}-`))
  const home = path.join(folder, 'home')
  const temporary = path.join(folder, 'tmp')
  await mkdir(home)
  await mkdir(temporary)
  return {
    folder,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: home, TMPDIR: temporary, LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', TZ: 'UTC' },
    at: (...names) => path.join(folder, ...names),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/** The environment that AWS's own clients read: credentials and region, and no others found anywhere on the machine. */
export function awsEnvironment(workplace: Workplace, keys: { readonly accessKey: string, readonly secretKey: string }): Record<string, string> {
  return {
    ...workplace.env,
    AWS_ACCESS_KEY_ID: keys.accessKey,
    AWS_SECRET_ACCESS_KEY: keys.secretKey,
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_REGION: 'us-east-1',
    AWS_CONFIG_FILE: workplace.at('home', 'no-config'),
    AWS_SHARED_CREDENTIALS_FILE: workplace.at('home', 'no-credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_PAGER: '',
  }
}

let bucketsNamed = 0

/** A bucket name that nothing else in this process uses. */
export function bucketName(purpose: string): string {
  bucketsNamed += 1
  return `${purpose}-${process.pid}-${bucketsNamed}`
}

/** `length` bytes that no compression shortens and that are the same for the same seed: the key stream of AES in counter mode. */
export function* noise(length: number, seed: string): Generator<Buffer> {
  const pieceBytes = 1024 * 1024
  const cipher = createCipheriv('aes-128-ctr', createHash('md5').update(seed).digest(), Buffer.alloc(16))
  const zeros = Buffer.alloc(Math.min(pieceBytes, length))
  for (let done = 0; done < length; done += pieceBytes) {
    yield cipher.update(zeros.subarray(0, Math.min(pieceBytes, length - done)))
  }
}

export function noiseBuffer(length: number, seed: string): Buffer {
  return Buffer.concat([...noise(length, seed)])
}

/** Writes a file of noise, with the folders above it. Returns its SHA-256 in hex. */
export async function writeNoise(file: string, length: number, seed: string = path.basename(file)): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true })
  const hash = createHash('sha256')
  const handle = await open(file, 'w')
  try {
    for (const piece of noise(length, seed)) {
      hash.update(piece)
      await handle.write(piece)
    }
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** SHA-256 of a file in hex. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: 1024 * 1024 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** Every file below a folder: path with slashes, relative to the folder, to SHA-256 in hex; a symbolic link to its target. Empty folders are left out. */
export async function hashTree(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const hashes: Record<string, string> = {}
  for (const entry of entries) {
    const file = path.join(entry.parentPath, entry.name)
    const name = path.relative(folder, file).split(path.sep).join('/')
    if (entry.isSymbolicLink()) hashes[name] = `-> ${await readlink(file)}`
    else if (entry.isFile()) hashes[name] = await hashFile(file)
  }
  return hashes
}
