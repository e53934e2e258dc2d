import { readdir, readFile, rm, stat } from 'node:fs/promises'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { freshBody, newWorld, startLoad, type World } from '../support/load.ts'
import { signalAll } from '../support/processes.ts'
import { signedRequest, signRequest, xmlText, type RawRequest } from '../support/raw.ts'
import { bucketName, newBucket, outcome } from '../support/s3.ts'
import { connectionsToEach, serverProcesses } from '../support/server-processes.ts'
import { failedStart, startServer, type TestServer } from '../support/server.ts'
import { brokenPromises } from '../support/verify.ts'

/** Two server processes and their supervisor. That the death of one loses nothing is shown by promises/process-kill.ts. */

describe('two server processes', () => {
  let server: TestServer
  let agents: http.Agent[]
  beforeAll(async () => {
    server = await startServer({ env: { HOLDFAST_PROCESSES: '2', HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' } })
    agents = await connectionsToEach(server, 2)
  })
  afterAll(async () => {
    for (const agent of agents ?? []) agent.destroy()
    await server?.remove()
  })

  /** Sends to one of the two. */
  const via = (turn: number, request: Omit<RawRequest, 'server' | 'agent'>) => signedRequest({ server, agent: agents[turn % 2] as http.Agent, ...request })

  test('know at once what the other one has answered: buckets that come, change and go', async () => {
    const path = `/${bucketName()}`
    for (let turn = 0; turn < 60; turn++) {
      const [here, there] = [turn, turn + 1]
      expect(outcome(await via(there, { path: `${path}/k` }))).toBe('404 NoSuchBucket')
      expect((await via(here, { method: 'PUT', path })).status).toBe(200)
      expect((await via(there, { method: 'HEAD', path })).status).toBe(200)
      const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
      expect((await via(here, { method: 'PUT', path: `${path}?versioning`, body })).status).toBe(200)
      expect(xmlText((await via(there, { path: `${path}?versioning` })).text, 'Status')).toBe('Enabled')
      const tagging = `<Tagging><TagSet><Tag><Key>turn</Key><Value>${turn}</Value></Tag></TagSet></Tagging>`
      expect((await via(here, { method: 'PUT', path: `${path}?tagging`, body: tagging })).status).toBe(204)
      expect(xmlText((await via(there, { path: `${path}?tagging` })).text, 'Value')).toBe(String(turn))
      const put = await via(there, { method: 'PUT', path: `${path}/k`, body: String(turn) })
      expect(put.status).toBe(200)
      const got = await via(here, { path: `${path}/k` })
      expect([got.text, got.headers['x-amz-version-id']]).toEqual([String(turn), put.headers['x-amz-version-id']])
      expect((await via(here, { method: 'DELETE', path: `${path}/k?versionId=${put.headers['x-amz-version-id']}` })).status).toBe(204)
      expect(outcome(await via(there, { path: `${path}/k` }))).toBe('404 NoSuchKey')
      expect((await via(there, { method: 'DELETE', path })).status).toBe(204)
    }
  })

  test('a presigned read that is done over, because a bucket has changed meanwhile, obeys its URL as before', async () => {
    const path = `/${await newBucket(server.client)}`
    expect((await via(0, { method: 'PUT', path: `${path}/k`, body: 'read' })).status).toBe(200)
    for (let turn = 0; turn < 10; turn++) {
      for (const Status of ['Enabled', 'Suspended']) {
        const body = `<VersioningConfiguration><Status>${Status}</Status></VersioningConfiguration>`
        expect((await via(turn, { method: 'PUT', path: `${path}?versioning`, body })).status).toBe(200)
        expect((await via(turn + 1, { path: `${path}/k?x-amz-request-payer=requester`, sign: 'presigned' })).text).toBe('read')
      }
    }
  })

  test('name their requests apart', async () => {
    const ids = await Promise.all(Array.from({ length: 200 }, async (_, turn) => (await via(turn, { path: '/' })).headers['x-amz-request-id']))
    expect(new Set(ids).size).toBe(200)
  })

  test('let a slow reader of one finish what was deleted by the other and swept', async () => {
    const bucket = await newBucket(server.client)
    const path = `/${bucket}/large`
    const parts = [freshBody(9_000_000), freshBody(9_000_000), freshBody(1_000_000)]
    const uploadId = xmlText((await via(0, { method: 'POST', path: `${path}?uploads` })).text, 'UploadId') ?? ''
    const etags = await Promise.all(parts.map(async (body, index) => (await via(0, { method: 'PUT', path: `${path}?partNumber=${index + 1}&uploadId=${uploadId}`, body })).headers['etag']))
    const list = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`).join('')
    expect((await via(0, { method: 'POST', path: `${path}?uploadId=${uploadId}`, body: `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>` })).status).toBe(200)

    const { headers } = signRequest({ server, path })
    const slow = await new Promise<http.IncomingMessage>((resolve, reject) => {
      http.get(server.url + path, { headers, agent: agents[0] as http.Agent }, resolve).on('error', reject)
    })
    slow.pause()
    const small = `/${bucket}/swept-before`
    expect((await via(1, { method: 'DELETE', path })).status).toBe(204)
    // A blob that nobody reads and that was deleted later is gone from the disk: the sweeper was there.
    expect((await via(1, { method: 'PUT', path: small, body: freshBody(300_000) })).status).toBe(200)
    expect((await via(1, { method: 'DELETE', path: small })).status).toBe(204)
    await expect.poll(async () => (await blobSizes(server)).filter((size) => size < 400_000), { timeout: 20_000 }).toEqual([])
    const chunks: Buffer[] = []
    for await (const chunk of slow) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).equals(Buffer.concat(parts))).toBe(true)
    await expect.poll(() => blobSizes(server), { timeout: 20_000 }).toEqual([])
    expect(server.output()).not.toContain('sweep failed')
  })
})

/** Lengths of the files of large bodies. */
async function blobSizes({ dataDir }: TestServer): Promise<number[]> {
  const root = `${dataDir}/drive/blobs`
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return Promise.all(entries.filter((entry) => entry.isFile()).map(async (entry) => (await stat(`${entry.parentPath}/${entry.name}`).catch(() => ({ size: 0 }))).size))
}

describe('the death', () => {
  let server: TestServer
  let world: World
  const start = async (env: Readonly<Record<string, string>> = {}): Promise<void> => {
    server = await startServer({ env: { HOLDFAST_PROCESSES: '2', HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1', ...env } })
    world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
  }
  afterEach(() => server?.remove())

  async function underLoad(kill: () => Promise<void>): Promise<void> {
    const before = world.ledger.acknowledged
    const load = startLoad(world)
    await expect.poll(() => world.ledger.acknowledged, { timeout: 20_000, interval: 20 }).toBeGreaterThan(before)
    await sleep(Math.random() * 900)
    await kill()
    await load.stop()
  }

  test('of the supervisor ends its processes at once; the next start takes over, and nothing is lost', async () => {
    await start()
    const children = await serverProcesses(server.pid)
    await underLoad(() => server.killServer())
    await server.restart()
    const living = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
    expect(living.filter((command) => command.includes('server-process'))).toEqual([])
    expect(await brokenPromises(world)).toEqual([])
  })

  test('of the supervisor while a process of its hangs: nobody takes the data folder before that one is gone', async () => {
    await start()
    const [stuck = 0] = await serverProcesses(server.pid)
    signalAll([stuck], 'SIGSTOP')
    await server.killServer()
    const next = server.restart()
    await expect(Promise.race([next.then(() => 'started'), sleep(1500).then(() => 'waits')])).resolves.toBe('waits')
    signalAll([stuck], 'SIGCONT')
    await next
    expect((await signedRequest({ server, path: '/' })).status).toBe(200)
  })

  test('of a process again and again ends the server, which says so', async () => {
    await start()
    let over = false
    const ended = server.exited().finally(() => {
      over = true
    })
    while (!over) {
      signalAll(await serverProcesses(server.pid), 'SIGKILL')
      await sleep(50)
    }
    expect(await ended).toBe(1)
    expect(server.output()).toMatch(/Server process \d ended 6 times within 60 s, the last time with SIGKILL/)
  })

  test('by SIGTERM of one process is a roll-over: its requests finish, and it is replaced', async () => {
    await start()
    const before = await serverProcesses(server.pid)
    const [agent] = await connectionsToEach(server, 2)
    const path = `/${world.bucket}/rolled`
    const body = freshBody(3_000_000)
    const { headers } = signRequest({ server, method: 'PUT', path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': String(body.length) } })
    const status = new Promise<number>((resolve, reject) => {
      const request = http.request(server.url + path, { method: 'PUT', headers, agent: agent as http.Agent }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
      request.on('error', reject)
      request.write(body.subarray(0, 1_500_000))
      setTimeout(() => signalAll(before, 'SIGTERM'), 200)
      setTimeout(() => request.end(body.subarray(1_500_000)), 700)
    })
    expect(await status).toBe(200)
    await expect.poll(async () => (await serverProcesses(server.pid)).filter((pid) => !before.includes(pid)).length, { timeout: 20_000 }).toBe(2)
    // They are there before they listen.
    await expect.poll(() => signedRequest({ server, path: '/' }).then(({ status: answered }) => answered, () => 0), { timeout: 20_000 }).toBe(200)
    for (const each of await connectionsToEach(server, 2)) each.destroy()
    expect((await signedRequest({ server, path })).body.equals(body)).toBe(true)
  })

  test('by SIGTERM of all under load: everything that was acknowledged is there after the next start', async () => {
    await start()
    await underLoad(async () => {
      expect(await server.stop()).toBe(0)
    })
    expect(await serverProcesses(server.pid)).toEqual([])
    await server.restart()
    expect(await brokenPromises(world)).toEqual([])
  })
})

test('a port that is taken is refused, also by a server whose processes share theirs', async () => {
  const first = await startServer({ env: { HOLDFAST_PROCESSES: '2' } })
  for (const processes of ['1', '2']) {
    const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: `${first.dataDir}-other`, HOLDFAST_PORT: String(first.port), HOLDFAST_PROCESSES: processes })
    expect(code).toBe(1)
    expect(output).toContain(`Port ${first.port} on 127.0.0.1 is in use by another program; set HOLDFAST_PORT to another one.`)
  }
  await first.remove()
  await rm(`${first.dataDir}-other`, { recursive: true, force: true })
})
