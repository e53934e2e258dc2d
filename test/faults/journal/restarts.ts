import { rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { signedRequest } from '../../support/raw.ts'
import { createDisk, type Disk } from './disk.ts'
import type { Entry } from './records.ts'
import type { Recording } from './recording.ts'
import { loadSnapshot } from './rows.ts'
import { createStage, plainFates, randomFate, stateOf, type Fate, type Random } from './states.ts'

/** The disk after the whole of a journal. */
export function diskAfter(root: string, entries: readonly Entry[]): Disk {
  const disk = createDisk(root)
  for (const entry of entries) disk.take(entry)
  return disk
}

/** Makes a folder what a power cut would leave of it now. */
export function cutPower(root: string, entries: readonly Entry[], fate: Fate): void {
  rmSync(root, { recursive: true, force: true })
  createStage(root).show(stateOf(diskAfter(root, entries).root, fate))
}

/** The same question to the whole server: it is started on the disk after a power cut at the end, and asked for everything. */
export async function restartsOnCrashStates(recording: Recording, random: Random, count: number): Promise<string[]> {
  const { server, workload, disk, entries, snapshots } = recording
  const broken: string[] = []
  const [nothing = randomFate(random)] = plainFates
  // Of now: each server that is started here commits on, and its rows go with the disk that it leaves.
  const rows = snapshots.at(-1) ?? {}
  const client = new pg.Client(recording.postgres.connection)
  client.on('error', () => undefined)
  await client.connect()
  for (let index = 0; index < count; index++) {
    await loadSnapshot(client, rows)
    cutPower(disk, entries, index === 0 ? nothing : randomFate(random))
    try {
      await server.restart({ LD_PRELOAD: '' })
    } catch (error) {
      broken.push(`the server does not start on ${join(disk, 'data')} after a power cut: ${String(error)}`)
      break
    }
    for (const [name, etag] of workload.current()) {
      const answer = await signedRequest({ server, path: `/${name}` })
      const body = workload.bodies.get(etag)
      if (answer.status !== 200 || body === undefined || !answer.body.equals(body)) broken.push(`${name} after a power cut and a restart: ${answer.status}, ${answer.body.length} bytes`)
    }
    await server.killServer()
  }
  await client.end()
  return broken
}
