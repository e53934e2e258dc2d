import { readFile, readdir } from 'node:fs/promises'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createBlobs, type OpenBlobs } from '../../../src/blobs/blobs.ts'
import { createPool, type WorkerPool } from '../../../src/workers/pool.ts'
import { blockOf, closeRead, openBlobFile, openDrive, readBlock, recordBytes, scanSegment, segmentHeaderBytes, type Drive, type Log } from '../../../src/storage/backend.ts'
import { walkFiles } from '../../../src/storage/local/inventory.ts'
import { createSweeper, type SweepReport } from '../../../src/storage/sweeper.ts'
import type { MetadataStore } from '../../../src/metadata/store.ts'
import { drain } from '../../unit/blobs-room.ts'
import { smallBodyBytesMax } from './workload.ts'
import type { Rows, Stored } from './rows.ts'

/** What a data folder must give after a power cut, asked of the program's own code. */

export interface Expectation {
  readonly rows: Rows
  /** By ETag. */
  readonly bodies: ReadonlyMap<string, Buffer>
}

/** What a file's bytes are known by; undefined for one that the state does not have. */
export type Contents = (path: string) => string | undefined

export interface Inspector {
  /** Opens the folder as a start does and compares every byte that a row promises; what is broken. */
  broken(dataDir: string, expected: Expectation, contents: Contents): Promise<string[]>
  /** Opens it with a database that holds these rows, lets the sweeper do all it can, and sees what it left. Changes the folder. */
  brokenBySweep(dataDir: string, expected: Expectation, store: MetadataStore): Promise<string[]>
  close(): Promise<void>
}

export function createInspector(): Inspector {
  const pool = createPool({ uploadThreads: 1 })
  const sound = new Set<string>()
  return {
    async broken(dataDir, { rows, bodies }, contents) {
      const broken: string[] = []
      const register = async (uuid: string): Promise<number> => {
        const known = rows.drives.find((drive) => drive.uuid === uuid)
        if (known === undefined && rows.drives.length > 0) throw new Error(`the drive is ${uuid}, not one that the database knows`)
        return known?.id ?? 1
      }
      const opened = await open(dataDir, pool, { register, known: async () => rows.drives, relocations: async () => rows.relocations })
      if (typeof opened === 'string') return [opened]
      try {
        broken.push(...(await unreadable(opened.blobs, [...rows.versions, ...rows.parts], bodies)), ...(await halfFiles(opened.drive, contents, sound)))
        if (rows.hasKeys && !(await hasMasterKey(dataDir))) broken.push('the database has access keys, but the master key is gone')
      } finally {
        await opened.blobs.close()
      }
      return broken
    },
    async brokenBySweep(dataDir, expected, store) {
      const opened = await open(dataDir, pool, { register: (uuid, since) => store.registerDrive(uuid, since), known: () => store.drives(), relocations: (blobs) => store.relocations(blobs) })
      if (typeof opened === 'string') return [opened]
      try {
        return await afterSweeps(opened, expected, store)
      } finally {
        await opened.blobs.close()
      }
    },
    close: () => pool.close(),
  }
}

interface Opened {
  readonly drive: Drive
  readonly blobs: OpenBlobs
  readonly errors: string[]
  readonly log: Log
}

interface Metadata {
  readonly register: (uuid: string, since: number) => Promise<number>
  readonly known: () => Promise<readonly { readonly uuid: string }[]>
  readonly relocations: Parameters<typeof createBlobs>[0]['relocations']
}

/** As `start.ts` does it; the text of the error when it does not open. */
async function open(dataDir: string, pool: WorkerPool, { register, known, relocations }: Metadata): Promise<Opened | string> {
  const errors: string[] = []
  const log: Log = { info: () => undefined, warn: () => undefined, error: (message, fields) => void errors.push(`${message} ${JSON.stringify(fields)}`) }
  try {
    const drive = await openDrive({ root: join(dataDir, 'drive'), register, known })
    return { drive, errors, log, blobs: createBlobs({ drives: [drive], pool, smallBodyBytesMax, relocations, log }) }
  } catch (error) {
    return `the drive does not open: ${error instanceof Error ? error.message : String(error)}`
  }
}

async function unreadable(blobs: OpenBlobs, promised: readonly Stored[], bodies: ReadonlyMap<string, Buffer>): Promise<string[]> {
  const broken: string[] = []
  for (const { name, etag, size, manifest } of promised) {
    const body = bodies.get(etag)
    if (body === undefined) {
      broken.push(`${name} has the ETag ${etag} of nothing that was sent`)
      continue
    }
    try {
      const bytes = await drain(await blobs.read(manifest, 0, size))
      if (!bytes.equals(body)) broken.push(`${name} (${etag}): ${bytes.length} bytes that are not the ${body.length} that were sent`)
    } catch (error) {
      broken.push(`${name} (${etag}) cannot be read: ${error instanceof Error && error.cause !== undefined ? String(error.cause) : String(error)}`)
    }
  }
  return broken
}

