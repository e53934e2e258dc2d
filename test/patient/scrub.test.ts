import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { embeddedConnection } from '../../src/metadata/postgres/embedded.ts'
import { encodeFooter } from '../../src/storage/backend.ts'
import { fsckReport, holdfast, scrubReport } from '../support/holdfast.ts'
import { freshBody, newWorld, startLoad } from '../support/load.ts'
import { bucketSender, newBucket } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { sweepsOften } from '../support/swept.ts'

let server: TestServer
let bucket: string
let send: ReturnType<typeof bucketSender>
const drive = (): string => join(server.dataDir, 'drive')

beforeAll(async () => {
  server = await startServer({ env: sweepsOften })
})
afterAll(() => server?.remove())
beforeEach(async () => {
  bucket = await newBucket(server.client)
  send = bucketSender(server, bucket)
})

async function query(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(await embeddedConnection(server.dataDir))
  await client.connect()
  const { rows } = await client.query<Record<string, unknown>>(text, values)
  await client.end()
  return rows
}

/** A blob file that no row knows, two days old. */
async function strayFile(name: string): Promise<string> {
  const body = freshBody(5000)
  const folder = join(drive(), 'blobs', name.slice(0, 2), name.slice(2, 4))
  await mkdir(folder, { recursive: true })
  const footer = encodeFooter({ blob: name, length: body.length, bucketId: 1, key: 'nobody', blocks: Uint32Array.of(0) })
  await writeFile(join(folder, name), Buffer.concat([body, footer]))
  const then = new Date(Date.now() - 2 * 86_400_000)
  await utimes(join(folder, name), then, then)
  return `blobs/${name.slice(0, 2)}/${name.slice(2, 4)}/${name}`
}

async function bytesBelow(folder: string): Promise<number> {
  let total = 0
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) if (entry.isFile()) total += (await stat(join(entry.parentPath, entry.name))).size
  return total
}

// First, while the segments hold little else: only what is mostly dead is compacted.
test('records whose new place the database forgot, as one from before a compaction has, are found again', async () => {
  const bodies = new Map<string, Buffer>()
  for (let index = 0; index < 40; index++) {
    const body = freshBody(10_000)
    await send('PUT', `moved-${index}`, { body })
    if (index % 10 === 0) bodies.set(`moved-${index}`, body)
  }
  // A restart ends the segment, so that it can be compacted.
  await server.stop()
  await server.restart()
  for (let index = 0; index < 40; index++) if (index % 10 !== 0) await send('DELETE', `moved-${index}`)
  const moves = () => query(`SELECT encode(m.blob, 'hex') AS blob FROM blob_relocations m JOIN objects o ON position(m.blob in o.manifest) > 0 WHERE o.key LIKE 'moved-%'`)
  await expect.poll(async () => (await moves()).length, { timeout: 30_000, interval: 300 }).toBe(4)
  // The old segment goes after the grace.
  await expect.poll(async () => (await query(`SELECT count(*)::int AS n FROM released_blobs`))[0]?.['n'], { timeout: 30_000, interval: 300 }).toBe(0)
  const folder = join(server.dataDir, 'drive', 'segments')
  const notes = async () => (await readdir(folder)).filter((name) => name.endsWith('.notes'))
  const moved = async () => (await Promise.all((await notes()).map((name) => readFile(join(folder, name), 'utf8').catch(() => '')))).filter((text) => /"movedAt":\d/.test(text))
  // The database learns of a move first, then the notes beside the segment.
  await expect.poll(async () => (await moved()).length, { timeout: 30_000, interval: 100 }).toBeGreaterThan(0)
  await expect.poll(moved, { timeout: 30_000, interval: 300 }).toEqual([])
  await server.stop()
  // A sweep would move what it finds, and so mend it.
  await server.restart({ HOLDFAST_SWEEP_INTERVAL_SECONDS: '86400' })
  await query('DELETE FROM blob_relocations')
  expect((await send('GET', 'moved-0')).status).toBe(500)
  const lost = await fsckReport(server.dataDir)
  expect(lost.code).toBe(1)
  const named = lost.findings.filter(({ object }) => object?.key.startsWith('moved-'))
  expect(named.map(({ object }) => object?.key).sort()).toEqual([...bodies.keys()].sort())
  expect(named.every(({ detail }) => detail.includes('fsck --repair tells it'))).toBe(true)
  expect((await fsckReport(server.dataDir, '--repair')).repaired).toMatchObject({ relocations: lost.findings.length })
  for (const [key, body] of bodies) expect((await send('GET', key)).body.equals(body)).toBe(true)
  expect((await scrubReport(server.dataDir)).code).toBe(0)
  await server.stop()
  await server.restart()
})

