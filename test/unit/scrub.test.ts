import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { combineEtags, combineFullObject, compositeOf, digestOf } from '../../src/checksums/algorithms.ts'
import type { Checksum, Extent, PartSummary } from '../../src/domain/model.ts'
import type { CheckedRow, CheckStore, SweepStore } from '../../src/metadata/store.ts'
import { blobPath } from '../../src/storage/backend.ts'
import { createScrubber, positionName } from '../../src/storage/scrub-background.ts'
import { createRowDigests } from '../../src/storage/scrub-digests.ts'
import { parseCommand, UsageError } from '../../src/cli/options.ts'
import { barText, bytesText, progressBar } from '../../src/cli/progress.ts'
import { poolOfFile } from './blobs-pool.ts'
import { bodyOf, openRoom, patterned, writeOptions } from './blobs-room.ts'
import type { Room } from './blobs-room.ts'

const pool = poolOfFile()
let room: Room
beforeEach(async () => {
  room = await openRoom({ pool, smallBodyBytesMax: 20_000 })
})
afterEach(() => room.close())

/** Rows in memory, in pages of two. */
function rowsOf(rows: CheckedRow[]): CheckStore & Pick<SweepStore, 'relocations'> {
  return {
    checkedRows: async (after) => {
      const from = after === null ? 0 : rows.findIndex(({ position }) => position.key === after.key) + 1
      const page = rows.slice(from, from + 2)
      return { rows: page, next: page.at(-1)?.position ?? null }
    },
    namesStill: async (row) => rows.includes(row),
    fates: async () => new Map(),
    shared: async () => new Set(),
    checkTotals: async () => ({ versions: rows.length, bytes: 0 }),
    changeMark: async () => '',
    addRelocations: async () => 0,
    relocations: async () => new Map(),
  }
}

function rowOf(key: string, size: number, manifest: readonly Extent[], more: Partial<CheckedRow> = {}): CheckedRow {
  return {
    position: { table: 'objects', bucketId: 1, key, seq: 1 }, bucketId: 1, bucket: 'bucket', key, versionId: 'null', upload: null, isLatest: true, size,
    etag: '', checksum: null, parts: null, manifest, problem: null, ...more,
  }
}

async function store(key: string, size: number): Promise<CheckedRow> {
  const { manifest } = await room.blobs.write(bodyOf(patterned(size, key.length + size)), writeOptions({ owner: { bucketId: 1, key } }))
  return rowOf(key, size, manifest)
}

async function flip(row: CheckedRow, at: number): Promise<void> {
  const path = join(room.root, blobPath(row.manifest[0]?.blob ?? ''))
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}

test('a server’s own scrub logs what is damaged by name, counts it, and begins again where it stopped', async () => {
  const rows = [await store('a', 3000), await store('b', 1_500_000), await store('c', 50_000), await store('d', 40_000), await store('e', 10)]
  await flip(rows[1] as CheckedRow, 1_200_000)
  await flip(rows[3] as CheckedRow, 5)
  const logged: string[] = []
  const note = (message: string, fields?: Readonly<Record<string, unknown>>) => void logged.push(`${message} ${JSON.stringify(fields)}`)
  const options = { store: rowsOf(rows), drives: [room.drive], log: { info: note, warn: note, error: note }, bytesPerSecond: 1e10 }
  const first = createScrubber(options)
  await first.runOnce()
  expect(first.status()).toMatchObject({ passes: 1, rowsChecked: 5, findings: { damaged: 2 } })
  expect(logged.map((line) => /"key":"(\w+)"/.exec(line)?.[1])).toEqual(['b', 'd'])
  // As if it had been stopped after the second one.
  await writeFile(join(room.root, positionName), JSON.stringify({ format: 1, after: (rows[1] as CheckedRow).position, passes: 1, lastPassAt: 5 }))
  const second = createScrubber(options)
  await second.runOnce()
  expect(second.status()).toMatchObject({ passes: 2, rowsChecked: 3, findings: { damaged: 1 } })
  expect(JSON.parse(await readFile(join(room.root, positionName), 'utf8'))).toMatchObject({ after: null, passes: 2 })
  await second.stop()
})

test('it reads no faster than it may, and a stop does not wait for the pace', async () => {
  const rows = [await store('a', 1_500_000), await store('b', 1_500_000)]
  const scrubber = createScrubber({ store: rowsOf(rows), drives: [room.drive], log: { info: () => undefined, warn: () => undefined, error: () => undefined }, bytesPerSecond: 1000, firstAfterMs: 0 })
  scrubber.start()
  await new Promise((resolve) => { setTimeout(resolve, 200) })
  await scrubber.stop()
  expect(scrubber.status()).toMatchObject({ passes: 0, findings: {} })
  expect(scrubber.status().bytesRead).toBeLessThan(1_500_000)
})

