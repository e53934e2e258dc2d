import { newWorld } from '../../support/load.ts'
import { signedRequest } from '../../support/raw.ts'
import { newBucket } from '../../support/s3.ts'
import { startServer } from '../../support/server.ts'
import { sweepsOften } from '../../support/swept.ts'
import { underLoad } from '../../support/under-load.ts'
import { brokenPromises } from '../../support/verify.ts'
import { deleteEverything, garbageBytes, storedFiles, sweepsNothingWrong } from '../garbage.ts'
import { longNames } from '../long-names.ts'
import { randomOf } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

const live = 'sweeper never takes live bytes'
const dead = 'sweeper takes all dead bytes'
const method = 'a sweep each second with a grace of one under overwrites, deletes, copies, versions, multipart uploads that are completed, aborted and replaced, and compactions'

export const rows = [
  { row: live, promise: 'Whatever is written, overwritten, shared and deleted meanwhile, what a row names is on the drive byte for byte, and fsck and scrub agree with the rows', method },
  { row: dead, promise: 'After everything was deleted not one byte of it is left on the drive', method: `the same, then everything is deleted` },
]
export const weight = 2

/** How long clients write before a restart ends the segments, so that the next load finds something to compact. */
const loadMs = 5000

/** Cases: bodies that were compared; files that went. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Record<string, Finding>> {
  const end = Date.now() + seconds * 1000
  const random = randomOf(seed)
  const violations: { live: string[]; dead: string[] } = { live: [], dead: [] }
  let compared = 0
  const server = await startServer({ env: { ...sweepsOften, HOLDFAST_SMALL_BODY_BYTES_MAX: '32768' } })
  try {
    const world = newWorld(server, await newBucket(server.client), await newBucket(server.client, 'Enabled'))
    const names = await longNames(server, random)
    do {
      await underLoad(world, () => names.churn(Math.min(loadMs, Math.max(1000, end - Date.now()))), { clients: 8, largeBytesMax: 600_000 })
      violations.live.push(...(await names.broken()), ...(await brokenPromises(world)))
      compared += world.ledger.keys().length + names.count()
      world.wrong.length = 0
      // A stop ends the segments: what is dead in them can be compacted away from now on.
      await server.stop()
      await server.restart()
    } while (Date.now() < end && violations.live.length < 10)
    // Segments of hardly anything but names, which nobody has written to since the restart.
    await names.fill(300)
    violations.live.push(...(await sweepsNothingWrong(server)))
    violations.live.push(...(await names.broken()), ...(await brokenPromises(world)))
    const output = server.output()
    for (const text of ['sweep failed', 'segment is damaged', 'could not be compacted', 'sweeper stopped']) if (output.includes(text)) violations.live.push(`the log says: ${output.split('\n').find((line) => line.includes(text))}`)
    const files = (await storedFiles(server)).length
    const puts = world.ledger.acknowledged + names.count()
    await deleteEverything(server, [world.bucket, world.versionedBucket, names.bucket])
    const garbage = await garbageBytes(server)
    if (garbage !== '') violations.dead.push(garbage)
    for (const bucket of [world.bucket, world.versionedBucket, names.bucket]) {
      const { status } = await signedRequest({ server, method: 'DELETE', path: `/${bucket}` })
      if (status !== 204) violations.dead.push(`a bucket of which everything was deleted cannot be deleted: ${status}`)
    }
    say(`${puts} acknowledged writes, ${files} files before all was deleted`)
    const of = (texts: readonly string[], cases: number): Finding => ({ cases, violations: texts.map((text) => `seed ${seed}: ${text}`) })
    return { [live]: of(violations.live, compared), [dead]: of(violations.dead, puts) }
  } finally {
    await server.remove()
  }
}
