import { spawn } from 'node:child_process'
import { pbkdf2 } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startEmbedded, type EmbeddedPostgres } from '../../src/metadata/postgres/embedded.ts'
import { layCluster } from '../support/cluster.ts'

let base: string

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'holdfast test '))
  await chmod(base, 0o700)
})
afterEach(() => rm(base, { recursive: true, force: true }))

const start = (dataDir: string): Promise<EmbeddedPostgres> => startEmbedded({ dataDir, log: () => {} })

/** A data folder that was started on before. */
async function started(name: string): Promise<string> {
  const dataDir = join(base, name)
  await layCluster(dataDir, 'empty')
  return dataDir
}

async function ask(postgres: EmbeddedPostgres, text: string): Promise<string> {
  const client = new pg.Client({ ...postgres.connection })
  await client.connect()
  const { rows } = await client.query<string[]>({ text, rowMode: 'array' })
  await client.end()
  return String(rows[0]?.[0])
}

/** Starts a PostgreSQL from a process that is killed at once, so that it is left behind. Its process id. */
async function orphan(dataDir: string): Promise<number> {
  const program = `import { startEmbedded } from ${JSON.stringify(new URL('../../src/metadata/postgres/embedded.ts', import.meta.url).href)}
    const { pid } = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, log: () => {} })
    process.stdout.write(String(pid), () => process.kill(process.pid, 'SIGKILL'))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => { said += chunk.toString() })
  await once(child, 'close')
  return Number(said)
}

/** A process that ended but was not waited for is a zombie, which still takes signals. */
async function isAlive(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  return status !== null && !/\) Z /.test(status)
}

describe('the embedded PostgreSQL', () => {
  test('keeps its data, listens on a private socket only, and stops', async () => {
    const first = await start(join(base, 'a folder', 'data'))
    await ask(first, 'CREATE TABLE kept AS SELECT 42 AS answer')
    expect(await ask(first, 'SHOW listen_addresses')).toBe('')
    expect(await ask(first, 'SELECT datcollate FROM pg_database WHERE datname = current_database()')).toBe('C')
    expect((await stat(first.connection.host)).mode & 0o777).toBe(0o700)
    await first.stop()
    expect(await isAlive(first.pid)).toBe(false)
    expect(await first.exited).toMatchObject({ expected: true, code: 0 })
    const second = await start(join(base, 'a folder', 'data'))
    expect(await ask(second, 'SELECT answer FROM kept')).toBe('42')
    await second.stop()
  })

  test('finds a way around a path that is too long for a socket', async () => {
    const postgres = await start(await started('x'.repeat(100)))
    expect(await ask(postgres, 'SELECT 1')).toBe('1')
    await postgres.stop()
    await expect(stat(postgres.connection.host)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('takes over from one whose parent was killed', async () => {
    const left = await orphan(await started('data'))
    expect(await isAlive(left)).toBe(true)
    const postgres = await start(join(base, 'data'))
    expect(await isAlive(left)).toBe(false)
    expect(await ask(postgres, 'SELECT 1')).toBe('1')
    await postgres.stop()
  })

  test('does not wait long for a process that outlives its postmaster', async () => {
    const dataDir = await started('data')
    const postgres = await start(dataDir)
    // Stopped, it is like one that waits for a lock of another that was killed: it does not see that its postmaster is gone.
    const waiting = new pg.Client({ ...postgres.connection })
    waiting.on('error', () => {})
    await waiting.connect()
    const { rows } = await waiting.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const pid = rows[0]?.pid as number
    process.kill(pid, 'SIGSTOP')
    process.kill(postgres.pid, 'SIGKILL')
    await postgres.exited
    const again = await start(dataDir)
    expect(await ask(again, 'SELECT 1')).toBe('1')
    expect(await isAlive(pid)).toBe(false)
    await again.stop()
  }, 15_000)

  test('is not misled by a lock file whose process id belongs to somebody else', async () => {
    const left = await orphan(await started('data'))
    process.kill(left, 'SIGKILL')
    await expect.poll(() => isAlive(left)).toBe(false)
    const lockFile = join(base, 'data', 'postgres', 'postmaster.pid')
    const other = spawn('sleep', ['600'])
    await writeFile(lockFile, (await readFile(lockFile, 'utf8')).replace(String(left), String(other.pid)))
    const postgres = await start(join(base, 'data'))
    expect(await ask(postgres, 'SELECT 1')).toBe('1')
    expect(await isAlive(other.pid as number)).toBe(true)
    await postgres.stop()
    other.kill('SIGKILL')
  })

  test('an unfinished first start is begun again; a cluster of another version is refused', async () => {
    await mkdir(join(base, 'data', 'postgres.initdb-abcdef', 'base'), { recursive: true })
    const postgres = await start(join(base, 'data'))
    await postgres.stop()
    await expect(stat(join(base, 'data', 'postgres.initdb-abcdef'))).rejects.toMatchObject({ code: 'ENOENT' })
    await writeFile(join(base, 'data', 'postgres', 'PG_VERSION'), '17\n')
    await expect(start(join(base, 'data'))).rejects.toThrow(/PostgreSQL 17.*HOLDFAST_DATABASE_URL/)
  })

  test('starts with the settings of before where the disk is too full for other ones, and takes those at the next start', async () => {
    const dataDir = await started('data')
    const connections = async (connectionsMax: number): Promise<string> => {
      const postgres = await startEmbedded({ dataDir, log: () => {}, connectionsMax })
      const shown = await ask(postgres, 'SHOW max_connections')
      await postgres.stop()
      return shown
    }
    expect(await connections(30)).toBe('30')
    await symlink('/dev/full', join(dataDir, 'postgres', 'postgresql.conf.holdfast'))
    expect(await connections(31)).toBe('30')
    expect(await connections(31)).toBe('31')
    expect((await stat(join(dataDir, 'postgres', 'postgresql.conf'))).mode & 0o777).toBe(0o600)
  })

  test('one that ends before anybody looks is an error, however busy the threads are that files are closed by', async () => {
    await started('data')
    await rm(join(base, 'data', 'postgres', 'global', 'pg_control'))
    let busy = true
    const keepBusy = async () => {
      while (busy) await promisify(pbkdf2)('password', 'salt', 100_000, 32, 'sha256')
    }
    const jobs = Array.from({ length: 8 }, keepBusy)
    await expect(start(join(base, 'data'))).rejects.toThrow(/did not start.*pg_control/s)
    busy = false
    await Promise.all(jobs)
  })
})
