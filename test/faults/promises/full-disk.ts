import { appendFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { diskRoomMs } from '../../../src/domain/limits.ts'
import { startExternalPostgres } from '../../support/external-postgres.ts'
import { contentOf, type Content } from '../../support/ledger.ts'
import { lastingTemporaryFiles } from '../../support/leftovers.ts'
import { freshBody } from '../../support/load.ts'
import { signedRequest, xmlText, xmlTexts, type RawResponse } from '../../support/raw.ts'
import { bucketSender, newBucket, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { blobFiles, sweepsOften } from '../../support/swept.ts'
import { smallDisk } from '../../support/tmpfs.ts'
import { isBack, serves, until } from '../../support/under-load.ts'
import { eachOf } from '../../support/verify.ts'
import { randomOf } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'full disk'
export const promise = 'Writes get 507 and leave nothing, reads, listings, copies and deletes go on, and writes resume without a restart when there is room'
export const method = 'a tmpfs of 64 MB for the data alone, and one of 256 MB with the database, filled with large and small bodies, emptied in part and filled again; filled by others to the last byte; PostgreSQL killed meanwhile'

const full = '507 InsufficientStorage'
/** Default of HOLDFAST_SMALL_BODY_BYTES_MAX. */
const smallBytesMax = 131_072

/** One case is one answer, or one look at all that is stored. */
interface Judge {
  cases: number
  readonly violations: string[]
  equal(what: string, found: string, wanted: string): void
}

/** A server on a small disk, one bucket, and what its clients know to be in it. */
interface Disk {
  readonly server: TestServer
  readonly seen: string
  send(method: string, key: string, request?: { body?: Uint8Array; headers?: Readonly<Record<string, string>> }): Promise<RawResponse>
  put(size: number): Promise<string>
  /** Puts objects of this size until one is refused; the refusal. */
  fill(size: number): Promise<string>
  removeAll(size: number): Promise<void>
  /** Puts of this size are taken again. */
  takes(size: number): Promise<void>
  /** The sweeper has removed what was deleted: nothing gives room back from here on. */
  isSwept(): Promise<void>
  isBack(): Promise<void>
  /** Exactly what was acknowledged is listed, each byte of it is there, and nothing half-written is. */
  isWhole(when: string): Promise<void>
  remove(): Promise<void>
}

export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const judge: Judge = {
    cases: 0, violations: [],
    equal(what, found, wanted) {
      judge.cases += 1
      if (found !== wanted) judge.violations.push(`seed ${seed}: ${what}: ${found}, not ${wanted}`)
    },
  }
  const postgres = await startExternalPostgres()
  try {
    const alone = await openDisk(judge, 64, { HOLDFAST_DATABASE_URL: postgres.url })
    const shared = await openDisk(judge, 256, {}).catch(async (error: unknown) => {
      await alone.remove()
      throw error
    })
    try {
      for (let round = 1; (round === 1 || Date.now() < end) && judge.violations.length < 10; round++) {
        // The first one as everybody would: what the rest differs by is the sizes.
        const size = (usual: number): number => (round === 1 ? usual : Math.round(usual * (0.7 + 0.5 * random())))
        await fillAndEmpty(alone, judge, { large: size(4_000_000), middle: size(400_000), small: size(100_000), tiny: size(3_000) })
        await withDatabase(shared, judge, { large: size(4_000_000), small: size(100_000) })
        await filledByOthers(shared, judge, size(50_000))
        await shared.removeAll(0)
        say(`round ${round}: ${judge.cases} cases, ${judge.violations.length} violations`)
      }
    } finally {
      await alone.remove()
      await shared.remove()
    }
  } finally {
    await postgres.remove()
  }
  return { cases: judge.cases, violations: judge.violations }
}

interface Sizes {
  readonly large: number
  readonly middle: number
  readonly small: number
  readonly tiny: number
}

async function fillAndEmpty(it: Disk, judge: Judge, { large, middle, small, tiny }: Sizes): Promise<void> {
  for (const size of [0, 100, small]) judge.equal(`PUT of ${size} bytes to an empty disk`, await it.put(size), '200')
  const uploadId = xmlText((await it.send('POST', 'parts?uploads')).text, 'UploadId')
  for (const size of [large, middle]) judge.equal(`PUTs of ${size} bytes until the disk is full`, await it.fill(size), full)
  judge.equal('a part on a full disk', outcome(await it.send('PUT', `parts?partNumber=1&uploadId=${uploadId}`, { body: freshBody(5_300_000) })), full)
  for (const size of [small, tiny]) judge.equal(`PUTs of ${size} bytes until the disk is full`, await it.fill(size), full)
  await it.isWhole('full')

  const page = await it.send('GET', `?list-type=2&prefix=${large}/`)
  judge.equal('a copy on a full disk', outcome(await it.send('PUT', 'a-copy', { headers: { 'x-amz-copy-source': `/${xmlText(page.text, 'Name')}/${xmlTexts(page.text, 'Key')[0]}` } })), '200')
  judge.equal('HEAD of the copy', outcome(await it.send('HEAD', 'a-copy')), '200')
  judge.equal('DELETE of the copy', outcome(await it.send('DELETE', 'a-copy')), '204')
  judge.equal('ListBuckets', (await serves(it.server)) ? '200' : 'no', '200')
  await it.isWhole('full, after a copy')

  await it.removeAll(large)
  await it.takes(large)
  await it.takes(1000)
  await it.isWhole('after large objects were deleted')

  // Small objects alone: what they leave is in segments.
  await it.removeAll(large)
  await it.takes(small)
  judge.equal(`PUTs of ${small} bytes until the disk is full`, await it.fill(small), full)
  await it.removeAll(small)
  await it.takes(large)
  await it.takes(small)
  await it.isWhole('after small objects were deleted')
  judge.equal('abort of the upload', outcome(await it.send('DELETE', `parts?uploadId=${uploadId}`)), '204')
  await it.removeAll(0)
}

async function withDatabase(it: Disk, judge: Judge, { large, small }: Pick<Sizes, 'large' | 'small'>): Promise<void> {
  judge.equal('PUT of 100 bytes', await it.put(100), '200')
  for (const size of [large, small]) judge.equal(`PUTs of ${size} bytes until the disk is full`, await it.fill(size), full)
  await it.isWhole('full, with the database on it')
  await it.server.killPostgres()
  await it.isBack()
  await it.removeAll(large)
  await it.takes(large)
  await it.isWhole('after PostgreSQL died on a full disk')
}

/** Somebody else has filled the disk to the last byte, and the database dies meanwhile. */
async function filledByOthers(it: Disk, judge: Judge, size: number): Promise<void> {
  const ballast = join(it.seen, 'ballast')
  await it.isSwept()
  await it.takes(size)
  await writeFile(ballast, '')
  const piece = Buffer.alloc(1024 ** 2)
  const code = await (async () => {
    for (;;) await appendFile(ballast, piece)
  })().catch((error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : String(error)))
  if (code !== 'ENOSPC') throw new Error(`the disk was not filled: ${code}`)
  // The server knows of the room of a moment ago, and small bodies have some that was laid out for them.
  await sleep(2 * diskRoomMs)
  judge.equal('PUT to a disk that others filled', await it.put(size), full)
  await it.isWhole('filled by others')
  await it.server.killPostgres()
  await until('writes are refused', async () => /^50[37] /.test(await it.put(size)), 60_000, 200)
  await sleep(1500)
  await rm(ballast)
  await it.takes(size)
  await it.isBack()
  await it.isWhole('after others gave room back')
}

async function openDisk(judge: Judge, megabytes: number, env: Readonly<Record<string, string>>): Promise<Disk> {
  const stored = new Map<string, Content>()
  const place = await smallDisk(megabytes)
  const server = await startServer({ dataDir: place.folder, wrapper: place.wrapper, env: { ...sweepsOften, ...env } }).catch(async (error: unknown) => {
    await place.remove()
    throw error
  })
  const bucket = await newBucket(server.client)
  const send = bucketSender(server, bucket)
  const seen = place.seenFrom(server.pid)
  let count = 0

  async function put(size: number): Promise<string> {
    const body = freshBody(size)
    const key = `${size}/${String(count++).padStart(5, '0')}`
    const response = await send('PUT', key, { body })
    if (response.status === 200) stored.set(key, contentOf(body))
    return outcome(response)
  }

  async function listed(): Promise<string[]> {
    const keys: string[] = []
    for (let after = ''; ; after = keys.at(-1) ?? '') {
      const page = await send('GET', `?list-type=2&start-after=${encodeURIComponent(after)}`)
      keys.push(...xmlTexts(page.text, 'Key'))
      if (xmlText(page.text, 'IsTruncated') !== 'true') return keys
    }
  }

  return {
    server, seen, put,
    send: (...args) => send(...args),
    async fill(size) {
      for (;;) {
        const answers = await Promise.all(Array.from({ length: 12 }, () => put(size)))
        const refused = answers.find((answer) => answer !== '200')
        if (refused !== undefined) return refused
      }
    },
    async removeAll(size) {
      await eachOf([...stored.keys()].filter((each) => size === 0 || each.startsWith(`${size}/`)), async (key) => {
        judge.equal(`DELETE ${key}`, outcome(await send('DELETE', key)), '204')
        stored.delete(key)
      })
    },
    async takes(size) {
      judge.cases += 1
      await until(`PUTs of ${size} bytes are taken`, async () => (await put(size)) === '200', 60_000, 200).catch((error: unknown) => void judge.violations.push(`${String(error)}\n${logOf(server)}`))
    },
    async isSwept() {
      const large = [...stored.values()].filter(({ size }) => size > smallBytesMax).length
      await until('what was deleted is swept', async () => (await blobFiles(seen)) === large, 60_000, 200)
    },
    isBack: () => isBack(server, [bucket]),
    async isWhole(when) {
      judge.equal(`what is listed, ${when}`, (await listed()).join(' '), [...stored.keys()].sort().join(' '))
      await eachOf(stored, async ([key, content]) => {
        const response = await signedRequest({ server, path: `/${bucket}/${key}` })
        judge.equal(`GET ${key}, ${when}: ${response.status}`, contentOf(response.body).sha256, content.sha256)
      })
      judge.equal(`files that are not complete, ${when}`, (await lastingTemporaryFiles(place.seenFrom(server.pid))).join(' '), '')
    },
    async remove() {
      await server.remove()
      await place.remove()
    },
  }
}

/** Without the requests that failed, as they should. */
const logOf = (server: TestServer): string => server.output().split('\n').filter((line) => !line.includes('A request failed')).slice(-40).join('\n')