test('a row that went while its bytes were looked for is no difference', async () => {
  const row = await store('gone', 50_000)
  const rows = [row]
  await writeFile(join(room.root, blobPath(row.manifest[0]?.blob ?? '')), '')
  const kept = rowsOf(rows)
  const scrubber = createScrubber({
    store: { ...kept, namesStill: async () => false }, drives: [room.drive], log: { info: () => undefined, warn: () => undefined, error: () => undefined }, bytesPerSecond: 1e10,
  })
  await scrubber.runOnce()
  expect(scrubber.status().findings).toEqual({})
})

const parts = [patterned(70_000, 1), patterned(0, 2), patterned(30_001, 3)]
const whole = Buffer.concat(parts)
const md5s = parts.map((part) => Buffer.from(digestOf('MD5', part), 'base64').toString('hex'))
const summaries = (algorithm: 'SHA256' | 'CRC32' | 'CRC64NVME'): PartSummary[] => parts.map((part, index) => ({ partNumber: index + 1, size: part.length, checksum: digestOf(algorithm, part) }))
const combined = combineFullObject('CRC64NVME', parts.map((part) => ({ value: digestOf('CRC64NVME', part), size: part.length })))
const composite = compositeOf('SHA256', parts.map((part) => digestOf('SHA256', part)))

test.each<[string, Partial<CheckedRow>]>([
  ['one body', { etag: Buffer.from(digestOf('MD5', whole), 'base64').toString('hex'), checksum: { algorithm: 'SHA1', type: 'FULL_OBJECT', value: digestOf('SHA1', whole) } }],
  ['parts with a checksum of the whole', { etag: combineEtags(md5s), parts: summaries('CRC64NVME'), checksum: combined }],
  ['parts with a checksum of their checksums', { etag: combineEtags(md5s), parts: summaries('SHA256'), checksum: composite }],
  ['parts without checksums of their own', { etag: combineEtags(md5s), parts: summaries('CRC32').map((part) => ({ ...part, checksum: null })), checksum: combined }],
])('digests of %s are the stored ones, and a changed byte is seen in each', (_name, more) => {
  const row = rowOf('k', whole.length, [], more)
  const problemsOf = (bytes: Buffer, changed: CheckedRow = row): string[] => {
    const digests = createRowDigests(changed)
    for (let at = 0; at < bytes.length; at += 4097) digests.update(bytes.subarray(at, at + 4097))
    return digests.finish()
  }
  expect(problemsOf(whole)).toEqual([])
  const flipped = Buffer.from(whole)
  flipped[70_000] = (flipped[70_000] ?? 0) ^ 1
  const ownChecksum = row.parts?.[2]?.checksum === undefined || row.parts[2].checksum === null ? 0 : 1
  expect(problemsOf(flipped).length).toBe(2 + ownChecksum)
  expect(problemsOf(whole, { ...row, checksum: { ...(row.checksum as Checksum), value: 'AAAA' } }).length).toBe(1)
})

test('the command line is understood or refused in one line', () => {
  expect(parseCommand('scrub', ['--subset', '2/7', '--digests', '--json'])).toEqual({ name: 'scrub', share: { n: 2, of: 7 }, digests: true, json: true, reportFile: null })
  expect(parseCommand('fsck', ['--repair', '--report', 'x.json'])).toEqual({ name: 'fsck', repair: true, allowOrphans: false, json: false, reportFile: 'x.json' })
  for (const argv of [['--subset', '0/3'], ['--subset', '4/3'], ['--subset', '1'], ['--subset', '1/99999'], ['--repair'], ['x'], ['--nothing']]) {
    expect(() => parseCommand('scrub', argv)).toThrow(UsageError)
  }
})

test('the bar is drawn on a terminal only, and never beyond its end', () => {
  const shown: string[] = []
  const draw = (text: string) => void shown.push(text)
  progressBar(draw, false, 100).show({ phase: 'rows', blobs: 1, bytes: 50 })
  expect(shown).toEqual([])
  progressBar(draw, true, 100).show({ phase: 'rows', blobs: 1, bytes: 50 })
  expect(shown.join('')).toContain(' 50 %')
  expect(barText({ phase: 'drives', blobs: 9, bytes: 300 }, 100)).toContain('100 %')
  expect([bytesText(0), bytesText(1023), bytesText(1024), bytesText(5 * 1024 ** 4)]).toEqual(['0 bytes', '1023 bytes', '1.0 KiB', '5.0 TiB'])
})