/** A file that has its final name is whole, whoever names it. `sound` are those that were looked through before. */
async function halfFiles(drive: Drive, contents: Contents, sound: Set<string>): Promise<string[]> {
  const broken: string[] = []
  for await (const { path, owner } of walkFiles(drive, Infinity)) {
    const blob = path.slice(path.lastIndexOf('/') + 1)
    const known = `${blob} ${contents(path)}`
    if (sound.has(known)) continue
    if (owner?.blob !== blob) {
      broken.push(`${path} has its name, but not its tail`)
      continue
    }
    const length = (await readFile(path)).subarray(-64).readUIntBE(18, 6)
    try {
      const file = await openBlobFile(drive.root, blob, length)
      const buffer = Buffer.alloc(1024 ** 2)
      try {
        for (let index = 0; index < file.blocks.length; index++) await readBlock(blockOf(file, index), buffer)
      } finally {
        closeRead(file.fd)
      }
      sound.add(known)
    } catch (error) {
      broken.push(`${path} has its name, but not its bytes: ${String(error)}`)
    }
  }
  return broken
}

async function hasMasterKey(dataDir: string): Promise<boolean> {
  const names = existsSync(join(dataDir, 'keys')) ? await readdir(join(dataDir, 'keys')) : []
  return names.some((name) => name.includes('master') && statSync(join(dataDir, 'keys', name)).size >= 64)
}

const pause = (): Promise<void> => new Promise((resolve) => { setTimeout(resolve, 3) })

/** The lock of a pass goes with its session, and PostgreSQL may still be ending that of the pass before. */
async function inTurn(pass: () => Promise<SweepReport>): Promise<SweepReport> {
  for (let tries = 1; ; tries++) {
    const report = await pass()
    if (report.stopped !== 'another process is sweeping' || tries === 1000) return report
    await pause()
  }
}

async function afterSweeps({ drive, blobs, errors, log }: Opened, { rows, bodies }: Expectation, store: MetadataStore): Promise<string[]> {
  const sweeper = createSweeper({ store, drives: [drive], blobs, log, graceMs: 0, orphanAgeMs: 0 })
  const broken: string[] = []
  // What was released, what no row names, what is left of segments, and what the moving of that left: each is a pass's work.
  for (let pass = 0; pass < 4; pass++) {
    await pause()
    const { stopped, failures } = await inTurn(() => sweeper.runOnce({ orphans: true }))
    if (stopped !== null || failures > 0) broken.push(`the sweeper stopped: ${stopped ?? `${failures} failures`}`)
  }
  await sweeper.stop()
  broken.push(...errors.filter((text) => !text.startsWith('segment is damaged')).map((text) => `the sweeper said: ${text}`))
  const promised = [...rows.versions, ...rows.parts]
  broken.push(...(await unreadable(blobs, promised, bodies)).map((text) => `after a sweep: ${text}`))
  const waiting = await store.released(0, 10)
  if (waiting.length > 0) broken.push(`${waiting.length} released blobs are still waiting after four sweeps`)
  broken.push(...(await leftovers(drive, promised, blobs, store)))
  return broken
}

/**
 * Whether a segment has a stretch that is no record. A group that was cut off looks like records that were damaged later, and those are kept,
 * because a row may mean one of them: the sweeper leaves such a segment alone.
 */
function isDoubtful(path: string): boolean {
  let expected = segmentHeaderBytes
  for (const { at, length, keyBytes } of scanSegment(path)) {
    if (at !== expected) return true
    expected = at + recordBytes(length, keyBytes)
  }
  return expected !== statSync(path).size
}

/** Bytes that are neither promised nor, as the dead part of a segment that is mostly alive, to be moved later. */
async function leftovers(drive: Drive, promised: readonly Stored[], blobs: OpenBlobs, store: MetadataStore): Promise<string[]> {
  const broken: string[] = []
  const files = new Set<string>()
  const packed = new Set<string>()
  for (const { manifest } of promised) for (const extent of manifest) (extent.place.kind === 'file' ? files : packed).add(extent.blob)
  for await (const { path } of walkFiles(drive, Infinity)) {
    if (!files.has(path.slice(path.lastIndexOf('/') + 1))) broken.push(`garbage stays: ${path}`)
  }
  const moved = await store.relocations([...packed])
  const places = new Map(promised.flatMap(({ manifest }) => manifest).map((extent) => [extent.blob, moved.get(extent.blob) ?? extent.place]))
  const names = readdirSync(join(drive.root, 'segments'))
  for (const name of names) {
    if (name.endsWith('.notes')) {
      if (!names.includes(name.slice(0, -'.notes'.length))) broken.push(`garbage stays: notes of the segment ${name}, which is gone`)
      continue
    }
    if (blobs.activeSegments().has(name)) continue
    const here = [...scanSegment(join(drive.root, 'segments', name))].filter(({ blob }) => {
      const place = places.get(blob)
      return place?.kind === 'segment' && place.segment === name
    })
    if (here.length === 0 && !isDoubtful(join(drive.root, 'segments', name))) broken.push(`garbage stays: the segment ${name} of ${statSync(join(drive.root, 'segments', name)).size} bytes, in which nothing is alive`)
  }
  const temporaries = readdirSync(join(drive.root, 'tmp'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  for (const { name } of temporaries) broken.push(`garbage stays: the temporary file ${name}`)
  return broken
}
