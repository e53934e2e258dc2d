import { appendFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test } from 'vitest'
import { startExternalPostgres, type ExternalPostgres } from '../support/external-postgres.ts'
import { contentOf, type Content } from '../support/ledger.ts'
import { freshBody } from '../support/load.ts'
import { signedRequest, xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketSender, newBucket, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { eachOf } from '../support/verify.ts'
import { smallDisk, type SmallDisk } from '../support/tmpfs.ts'

const soon = { timeout: 30_000, interval: 200 }
const sweepOften = { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' }
const full = '507 InsufficientStorage'
/** Default of HOLDFAST_SMALL_BODY_BYTES_MAX. */
const smallBytesMax = 131_072

/** A server on a small disk, one bucket, and what its clients know to be in it. */
function disk(env: () => Readonly<Record<string, string>>, megabytes: number) {
  const stored = new Map<string, Content>()
  let place: SmallDisk
  let server: TestServer
  let send: ReturnType<typeof bucketSender>
  let count = 0
  beforeAll(async () => {
    place = await smallDisk(megabytes)
    server = await startServer({ dataDir: place.folder, wrapper: place.wrapper, env: { ...sweepOften, ...env() } })
    send = bucketSender(server, await newBucket(server.client))
  })
  beforeEach(() => onTestFailed(() => console.log(server?.output().split('\n').filter((line) => !line.includes('A request failed')).slice(-40).join('\n'))))
  afterAll(async () => {
    await server?.remove()
    await place?.remove()
  })

  async function put(size: number): Promise<string> {
    const body = freshBody(size)
    const key = `${size}/${String(count++).padStart(5, '0')}`
    const response = await send('PUT', key, { body })
    if (response.status === 200) stored.set(key, contentOf(body))
    return outcome(response)
  }

  return {
    put,
    send: (...args: Parameters<typeof send>): Promise<RawResponse> => send(...args),
    server: () => server,
    seen: () => place.seenFrom(server.pid),
    /** Puts objects of this size until one is refused; the refusal. */
    async fill(size: number): Promise<string> {
      for (;;) {
        const answers = await Promise.all(Array.from({ length: 12 }, () => put(size)))
        const refused = answers.find((answer) => answer !== '200')
        if (refused !== undefined) return refused
      }
    },
    async removeAll(size: number): Promise<void> {
      await eachOf([...stored.keys()].filter((each) => each.startsWith(`${size}/`)), async (key) => {
        expect(outcome(await send('DELETE', key))).toBe('204')
        stored.delete(key)
      })
    },
    /** The sweeper has removed what was deleted: nothing gives room back from here on. */
    async isSwept(): Promise<void> {
      const large = [...stored.values()].filter(({ size }) => size > smallBytesMax).length
      const files = async () => (await readdir(join(place.seenFrom(server.pid), 'drive', 'blobs'), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
      await expect.poll(async () => (await files()).length, soon).toBe(large)
    },
    /** Every connection to the database is back: each comes by itself. */
    async isBack(): Promise<void> {
      await expect.poll(async () => outcome(await send('GET', '?list-type=2')), soon).toBe('200')
      await expect.poll(async () => (await signedRequest({ server, path: '/' })).status, soon).toBe(200)
    },
    /** Exactly what was acknowledged is listed, each byte of it is there, and nothing half-written is. */
    async isWhole(): Promise<void> {
      const keys: string[] = []
      for (let after = ''; ; after = keys.at(-1) ?? '') {
        const page = await send('GET', `?list-type=2&start-after=${encodeURIComponent(after)}`)
        keys.push(...xmlTexts(page.text, 'Key'))
        if (xmlText(page.text, 'IsTruncated') !== 'true') break
      }
      expect(keys).toEqual([...stored.keys()].sort())
      await eachOf(stored, async ([key, content]) => expect(contentOf((await send('GET', key)).body), key).toEqual(content))
      const temporaries = await readdir(join(place.seenFrom(server.pid), 'drive', 'tmp'), { recursive: true })
      expect(temporaries.filter((name) => name.includes('/'))).toEqual([])
    },
  }
}

describe('a full disk', () => {
  let postgres: ExternalPostgres
  beforeAll(async () => {
    postgres = await startExternalPostgres()
  })
  afterAll(() => postgres?.remove())
  const it = disk(() => ({ HOLDFAST_DATABASE_URL: postgres.url }), 64)

  test('refuses large bodies, parts and small bodies with 507 and leaves nothing of them', async () => {
    for (const size of [0, 100, 100_000]) expect(await it.put(size)).toBe('200')
    const created = await it.send('POST', 'parts?uploads')
    expect(await it.fill(4_000_000)).toBe(full)
    expect(await it.fill(400_000)).toBe(full)
    const part = `parts?partNumber=1&uploadId=${xmlText(created.text, 'UploadId')}`
    expect(outcome(await it.send('PUT', part, { body: freshBody(5_300_000) }))).toBe(full)
    expect(await it.fill(100_000)).toBe(full)
    expect(await it.fill(3_000)).toBe(full)
    await it.isWhole()
  })

  test('goes on reading, listing, copying and deleting', async () => {
    expect(outcome(await it.send('PUT', 'a-copy', { headers: { 'x-amz-copy-source': (await firstKey()) } }))).toBe('200')
    expect(outcome(await it.send('HEAD', 'a-copy'))).toBe('200')
    expect(outcome(await it.send('DELETE', 'a-copy'))).toBe('204')
    expect((await signedRequest({ server: it.server(), path: '/' })).status).toBe(200)
    await it.isWhole()
  })

  test('takes writes again without a restart once large objects were deleted', async () => {
    await it.removeAll(4_000_000)
    await expect.poll(() => it.put(4_000_000), soon).toBe('200')
    await expect.poll(() => it.put(1_000), soon).toBe('200')
    await it.isWhole()
  })

  test('takes writes again when small objects alone were deleted', async () => {
    await it.removeAll(4_000_000)
    await expect.poll(() => it.put(100_000), soon).toBe('200')
    expect(await it.fill(100_000)).toBe(full)
    await it.removeAll(100_000)
    await expect.poll(() => it.put(4_000_000), soon).toBe('200')
    await expect.poll(() => it.put(100_000), soon).toBe('200')
    await it.isWhole()
  })

  async function firstKey(): Promise<string> {
    const page = await it.send('GET', '?list-type=2&prefix=4000000/')
    return `/${xmlText(page.text, 'Name')}/${xmlTexts(page.text, 'Key')[0]}`
  }
})

describe('a full disk that holds the database as well', () => {
  const it = disk(() => ({}), 256)

  test('leaves the database room to delete and to come back from its own death', async () => {
    expect(await it.put(100)).toBe('200')
    expect(await it.fill(4_000_000)).toBe(full)
    expect(await it.fill(100_000)).toBe(full)
    await it.isWhole()
    await it.server().killPostgres()
    await it.isBack()
    await it.removeAll(4_000_000)
    await expect.poll(() => it.put(4_000_000), soon).toBe('200')
    await it.isWhole()
  })

  test('that somebody else has filled to the last byte is waited for, even when the database dies meanwhile', async () => {
    const ballast = join(it.seen(), 'ballast')
    await it.isSwept()
    expect(await it.put(50_000)).toBe('200')
    await writeFile(ballast, '')
    await expect((async () => {
      for (const piece = Buffer.alloc(1024 ** 2); ;) await appendFile(ballast, piece)
    })()).rejects.toThrow('ENOSPC')
    expect(await it.put(50_000)).toBe(full)
    await it.isWhole()
    await it.server().killPostgres()
    await expect.poll(() => it.put(50_000), soon).toMatch(/^50[37] /)
    await sleep(1_500)
    await rm(ballast)
    await expect.poll(() => it.put(50_000), soon).toBe('200')
    await it.isBack()
    await it.isWhole()
  })
})
