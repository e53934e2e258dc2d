import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ListBucketsCommand } from '@aws-sdk/client-s3'
import { parse as parseYaml } from 'yaml'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../../src/control-cli.ts'
import { loadConfig } from '../../src/config.ts'
import { signedRequest } from '../support/raw.ts'
import { sharedServer, startServer, type ServerAddress, type TestServer } from '../support/server.ts'

interface Limits {
  readonly file: string | null
  readonly refusal: { readonly reason: string } | null
  readonly limits: readonly Record<string, unknown>[]
  readonly message: string
}

async function ask(server: ServerAddress, method: string, body?: unknown): Promise<{ status: number; body: Limits }> {
  const to = { url: server.controlUrl, accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey, region: server.region }
  const { status, text } = await signedRequest({ server: to, method, path: '/admin/v1/limits', ...body === undefined ? {} : { body: JSON.stringify(body) } })
  return { status, body: JSON.parse(text) as Limits }
}

const tight = { limits: [{ by: 'accessKey', requestsPerSecond: 0.001 }] }

test('without a file there are no limits to change', async () => {
  const shared = sharedServer()
  expect((await ask(shared, 'GET')).body).toMatchObject({ file: null, readAt: null, refusal: null, limits: [], server: { concurrent: null, queue: 1000 } })
  const refused = await ask(shared, 'PUT', tight)
  expect([refused.status, refused.body.message]).toEqual([409, expect.stringContaining('HOLDFAST_LIMITS_FILE')])
})

describe('with a file', () => {
  let folder = ''
  let file = ''
  let server: TestServer
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'holdfast-limits-'))
    file = path.join(folder, 'limits.yaml')
    await writeFile(path.join(folder, 'real.yaml'), '# nothing yet\nlimits: []\n')
    await chmod(path.join(folder, 'real.yaml'), 0o640)
    await symlink('real.yaml', file)
    server = await startServer({ env: { HOLDFAST_LIMITS_FILE: file, HOLDFAST_PROCESSES: '2' } })
  })
  afterAll(async () => {
    await server.remove()
    await rm(folder, { recursive: true, force: true })
  })
  /** Names of what a few requests were answered, of one process or another. */
  const answers = async (): Promise<Set<string>> => {
    const seen = new Set<string>()
    for (let count = 0; count < 6; count++) seen.add(await server.client.send(new ListBucketsCommand({})).then(() => 'ok', (error: { name: string }) => error.name))
    return seen
  }

  test('they are replaced while all processes run, in the file, and still hold after the next start', async () => {
    expect(await answers()).toEqual(new Set(['ok']))
    const put = await ask(server, 'PUT', tight)
    expect([put.status, put.body]).toEqual([200, expect.objectContaining({ file, refusal: null, limits: [expect.objectContaining(tight.limits[0] as object)] })])
    expect(parseYaml(await readFile(file, 'utf8'))).toEqual(tight)
    // The link is still one, the file has its old mode, and nothing else is left behind.
    expect([(await readdir(folder)).sort(), (await stat(file)).mode & 0o777]).toEqual([['limits.yaml', 'real.yaml'], 0o640])
    await expect.poll(answers, { timeout: 10_000 }).toEqual(new Set(['SlowDown']))
    await server.stop()
    await server.restart()
    await expect.poll(answers, { timeout: 10_000 }).toEqual(new Set(['SlowDown']))
    expect((await ask(server, 'GET')).body.limits).toHaveLength(1)
    // What GET shows can be put as it is.
    const { server: ofServer, limits } = (await ask(server, 'GET')).body as unknown as Record<string, unknown>
    expect((await ask(server, 'PUT', { server: ofServer, limits })).status).toBe(200)
    await ask(server, 'PUT', { limits: [] })
    await expect.poll(answers, { timeout: 10_000 }).toEqual(new Set(['ok']))
  })

  test('what is not in order is refused and changes nothing', async () => {
    const before = await readFile(file, 'utf8')
    for (const [body, message] of [
      [{ limits: [{ by: 'user', requestsPerSecond: 1 }] }, 'limits[0].by'], [{}, 'body.limits is missing'], [{ limits: [], more: 1 }, 'body.more'], [{ limits: [{ by: 'bucket' }] }, 'limits nothing'],
      [{ limits: [], server: { concurrent: 0 } }, 'server.concurrent: 0 is not allowed'],
    ] as const) {
      const refused = await ask(server, 'PUT', body)
      expect([refused.status, refused.body.message]).toEqual([400, expect.stringContaining(message)])
    }
    expect(await readFile(file, 'utf8')).toBe(before)
  })

  test('a file that was changed by hand to what cannot be applied is told, and replaced', async () => {
    await writeFile(file, 'limits: [{ by: nobody }]')
    await expect.poll(async () => (await ask(server, 'GET')).body.refusal?.reason, { timeout: 10_000 }).toContain('limits[0].by')
    expect((await ask(server, 'GET')).body.limits).toEqual([])
    expect((await ask(server, 'PUT', { limits: [] })).body.refusal).toBe(null)
  })

  test('a place where the server may not write is told', async () => {
    await chmod(folder, 0o500)
    const refused = await ask(server, 'PUT', { limits: [] })
    await chmod(folder, 0o700)
    // The super-user writes where it may not.
    const [status, message] = process.getuid?.() === 0 ? [200, undefined] : [409, expect.stringContaining('EACCES') as string]
    expect([refused.status, refused.body.message]).toEqual([status, message])
  })

  test('the command line shows them as a document that it takes back', async () => {
    const run = async (...args: readonly string[]): Promise<{ code: number; out: string }> => {
      let out = ''
      const env = { HOLDFAST_DATA_DIR: server.dataDir, HOLDFAST_CONTROL_PORT: String(server.controlPort), HOLDFAST_ROOT_ACCESS_KEY: server.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: server.secretAccessKey }
      const code = await runCli(args, { config: () => loadConfig(env), isTerminal: false, write: (text) => { out += text }, warn: (text) => { out += text } })
      return { code, out }
    }
    const mine = path.join(folder, 'mine.yaml')
    await writeFile(mine, 'limits:\n  - { by: bucket, name: logs, requestsPerSecond: 50 } # a note\n')
    expect((await run('limits', '--set', mine)).code).toBe(0)
    const { out } = await run('limits')
    expect(out).toContain(`# In force as read from ${file} at `)
    expect(parseYaml(out)).toMatchObject({ server: { concurrent: null }, limits: [{ by: 'bucket', name: 'logs', requestsPerSecond: 50 }] })
    await writeFile(mine, out)
    expect((await run('limits', '--set', mine)).code).toBe(0)
    await writeFile(mine, 'limits: 3')
    expect(await run('limits', '--set', mine)).toMatchObject({ code: 1, out: expect.stringContaining('limits must be a list') })
  })
})
