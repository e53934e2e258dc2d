import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { copyOnceMade, slim } from './cluster.ts'
import { familyOf, signalAll } from './processes.ts'

/** A PostgreSQL of Debian's package on a TCP port, as operators run one. */
export interface ExternalPostgres {
  /** For HOLDFAST_DATABASE_URL. */
  readonly url: string
  readonly port: number
  start(): Promise<void>
  stop(mode: 'fast' | 'immediate'): Promise<void>
  /** To its first process and all its children. */
  signal(signal: NodeJS.Signals): Promise<void>
  /** Stops it and removes its folder. */
  remove(): Promise<void>
}

const password = 'a-test-only-password'
/** PostgreSQL does not run as root. */
const nobody = 65_534

/** Throws with the name of Debian's package where it is missing; the tests are never skipped. */
export async function startExternalPostgres(): Promise<ExternalPostgres> {
  const bin = programs()
  const asRoot = process.getuid?.() === 0
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-external-'))
  const data = join(folder, 'data')
  await writeFile(join(folder, 'password'), password)
  if (asRoot) for (const path of [folder, join(folder, 'password')]) await chown(path, nobody, nobody)
  const run = async (program: string, args: readonly string[]): Promise<void> => {
    const user = asRoot ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : []
    const [command = '', ...rest] = [...user, join(bin, program), ...args]
    await promisify(execFile)(command, rest, { cwd: folder, env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' } })
  }
  const port = await freePort()
  const url = `postgres://holdfast:${password}@127.0.0.1:${port}/postgres`
  const start = (at = data): Promise<void> => run('pg_ctl', ['-D', at, '-w', '-t', '60', '-l', join(folder, 'log'), '-o', `-p ${port} -k ${folder} -c listen_addresses=127.0.0.1`, 'start'])
  const stop = (mode: string, at = data): Promise<void> => run('pg_ctl', ['-D', at, '-w', '-m', mode, 'stop'])
  const make = (at: string): Promise<void> => run('initdb', ['-D', at, '-U', 'holdfast', '-E', 'UTF8', '--locale=C.UTF-8', '--auth=scram-sha-256', `--pwfile=${join(folder, 'password')}`, '-N'])
  const copied = await copyOnceMade('external', data, async (path) => {
    if (asRoot) await chown(dirname(path), nobody, nobody)
    await make(path)
    await start(path)
    await slim({ connectionString: url }, ['template0'])
    await stop('fast', path)
  })
  if (!copied) await make(data)
  await start()
  return {
    url,
    port,
    start: () => start(),
    stop: (mode) => stop(mode),
    async signal(signal) {
      signalAll(await familyOf(Number((await readFile(join(data, 'postmaster.pid'), 'utf8')).split('\n')[0])), signal)
    },
    async remove() {
      await stop('immediate').catch(() => undefined)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function programs(): string {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').map(Number).filter((version) => version >= 15) : []
  const bin = `/usr/lib/postgresql/${Math.max(...versions)}/bin`
  if (!existsSync(join(bin, 'initdb'))) throw new Error("These tests need PostgreSQL 15 or later: install Debian's package postgresql (apt-get install postgresql).")
  return bin
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
}
