import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { S3Error } from '../../src/domain/errors.ts'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'

/** Fills the 8 MiB file system that its argument names, and prints what writes and reads answered. Run by drive.test.ts. */
const root = process.argv[2] ?? ''
const room = await openRoom({ root, smallBodyBytesMax: 100_000 })
const write = (size: number): Promise<string> => room.blobs.write(bodyOf(patterned(size)), writeOptions())
  .then(() => 'ok', (error: unknown) => (error instanceof S3Error ? `${error.code} ${error.status}` : String(error)))

const kept = await room.blobs.write(bodyOf(patterned(90_000)), writeOptions())
// What is laid out ahead of the first record is there, or is not.
await sleep(500)
const before = JSON.stringify(await room.files())
const tooLarge = await write(20_000_000)
const unchanged = JSON.stringify(await room.files()) === before
// Writes until there is no room, then fails: what was written stays.
await writeFile(join(root, 'ballast'), Buffer.alloc(9_000_000)).catch(() => undefined)
let smallWhenFull = 'ok'
// There is room for a few where zeros were laid out.
for (let count = 0; count < 40 && smallWhenFull === 'ok'; count++) smallWhenFull = await write(90_000)
const largeWhenFull = await write(2_000_000)
const readsGoOn = (await readAll(room.blobs, kept.manifest)).equals(patterned(90_000))
await rm(join(root, 'ballast'))
const smallAfter = await write(90_000)
const largeAfter = await write(2_000_000)
process.stdout.write(JSON.stringify({ tooLarge, unchanged, smallWhenFull, largeWhenFull, readsGoOn, suspect: room.drive.suspect, smallAfter, largeAfter }))
await room.blobs.close()
await room.pool.close()
