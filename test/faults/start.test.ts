import { execFileSync } from 'node:child_process'
import { appendFile, chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startExternalPostgres, type ExternalPostgres } from '../support/external-postgres.ts'
import { freshBody } from '../support/load.ts'
import { signedRequest, signRequest } from '../support/raw.ts'
import { bucketSender, newBucket } from '../support/s3.ts'
import { failedStart, startServer, type TestServer } from '../support/server.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
let base: string

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'holdfast starts '))
})
afterAll(() => rm(base, { recursive: true, force: true }))

/** Stores and reads a small and a large object: everything that a start has to make ready is used. */
async function serves(server: TestServer): Promise<void> {
  const send = bucketSender(server, await newBucket(server.client))
  for (const size of [1000, 300_000]) {
    const body = freshBody(size)
    expect((await send('PUT', `of-${size}`, { body })).status).toBe(200)
    expect((await send('GET', `of-${size}`)).body.equals(body)).toBe(true)
  }
}

describe('a data folder', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ dataDir: join(base, 'first') })
  })
  afterAll(() => server?.remove())

  test('in use is refused with exit code 1, and the first server goes on', async () => {
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: server.dataDir })
    expect(code).toBe(1)
    expect(output).toContain(`The data folder ${server.dataDir} is in use by another Holdfast server.`)
    await serves(server)
  })

  test('cannot be served on a port that is taken: the message names the variable that changes it', async () => {
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: join(base, 'taker'), HOLDFAST_PORT: String(server.port) })
    expect(code).toBe(1)
    expect(output).toContain(`Port ${server.port} on 127.0.0.1 is in use by another program; set HOLDFAST_PORT to another one.`)
  })

  test('serves beside another one on the same machine', async () => {
    const other = await startServer({ dataDir: join(base, 'second') })
    const bucket = await newBucket(other.client)
    expect((await signedRequest({ server, path: `/${bucket}` })).status).toBe(404)
    await Promise.all([serves(server), serves(other)])
    await other.remove()
  })

  test('is for its owner alone', async () => {
    const open: string[] = []
    for (const name of await readdir(server.dataDir, { recursive: true })) {
      // PostgreSQL's sockets and files come and go.
      const found = await stat(join(server.dataDir, name)).catch(() => null)
      if (found !== null && (found.mode & 0o077) !== 0 && !found.isSocket()) open.push(`${name} ${(found.mode & 0o777).toString(8)}`)
    }
    // The folder itself or what is in it must be closed: a file below a closed folder is out of reach.
    expect((await stat(server.dataDir)).mode & 0o077).toBe(0)
    expect(open).toEqual([])
  })

  test('with a lock file of PostgreSQL whose process id now is another program’s starts, and leaves that program alone', async () => {
    await server.stop()
    await writeFile(join(server.dataDir, 'postgres', 'postmaster.pid'), `${process.ppid}\n${join(server.dataDir, 'postgres')}\n1700000000\n5432\n\n\n\n`)
    await server.restart()
    await serves(server)
    expect(() => process.kill(process.ppid, 0)).not.toThrow()
  })

  test('with segments that end in the middle of a record serves everything that was acknowledged', async () => {
    const send = bucketSender(server, await newBucket(server.client))
    const bodies = Array.from({ length: 20 }, (_, index) => ({ key: `small-${index}`, body: freshBody(500 + index) }))
    await Promise.all(bodies.map(async ({ key, body }) => expect((await send('PUT', key, { body })).status).toBe(200)))
    await server.kill9()
    const folder = join(server.dataDir, 'drive', 'segments')
    const segments = (await readdir(folder)).filter((name) => !name.includes('.'))
    for (const name of segments) {
      const bytes = await readFile(join(folder, name))
      // The beginning of a record that looks right, as a group would leave it whose write was cut off.
      await appendFile(join(folder, name), bytes.subarray(Math.min(64, bytes.length - 1), 400))
    }
    await writeFile(join(folder, '0000000000010123456789'), Buffer.from('HF'))
    await server.restart()
    for (const { key, body } of bodies) expect((await send('GET', key)).body.equals(body)).toBe(true)
    await serves(server)
  })

  test('holds nothing of an upload that died with the server', async () => {
    const bucket = await newBucket(server.client)
    const temporary = join(server.dataDir, 'drive', 'tmp')
    const files = async (): Promise<string[]> => (await readdir(temporary, { recursive: true })).filter((name) => name.includes('/'))
    const { headers, path } = signRequest({ server, method: 'PUT', path: `/${bucket}/half`, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': '5000000' } })
    const request = http.request(server.url + path, { method: 'PUT', headers, agent: false })
    const gone = new Promise((resolve) => request.once('error', resolve))
    request.write(freshBody(3_000_000))
    await expect.poll(files, { timeout: 10_000 }).toHaveLength(1)
    await server.kill9()
    await gone
    expect(await files()).toHaveLength(1)
    await server.restart()
    expect(await files()).toEqual([])
    expect((await signedRequest({ server, path: `/${bucket}/half` })).status).toBe(404)
  })
})