test('beside live traffic, compaction and sweeps nothing is called a difference; afterwards each byte is accounted for', async () => {
  const load = startLoad(newWorld(server, bucket, await newBucket(server.client, 'Enabled')), { clients: 6 })
  for (let round = 0; round < 3; round++) {
    const scrubbed = await scrubReport(server.dataDir, '--digests')
    expect({ code: scrubbed.code, findings: scrubbed.findings }).toEqual({ code: 0, findings: [] })
    const summed = await fsckReport(server.dataDir)
    expect({ code: summed.code, findings: summed.findings }).toEqual({ code: 0, findings: [] })
  }
  await load.stop()
  await server.stop()
  // Without a server, too: then it runs the database itself, and gives the data folder back.
  const scrubbed = await scrubReport(server.dataDir, '--digests')
  expect(scrubbed).toMatchObject({ code: 0, findings: [], complete: true })
  expect(scrubbed.rows.digestsCompared).toBe(scrubbed.rows.checked)
  const [before, summed] = [await bytesBelow(drive()), await fsckReport(server.dataDir)]
  expect(summed).toMatchObject({ code: 0, findings: [], difference: 0, busy: false })
  expect(summed.drives[0]).toMatchObject({ total: before, unexplained: 0 })
  await server.restart()
})

test('a share reads that share only, and all shares read everything once', async () => {
  for (let index = 0; index < 12; index++) await send('PUT', `k${index}`, { body: freshBody(3000) })
  const whole = await scrubReport(server.dataDir)
  const shares = [await scrubReport(server.dataDir, '--subset', '1/3'), await scrubReport(server.dataDir, '--subset', '2/3'), await scrubReport(server.dataDir, '--subset', '3/3')]
  expect(shares.every(({ code }) => code === 0)).toBe(true)
  expect(shares.reduce((sum, { rows }) => sum + rows.bytesRead, 0)).toBe(whole.rows.bytesRead)
  expect(shares.every(({ rows }) => rows.checked === whole.rows.checked && rows.bytesRead < whole.rows.bytesRead)).toBe(true)
})

test('a row that says another ETag, checksum or size than its bytes have is named with key and version', async () => {
  await send('PUT', 'etag', { body: freshBody(3000) })
  await send('PUT', 'sum', { body: freshBody(200_000) })
  await send('PUT', 'size', { body: freshBody(3000) })
  await query(`UPDATE objects SET etag = decode(md5('x'), 'hex') WHERE key = 'etag'`)
  await query(`UPDATE objects SET checksum = set_byte(checksum, 3, get_byte(checksum, 3) # 1) WHERE key = 'sum'`)
  await query(`UPDATE objects SET size = 3001 WHERE key = 'size'`)
  const { code, findings } = await scrubReport(server.dataDir, '--digests')
  expect(code).toBe(1)
  expect(findings.map(({ kind, object }) => `${kind} ${object?.bucket}/${object?.key} ${object?.versionId}`).sort())
    .toEqual([`mismatch ${bucket}/etag null`, `mismatch ${bucket}/sum null`, `row ${bucket}/size null`])
  const text = await holdfast(server.dataDir, 'scrub', '--digests')
  expect(text.stdout).toContain(`mismatch: ${bucket}/etag: the MD5 is`)
  await query(`DELETE FROM objects WHERE key IN ('etag', 'sum', 'size')`)
  // What these rows named is nobody's now, and young.
  expect((await scrubReport(server.dataDir)).code).toBe(0)
})

