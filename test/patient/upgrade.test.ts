import { execFile } from 'node:child_process'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allAnswers } from '../faults/upgrade/answers.ts'
import { restoreFolder } from '../faults/upgrade/old-folder.ts'
import { drawnKeys, findNothing, goesOn, isAsItWas, sql, startOn, upgradePlace, wentOn, type UpgradePlace } from '../faults/upgrade/opening.ts'
import { newWorld, startLoad } from '../support/load.ts'
import { newBucket, s3Client } from '../support/s3.ts'
import { failedStart, startServer } from '../support/server.ts'
import { until } from '../support/under-load.ts'

/** A data folder of the first landed format opens with this program, whatever happens at its first starts; and the way back. */

let place: UpgradePlace
beforeAll(async () => {
  place = await upgradePlace()
})
afterAll(() => place?.remove())

const folder = (name: string): string => place.folder(name)

describe('a data folder of the first format', () => {
  test('opens with every answer as it was, goes on, and scrub and fsck find nothing; the sweeper too takes only what was dead', async () => {
    const dataDir = folder('first')
    await restoreFolder(dataDir)
    // It is older than everything: what is dead goes at once.
    const opened = await startOn(dataDir, { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' })
    await isAsItWas(opened)
    const released = async (): Promise<number> => Number((await sql({ host: path.join(dataDir, 'postgres-socket'), user: 'holdfast', database: 'holdfast' }, 'SELECT count(*) AS n FROM released_blobs')).rows[0].n)
    while (await released() > 0) await sleep(200)
    await isAsItWas(opened)
    await findNothing(dataDir)
    await goesOn(opened.root)
    await wentOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.kill9()
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
  })

  test('opens over an external PostgreSQL, after its server was killed in the middle of the migration, and with several processes', async () => {
    const dataDir = folder('external')
    const url = await place.newDatabase('killed')
    await restoreFolder(dataDir, url)
    // A table of this name that is not committed yet: the migration waits behind its own first half for what becomes of it.
    const holder = new pg.Client(url)
    // It ends with its server, should the test fail before it.
    holder.on('error', () => {})
    await holder.connect()
    await holder.query('BEGIN; CREATE TABLE settings_version ()')
    for (let time = 0; time < 2; time++) {
      const waiting = `SELECT FROM pg_stat_activity WHERE datname = 'killed' AND wait_event_type = 'Lock' AND query LIKE '%settings_version%' AND pid <> pg_backend_pid()`
      const seen = until('the migration waits', async () => (await sql(url, waiting)).rowCount !== 0)
      expect((await failedStart({ HOLDFAST_DATA_DIR: dataDir, HOLDFAST_DATABASE_URL: url, HOLDFAST_PROCESSES: '1', ...drawnKeys(dataDir) }, seen)).code).toBeNull()
      await seen
      // Nothing of it is to be seen: the old program could still go on here.
      expect((await sql(url, `SELECT to_regclass('objects_wide') AS wide, (SELECT count(*)::int FROM drizzle.__drizzle_migrations) AS applied`)).rows).toEqual([{ wide: null, applied: 2 }])
      await sql(url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'killed' AND wait_event_type = 'Lock'`)
    }
    await holder.query('ROLLBACK')
    await holder.end()
    const opened = await startOn(dataDir, { HOLDFAST_DATABASE_URL: url, HOLDFAST_PROCESSES: '2' })
    await isAsItWas(opened)
    await goesOn(opened.root)
    await opened.server.kill9()
    await opened.server.restart()
    await wentOn(opened.root)
    await opened.server.stop()
  })

  test('opens after its first starts were killed at any moment, with the database or without', async () => {
    const dataDir = folder('killed')
    await restoreFolder(dataDir)
    for (const killMs of [250, 400, 500, 600, 700, 850, 1000]) {
      await failedStart({ HOLDFAST_DATA_DIR: dataDir, HOLDFAST_PROCESSES: '1', ...drawnKeys(dataDir) }, killMs)
    }
    const opened = await startOn(dataDir)
    await isAsItWas(opened)
    await opened.server.kill9()
    await opened.server.restart()
    await isAsItWas(opened)
    await goesOn(opened.root)
    await opened.server.stop()
    await findNothing(dataDir)
  })
})

test('a backup for going back: the database first, the folder after it, while clients write, overwrite and delete', async () => {
  const dataDir = folder('running')
  const url = await place.newDatabase('running')
  const server = await startServer({ dataDir, env: { HOLDFAST_DATABASE_URL: url } })
  const client = s3Client(server)
  const world = newWorld(server, await newBucket(client), await newBucket(client, 'Enabled'))
  const load = startLoad(world, { clients: 8, largeBytesMax: 500_000 })
  await sleep(1500)
  const run = promisify(execFile)
  await run('pg_dump', ['--format=custom', `--file=${folder('dump')}`, url])
  // What is gone when its turn comes was a temporary file: cp says so, and copies the rest.
  await run('cp', ['-a', dataDir, folder('copy')]).catch((error: unknown) => expect(String(error)).toMatch(/No such file/))
  await sleep(500)
  await load.stop()
  await server.stop()

  const restored = await place.newDatabase('restored')
  await run('pg_restore', ['--dbname', restored, folder('dump')])
  await server.restart({ HOLDFAST_DATA_DIR: folder('copy'), HOLDFAST_DATABASE_URL: restored })
  // Each byte is verified as it is read.
  const answers = await allAnswers(client) as { versions: unknown[] }[]
  expect(answers.flatMap(({ versions }) => versions).length).toBeGreaterThan(20)
  expect(world.wrong).toEqual([])
  await server.stop()
})