test('a first start that is killed at any moment is made up for by the next one', async () => {
  const dataDir = join(base, 'interrupted')
  // Wherever it is: in the middle of the keys, of PostgreSQL's own set-up, of the migrations.
  for (const killMs of [250, 500, 800]) await failedStart({ HOLDFAST_DATA_DIR: dataDir }, killMs)
  const server = await startServer({ dataDir })
  await serves(server)
  await server.remove()
  expect((await readdir(dataDir)).filter((name) => name.includes('initdb'))).toEqual([])
})

test('the server starts below a 0700 folder whose path has a space, and on the same folder again', async () => {
  const closed = join(base, 'a closed folder')
  await mkdir(closed, { mode: 0o700 })
  const server = await startServer({ dataDir: join(closed, 'with data') })
  expect(await server.stop()).toBe(0)
  await server.restart()
  await serves(server)
  await server.remove()
})

/** A copy of what runs where another user may not read the checkout itself. */
async function readableCheckout(user: readonly string[]): Promise<string> {
  try {
    execFileSync(user[0] ?? '', [...user.slice(1), 'test', '-r', join(checkout, 'src', 'main.ts')])
    return checkout
  } catch {
    const copy = join(base, 'checkout')
    await mkdir(copy, { mode: 0o755 })
    execFileSync('cp', ['-a', '--reflink=auto', ...['src', 'drizzle', 'package.json', 'node_modules'].map((name) => join(checkout, name)), copy])
    execFileSync('chmod', ['-R', 'go+rX', copy])
    return copy
  }
}

test.skipIf(process.getuid?.() !== 0)('the server runs as a normal user, also where root ran it before from the same checkout', async () => {
  const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
  const folder = await mkdtemp(join(tmpdir(), 'holdfast user '))
  await chown(folder, 65_534, 65_534)
  await chmod(base, 0o755)
  const server = await startServer({ dataDir: join(folder, 'data'), wrapper: user, checkout: await readableCheckout(user) })
  expect((await stat(join(server.dataDir, 'drive'))).uid).toBe(65_534)
  await server.kill9()
  await server.restart()
  await serves(server)
  await server.remove()
  await rm(folder, { recursive: true })
})

describe('an external PostgreSQL', () => {
  let postgres: ExternalPostgres
  beforeAll(async () => {
    postgres = await startExternalPostgres()
  })
  afterAll(() => postgres?.remove())

  test('holds the metadata, over restarts; none of its own is started', async () => {
    const server = await startServer({ dataDir: join(base, 'external'), env: { HOLDFAST_DATABASE_URL: postgres.url } })
    await serves(server)
    const bucket = await newBucket(server.client)
    await server.kill9()
    await server.restart()
    expect((await signedRequest({ server, method: 'HEAD', path: `/${bucket}` })).status).toBe(200)
    await serves(server)
    expect(await readdir(server.dataDir)).not.toContain('postgres')
    expect(await server.stop()).toBe(0)
  })

  test('that a newer program has migrated is refused, and nothing in it changes', async () => {
    const client = new pg.Client(postgres.url)
    await client.connect()
    await client.query(`INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('newer', 99999999999999)`)
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: join(base, 'external'), HOLDFAST_DATABASE_URL: postgres.url })
    expect(code).toBe(1)
    expect(output).toContain('The database was migrated by a newer Holdfast than this one')
    await client.query(`DELETE FROM drizzle.__drizzle_migrations WHERE hash = 'newer'`)
    await client.end()
  })

  test('that does not answer ends the start with a message that names what is wrong, without the password', async () => {
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: join(base, 'no database'), HOLDFAST_DATABASE_URL: 'postgres://holdfast:verysecretword@127.0.0.1:1/none' })
    expect(code).toBe(1)
    expect(output).toContain('Holdfast could not start')
    expect(output).toContain('127.0.0.1:1')
    expect(output).not.toContain('verysecretword')
  })
})

describe('a configuration that is not allowed', () => {
  test.each([
    [{ HOLDFAST_PORT: '70000' }, ['HOLDFAST_PORT="70000"', '0 to 65535']],
    [{ HOLDFAST_REGION: 'Mars!' }, ['HOLDFAST_REGION="Mars!"', '1 to 63 characters']],
    [{ HOLDFAST_PROT: '9000' }, ['HOLDFAST_PROT', 'did you mean HOLDFAST_PORT?']],
    [{ HOLDFAST_ROOT_ACCESS_KEY: 'minioadmin', HOLDFAST_ROOT_SECRET_KEY: 'minioadmin' }, ['HOLDFAST_ROOT_ACCESS_KEY="minioadmin"', 'well-known']],
    [{ HOLDFAST_DATABASE_URL: 'mysql://me:verysecretword@there/db' }, ['HOLDFAST_DATABASE_URL=', 'not shown', 'postgres://']],
    [{ HOLDFAST_SIGNATURE_V2: 'maybe', HOLDFAST_LOG_LEVEL: 'loud' }, ['2 problems', 'HOLDFAST_SIGNATURE_V2="maybe"', 'on or off', 'HOLDFAST_LOG_LEVEL="loud"', 'debug, info, warn or error']],
  ])('%j ends the start with exit code 1, naming variable, value and what is allowed', async (env, said) => {
    const dataDir = join(base, 'never made')
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: dataDir, ...env } as Record<string, string>)
    expect(code).toBe(1)
    for (const part of said) expect(output).toContain(part)
    expect(output).not.toContain('verysecretword')
    await expect(stat(dataDir)).rejects.toThrow('ENOENT')
  })
})
