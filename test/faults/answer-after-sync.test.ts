import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { embeddedConnection } from '../../src/metadata/postgres/embedded.ts'
import { freshBody } from '../support/load.ts'
import { bucketSender, newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { createControl, type FaultControl } from './journal/control.ts'
import { createDisk } from './journal/disk.ts'
import { journalEnvironment, journalLibrary, journalMissing } from './journal/library.ts'
import { readEntries, wholeBytes } from './journal/records.ts'
import { cutPower } from './journal/restarts.ts'
import { plainFates, stateOf, type Fate } from './journal/states.ts'

/** On a disk whose syncs take longer than everything else: an answer that does not wait for one comes before it. */

const syncMs = 400
const missing = await journalMissing()
let folder: string
let control: FaultControl
let server: TestServer | null = null
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  if (missing !== null) return
  folder = await mkdtemp(join(tmpdir(), 'holdfast-slow-sync-'))
  await mkdir(join(folder, 'data'))
  control = createControl(join(folder, 'control'))
  const environment = journalEnvironment(await journalLibrary(), { root: join(folder, 'data', 'drive'), journal: join(folder, 'journal'), control: control.file })
  server = await startServer({ dataDir: join(folder, 'data'), env: { ...environment, HOLDFAST_SWEEP_INTERVAL_SECONDS: '86400' } })
  send = bucketSender(server, await newBucket(server.client))
})
afterAll(async () => {
  await server?.remove()
  control?.close()
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
})

beforeEach(({ skip }) => {
  if (missing !== null) skip(missing)
})

/** Whether a file that would be there after a loss of power at this moment holds the bytes, by what the journal says of syncs, or the database has them. */
async function isDurable(bytes: Buffer): Promise<boolean> {
  const disk = createDisk(join(folder, 'data', 'drive'))
  const journal = await readFile(join(folder, 'journal'))
  for (const entry of readEntries(journal.subarray(0, wholeBytes(journal)))) disk.take(entry)
  const [nothingElse] = plainFates as [Fate]
  return [...stateOf(disk.root, nothingElse).files.values()].some((file) => file.bytes.includes(bytes)) || (await carried()).some((record) => record.includes(bytes))
}

/** What the server's own database carries. */
async function carried(): Promise<Buffer[]> {
  const client = new pg.Client({ ...(await embeddedConnection(join(folder, 'data'))) })
  await client.connect()
  const { rows } = await client.query<{ record: Buffer }>('SELECT record FROM carried_records')
  await client.end()
  return rows.map(({ record }) => record)
}

// A body that comes alone, and is small enough, is carried by the database. The first small body makes a segment, the second one is appended to it. A large one has its bytes synced under a temporary name, and then folders.
test.each([
  ['first small', 10_000, '/segments'], ['next small', 10_000, '/segments'], ['smaller', 3000, '/segments'], ['large', 300_000, '/drive/tmp/'], ['larger', 2_500_000, '/drive/blobs'],
])('a %s body is durable when it is answered, and its part of an upload too', async (name, size, slow) => {
  const key = name.replaceAll(' ', '-')
  const uploadId = /<UploadId>(.*)<\/UploadId>/.exec((await send('POST', `${key}?uploads`)).text)?.[1] ?? ''
  control.arm({ calls: ['sync'], at: 1, times: 1000, kind: { delayMs: syncMs }, path: slow })
  try {
    for (const target of [key, `${key}?partNumber=1&uploadId=${uploadId}`]) {
      const body = freshBody(size)
      expect(outcome(await send('PUT', target, { body }))).toBe('200')
      expect(await isDurable(body)).toBe(true)
    }
  } finally {
    control.disarm()
  }
  expect(control.counts().fired).toBeGreaterThan(0)
})

test('what is carried is synced a moment later, and only then forgotten', async () => {
  const before = freshBody(2000)
  expect(outcome(await send('PUT', 'before', { body: before }))).toBe('200')
  await expect.poll(carried, { timeout: 10_000 }).toEqual([])
  expect(await isDurable(before)).toBe(true)
  control.arm({ calls: ['sync'], at: 1, times: 1000, kind: { delayMs: 3000 }, path: '/segments' })
  try {
    const body = freshBody(2000)
    expect(outcome(await send('PUT', 'carried', { body }))).toBe('200')
    expect((await carried()).filter((record) => record.includes(body))).toHaveLength(1)
    await expect.poll(() => control.counts().fired, { timeout: 10_000 }).toBeGreaterThan(0)
    expect(await carried()).toHaveLength(1)
    await expect.poll(carried, { timeout: 10_000 }).toEqual([])
    expect(await isDurable(body)).toBe(true)
  } finally {
    control.disarm()
  }
})

test('when it cannot be synced the drive takes no more writes, and after a power cut it is there all the same', async () => {
  const bodies = new Map<string, Buffer>()
  control.arm({ calls: ['sync'], at: 1, kind: { error: 'EIO' }, path: '/segments' })
  for (let index = 0; index < 5; index++) {
    const body = freshBody(1000 + index)
    // On a machine that stands still for a second the sync comes before the last of them.
    if (outcome(await send('PUT', `ill/${index}`, { body })) === '200') bodies.set(`ill/${index}`, body)
  }
  expect(bodies.size).toBeGreaterThan(0)
  await expect.poll(() => server?.output(), { timeout: 10_000 }).toContain('drive is suspect')
  control.disarm()
  expect(outcome(await send('PUT', 'ill/next', { body: freshBody(1000) }))).toBe('503 ServiceUnavailable')
  for (const [key, body] of bodies) expect((await send('GET', key)).body).toEqual(body)
  await server?.kill9()
  const journal = await readFile(join(folder, 'journal'))
  cutPower(join(folder, 'data', 'drive'), readEntries(journal.subarray(0, wholeBytes(journal))), plainFates[0] as Fate)
  await server?.restart({ LD_PRELOAD: '' })
  for (const [key, body] of bodies) expect((await send('GET', key)).body).toEqual(body)
  expect(await carried()).toEqual([])
  expect(outcome(await send('PUT', 'ill/next', { body: freshBody(1000) }))).toBe('200')
})
