import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { call, freshBody, newWorld, startLoad, type World } from '../../support/load.ts'
import { newBucket } from '../../support/s3.ts'
import { startServer } from '../../support/server.ts'
import { brokenPromises } from '../../support/verify.ts'
import { journalEnvironment, journalLibrary } from '../journal/library.ts'
import { readEntries, wholeBytes } from '../journal/records.ts'
import { cutPower } from '../journal/restarts.ts'
import { plainFates, randomFate, randomOf, type Random } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'power cut of a server alone'
export const promise = 'What one or two clients were told is there after a power cut, although the database had its bytes and the disk did not'
export const method = 'a server with its own PostgreSQL is killed under the load of a few clients; its drive is made what the recorded syncs, and no more than chance, left of it; then the ledger is compared'
export const weight = 3

/** Some cut takes a record that was carried, which is what the row is for; not each does, as any other sync of its segment covers it. */
const cutsMax = 10

/** One case is one power cut of a fresh server. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const violations: string[] = []
  let [cases, acknowledged, putBack] = [0, 0, 0]
  do {
    const found = await oneCut(random, cases)
    cases += 1
    acknowledged += found.acknowledged
    putBack += found.putBack
    violations.push(...found.broken.map((text) => `seed ${seed}, cut ${cases}: ${text}`))
  } while ((Date.now() < end || (putBack === 0 && cases < cutsMax)) && violations.length < 10)
  say(`${cases} power cuts, ${acknowledged} acknowledged writes, ${putBack} segments had records put back`)
  if (putBack === 0) violations.push(`seed ${seed}: no cut took a record that was carried`)
  return { cases, violations }
}

async function oneCut(random: Random, number: number): Promise<{ acknowledged: number; putBack: number; broken: string[] }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'holdfast-cut-'))
  const [dataDir, journal] = [path.join(folder, 'data'), path.join(folder, 'journal')]
  const drive = path.join(dataDir, 'drive')
  await mkdir(dataDir)
  try {
    const server = await startServer({ dataDir, env: { ...journalEnvironment(await journalLibrary(), { root: drive, journal }), HOLDFAST_SWEEP_INTERVAL_SECONDS: '1', HOLDFAST_SWEEP_GRACE_SECONDS: '1' } })
    const world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
    try {
      const load = startLoad(world, { clients: 1 + Math.floor(random() * 3), largeBytesMax: 300_000 })
      // Also longer than what is carried stays unsynced.
      await sleep(200 + random() * 1500)
      await load.stop()
      const last = await putAlone(world, 1 + Math.floor(random() * 40))
      await server.kill9()
      const bytes = await readFile(journal)
      const [nothing = randomFate(random)] = plainFates
      cutPower(drive, readEntries(bytes.subarray(0, wholeBytes(bytes))), number % 3 === 2 ? randomFate(random) : nothing)
      await server.restart({ LD_PRELOAD: '' })
      const putBack = server.output().split('records were put back').length - 1
      return { acknowledged: world.ledger.acknowledged, putBack, broken: [...await unread(world, last), ...await brokenPromises(world)] }
    } finally {
      await server.remove()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Small bodies one after the other, so that the last ones are carried when the power goes; those that were acknowledged. */
async function putAlone(world: World, count: number): Promise<Map<string, Buffer>> {
  const put = new Map<string, Buffer>()
  for (let index = 0; index < count; index++) {
    const [path, body] = [`/${world.bucket}/alone-${index}`, freshBody(1 + ((index * 487) % 6000))]
    if ((await call(world, 'PUT', path, body))?.status === 200) put.set(path, body)
  }
  return put
}

async function unread(world: World, put: ReadonlyMap<string, Buffer>): Promise<string[]> {
  const broken: string[] = []
  for (const [path, body] of put) {
    const answer = await call(world, 'GET', path)
    if (answer?.status !== 200 || !answer.body.equals(body)) broken.push(`${path} after the cut: ${answer?.status}, ${answer?.body.length} bytes`)
    await call(world, 'DELETE', path)
  }
  return broken
}
