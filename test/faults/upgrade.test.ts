import { createHash } from 'node:crypto'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { crc32c } from '../../src/storage/local/crc32c.ts'
import { startEmbedded } from '../../src/metadata/postgres/embedded.ts'
import { holdfast } from '../support/holdfast.ts'
import { failedStart } from '../support/server.ts'
import { migrationHashes, restoreFolder } from './upgrade/old-folder.ts'
import { drawnKeys, sql, startOn, upgradePlace, type UpgradePlace } from './upgrade/opening.ts'

/** A data folder of a later format is refused, and migrations only add. That one of the first landed format opens: test/patient. */

let place: UpgradePlace
beforeAll(async () => {
  place = await upgradePlace()
})
afterAll(() => place?.remove())

const folder = (name: string): string => place.folder(name)

test('the migrations of then are what they were', async () => {
  const { kept, today } = await migrationHashes()
  expect(today).toEqual(kept)
})

describe('migrations since several servers may share a data folder', () => {
  test('only add, so that servers of both versions run over one database while they are replaced in turn', async () => {
    const drizzle = path.join(import.meta.dirname, '..', '..', 'drizzle')
    const names = (await readdir(drizzle)).filter((name) => name.endsWith('.sql') && name > '0005')
    const lines = (await Promise.all(names.map((name) => readFile(path.join(drizzle, name), 'utf8')))).flatMap((text) => text.split('\n'))
    const others = /\b(?:DROP|RENAME|TRUNCATE|SET NOT NULL|SET DATA TYPE)\b|^\s*(?:DELETE|UPDATE)\b|\bADD COLUMN\b(?!.*\bDEFAULT\b).*\bNOT NULL\b/i
    expect(lines.filter((line) => others.test(line))).toEqual([])
  })
})

describe('a data folder of a newer format is refused in words that say what to do, and stays as it was:', () => {
  let dataDir: string
  let url: string
  beforeAll(async () => {
    dataDir = folder('newer')
    url = await place.newDatabase('newer')
    await restoreFolder(dataDir)
    const { server } = await startOn(dataDir)
    await server.stop()
    await restoreFolder(folder('newer external'), url)
    const second = await startOn(folder('newer external'), { HOLDFAST_DATABASE_URL: url })
    await second.server.stop()
  })

  const whatToDo = /written by a newer Holdfast than this one|migrated by a newer Holdfast than this one/

  async function isRefused(env: Readonly<Record<string, string>>, named: string): Promise<void> {
    const dir = env['HOLDFAST_DATA_DIR'] ?? ''
    const before = await driveFiles(dir)
    const { code, output } = await failedStart({ ...drawnKeys(dir), ...env })
    expect(code).toBe(1)
    expect(output).toMatch(whatToDo)
    expect(output).toContain(named)
    expect(output).toContain('Nothing was changed. Start that version, or restore a backup that is as old as this program: the data')
    expect(await driveFiles(dir)).toEqual(before)
  }

  /** Hash of each file below the drive. */
  async function driveFiles(dir: string): Promise<Record<string, string>> {
    const found: Record<string, string> = {}
    for (const entry of await readdir(path.join(dir, 'drive'), { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name)
      if (entry.isFile()) found[file] = createHash('sha256').update(await readFile(file)).digest('hex')
    }
    return found
  }

  const unknown = `INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('unknown', 99999999999999)`

  test('a migration that this program does not know', async () => {
    const inside = async (text: string): Promise<void> => {
      const embedded = await startEmbedded({ dataDir, log: () => {} })
      await sql({ ...embedded.connection }, text)
      await embedded.stop()
    }
    await inside(unknown)
    await isRefused({ HOLDFAST_DATA_DIR: dataDir }, '1 of its migrations is not known here')
    for (const command of ['scrub', 'fsck']) expect(await holdfast(dataDir, command)).toMatchObject({ code: 2, stderr: expect.stringContaining('migrated by a newer Holdfast') })
    await inside(`DELETE FROM drizzle.__drizzle_migrations WHERE hash = 'unknown'`)
  })

  test('such a migration in an external database, also one that is older than the newest of this program', async () => {
    for (const text of [unknown, unknown.replace('99999999999999', '1795699000001')]) {
      await sql(url, text)
      await isRefused({ HOLDFAST_DATA_DIR: folder('newer external'), HOLDFAST_DATABASE_URL: url }, '1 of its migrations is not known here')
      await sql(url, `DELETE FROM drizzle.__drizzle_migrations WHERE hash = 'unknown'`)
    }
  })

  test('a drive whose marker names a later format, before the database is migrated', async () => {
    const old = folder('newer drive')
    const fresh = await place.newDatabase('untouched')
    await restoreFolder(old, fresh)
    const marker = path.join(old, 'drive', 'holdfast-drive.json')
    const text = await readFile(marker, 'utf8')
    await writeFile(marker, text.replace('"format":1', '"format":2,"more":"things"'))
    await isRefused({ HOLDFAST_DATA_DIR: old, HOLDFAST_DATABASE_URL: fresh }, 'holdfast-drive.json has format 2, this program knows 1')
    expect((await sql(fresh, 'SELECT FROM drizzle.__drizzle_migrations')).rowCount).toBe(2)
    await writeFile(marker, text.slice(0, 20))
    const damaged = await failedStart({ ...drawnKeys(old), HOLDFAST_DATA_DIR: old, HOLDFAST_DATABASE_URL: fresh })
    expect(damaged).toMatchObject({ code: 1, output: expect.stringContaining('holdfast-drive.json is damaged') })
  })

  test('a cluster of another PostgreSQL', async () => {
    const version = path.join(dataDir, 'postgres', 'PG_VERSION')
    const ours = await readFile(version)
    await writeFile(version, '99\n')
    const { code, output } = await failedStart({ ...drawnKeys(dataDir), HOLDFAST_DATA_DIR: dataDir })
    expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining('belongs to PostgreSQL 99; this program carries PostgreSQL 18. Dump it with 99 and restore it') })
    await writeFile(version, ours)
  })

  test.each([
    { format: 'HFSEGM02', number: 1 },
    { format: 'HFSEGM01', number: 2 },
  ])('a segment of a later format: $format, $number', async ({ format, number }) => {
    const head = Buffer.alloc(128)
    head.write(format, 'latin1')
    head.writeUInt32BE(number, 8)
    head.writeUInt32BE(crc32c(head.subarray(0, 124)), 124)
    const later = path.join(dataDir, 'drive', 'segments', '01'.repeat(16))
    await writeFile(later, Buffer.concat([head, Buffer.alloc(1000, 'later')]))
    await isRefused({ HOLDFAST_DATA_DIR: dataDir }, `segments/${'01'.repeat(16)} has a format that this program does not know`)
    expect(await holdfast(dataDir, 'fsck')).toMatchObject({ code: 2, stderr: expect.stringContaining('written by a newer Holdfast') })
    // One rotten bit is no new format.
    await writeFile(later, Buffer.concat([head.fill(1, 30, 31), Buffer.alloc(1000, 'later')]))
    const { server } = await startOn(dataDir)
    await server.stop()
    await rm(later)
  })
})