test('orphans are reported; a repair moves them to the trash, and the command that it prints puts them back', async () => {
  const path = await strayFile('0a'.repeat(16))
  const found = await scrubReport(server.dataDir)
  expect(found).toMatchObject({ code: 1, findings: [{ kind: 'orphan', blob: '0a'.repeat(16) }] })
  expect((await fsckReport(server.dataDir)).drives[0]?.blobs.orphan).toEqual({ count: 1, bytes: 5000 })
  const repaired = await fsckReport(server.dataDir, '--repair')
  expect(repaired).toMatchObject({ code: 1, refused: null, repaired: { moved: 1, relocations: 0 } })
  const [trash] = repaired.repaired?.trash ?? []
  expect((await readFile(join(trash?.folder ?? '', path))).length).toBeGreaterThan(5000)
  expect((await scrubReport(server.dataDir)).code).toBe(0)
  expect(await fsckReport(server.dataDir)).toMatchObject({ code: 0, difference: 0 })
  execFileSync('sh', ['-c', trash?.back ?? 'false'])
  expect((await scrubReport(server.dataDir)).findings).toMatchObject([{ kind: 'orphan', blob: '0a'.repeat(16) }])
  await rm(join(drive(), path))
})

test('more than 1 % as orphans: a repair is refused until the operator has looked, and so is the sweeper', async () => {
  const names = Array.from({ length: 101 }, (_, index) => `0b${index.toString(16).padStart(30, '0')}`)
  for (const name of names) await strayFile(name)
  const refused = await fsckReport(server.dataDir, '--repair')
  expect(refused).toMatchObject({ code: 2, repaired: null })
  expect(refused.refused).toContain('--allow-orphans')
  const allowed = await fsckReport(server.dataDir, '--allow-orphans')
  expect(allowed).toMatchObject({ code: 1, repaired: null, refused: null, allowed: [{ blobs: 101 }] })
  expect(JSON.parse(await readFile(join(drive(), 'allow-orphans.json'), 'utf8'))).toMatchObject({ blobs: 101 })
  await rm(join(drive(), 'allow-orphans.json'))
  expect((await fsckReport(server.dataDir, '--repair', '--allow-orphans')).repaired).toMatchObject({ moved: 101 })
  await rm(join(drive(), 'trash'), { recursive: true })
})

describe('exit code 2 and a reason', () => {
  test.each([
    ['an unknown option', ['scrub', '--all'], /--all/],
    ['an option of the other command', ['scrub', '--repair'], /no option of scrub/],
    ['a share that is none', ['scrub', '--subset', '3/2'], /--subset 3\/2/],
  ])('for %s', async (_name, args, reason) => {
    const { code, stderr } = await holdfast(server.dataDir, ...args)
    expect(code).toBe(2)
    expect(stderr).toMatch(reason)
  })

  test('for a data folder that is not there, and it is not made', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-none-'))
    expect((await holdfast(join(folder, 'none'), 'scrub')).code).toBe(2)
    expect(await readdir(folder)).toEqual([])
    await rm(folder, { recursive: true })
  })

  test('for a drive that is missing or foreign', async () => {
    const marker = join(drive(), 'holdfast-drive.json')
    const right = await readFile(marker, 'utf8')
    await rename(marker, `${marker}.aside`)
    expect((await holdfast(server.dataDir, 'fsck', '--repair')).stderr).toContain('marker is missing')
    await writeFile(marker, JSON.stringify({ ...(JSON.parse(right) as object), uuid: '00000000-0000-4000-8000-000000000000' }))
    const { code, stderr } = await holdfast(server.dataDir, 'fsck', '--repair')
    expect(code).toBe(2)
    expect(stderr).toContain('foreign')
    await rename(`${marker}.aside`, marker)
  })
})

test('help names the exit codes and each option; a report file is the same report', async () => {
  for (const name of ['scrub', 'fsck']) {
    const { code, stdout } = await holdfast(server.dataDir, name, '--help')
    expect(code).toBe(0)
    expect(stdout).toContain('Exit codes: 0')
  }
  const file = join(server.dataDir, 'report.json')
  const { stdout } = await holdfast(server.dataDir, 'scrub', '--json', '--report', file)
  expect(await readFile(file, 'utf8')).toBe(stdout)
})
