import { randomBytes, randomUUID } from 'node:crypto'
import { closeSync, constants, fdatasync, fsync, fsyncSync, openSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { link, mkdir, open, readFile, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve, relative, sep } from 'node:path'
import { promisify } from 'node:util'
import { S3Error } from '../../domain/errors.ts'
import { failpoint } from '../../domain/failpoint.ts'
import { diskReserveBytes, diskRoomMs } from '../../domain/limits.ts'
import type { Log } from '../backend.ts'

/** Name of the file that makes a folder a drive; a folder without it is a missing mount, never a new drive with bytes. */
export const markerName = 'holdfast-drive.json'

export interface Drive {
  /** The number that placements name; given by the metadata store for the drive's uuid. */
  readonly id: number
  readonly uuid: string
  /** Epoch ms. */
  readonly createdAt: number
  readonly root: string
  /** Folder of this process for files that are not complete yet, on the drive itself so that a rename is atomic. */
  readonly tmp: string
  /** Why nothing is written any more; null while the drive is trusted. Reads go on. */
  suspect: string | null
}

/** A failed system call, in a form that crosses threads: `phase` tells a failed sync, after which the drive is not trusted. */
export interface IoFailure {
  readonly code: string
  readonly message: string
  readonly phase: 'write' | 'sync' | 'folder sync'
}

/** Thrown by `durably` when a sync failed: what the kernel holds of the file, or of the names in the folder, is unknown from then on. */
export class SyncError extends Error {
  readonly code: string
  readonly phase: IoFailure['phase']
  constructor(cause: unknown, phase: 'sync' | 'folder sync' = 'sync') {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.name = 'SyncError'
    this.code = codeOf(cause)
    this.phase = phase
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EUNKNOWN'
}

export function ioFailure(error: unknown): IoFailure {
  return { code: codeOf(error), message: error instanceof Error ? error.message : String(error), phase: error instanceof SyncError ? error.phase : 'write' }
}

const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** Whether something failed because there is no room. */
export function isFull(error: unknown): boolean {
  return fullCodes.has(codeOf(error)) || (error instanceof S3Error && error.code === 'InsufficientStorage')
}

interface Room {
  /** When it is looked at anew. */
  readonly until: number
  /** Bytes that clients may still bring. */
  left: number
}

const roomOf = new WeakMap<Drive, Room>()

/**
 * Whether clients may still write, and so many bytes more of them, when their number is known: the reserve of the disk is not touched.
 * What was let in since the last look counts as written; a full disk is looked at anew by every call.
 */
export function hasRoom(drive: Drive, bytes = 0): boolean {
  const now = performance.now()
  let room = roomOf.get(drive)
  if (room === undefined || now > room.until || room.left < bytes || room.left <= 0) {
    const { bavail, blocks, bsize } = statfsSync(drive.root)
    room = { until: now + diskRoomMs, left: bavail * bsize - diskReserveBytes(blocks * bsize) }
    roomOf.set(drive, room)
  }
  if (room.left <= 0) return false
  room.left -= bytes
  return true
}

const brokenCodes = new Set(['EIO', 'EROFS', 'ENXIO', 'ENODEV', 'ESTALE', 'EUCLEAN'])

/**
 * The client's error for a failed write, and the drive's state after it: a full drive is an error of this request alone, a
 * failed sync or an I/O error ends writing to the drive until the process starts anew. So does any failed sync of a folder: the names
 * that others have in it are in doubt as well.
 */
export function writeError(drive: Drive, failure: IoFailure, log: Log): S3Error {
  const full = fullCodes.has(failure.code) && failure.phase !== 'folder sync'
  countFailure(drive, full ? 'full' : failure.phase === 'write' ? 'write' : 'sync')
  if (full) {
    log.warn('drive is full', { drive: drive.uuid, error: failure.message })
    return new S3Error('InsufficientStorage', undefined, { status: 507 })
  }
  if (failure.phase !== 'write' || brokenCodes.has(failure.code)) {
    drive.suspect ??= failure.message
    log.error('drive is suspect: no more writes to it', { drive: drive.uuid, error: failure.message })
  } else {
    log.error('write failed', { drive: drive.uuid, error: failure.message })
  }
  return new S3Error('InternalError', undefined, { status: 500, cause: new Error(failure.message) })
}

const failuresByDrive = new WeakMap<Drive, Map<string, number>>()

function countFailure(drive: Drive, kind: string): void {
  const counts = failuresByDrive.get(drive) ?? new Map<string, number>()
  failuresByDrive.set(drive, counts.set(kind, (counts.get(kind) ?? 0) + 1))
}

/** For whoever watches: bytes of the file system (null: it does not say), failed writes of this process by kind (full, sync, write). */
export function driveFigures(drive: Drive): { size: number | null; free: number | null; suspect: boolean; failures: ReadonlyMap<string, number> } {
  const known = { suspect: drive.suspect !== null, failures: failuresByDrive.get(drive) ?? new Map<string, number>() }
  try {
    const { bavail, blocks, bsize } = statfsSync(drive.root)
    return { size: blocks * bsize, free: bavail * bsize, ...known }
  } catch (error) {
    return { size: null, free: null, ...known, suspect: known.suspect || codeOf(error) !== 'EINTR' }
  }
}

/**
 * What keeps a write that went well from being told: another one has shown meanwhile that this drive's word is not to be trusted. Null
 * while it is.
 */
export function distrusted(drive: Drive): IoFailure | null {
  return drive.suspect === null ? null : { code: 'EIO', message: drive.suspect, phase: 'write' }
}

/** Throws ServiceUnavailable when the drive may not be written to. */
export function assertWritable(drive: Drive): void {
  if (drive.suspect !== null) throw new S3Error('ServiceUnavailable', undefined, { status: 503, headers: { 'Retry-After': '30' } })
}

const syncFile = promisify(fsync)
const fdatasyncLater = promisify(fdatasync)

/** Makes the bytes of a file durable. Rejects with SyncError, after which nobody knows what of them is. */
export async function syncData(fd: number): Promise<void> {
  try {
    await fdatasyncLater(fd)
  } catch (error) {
    throw new SyncError(error)
  }
}

/** Makes the entries of a folder durable. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(fd)
  } catch (error) {
    throw new SyncError(error, 'folder sync')
  } finally {
    closeSync(fd)
  }
}

async function syncFolderLater(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await syncFile(handle.fd)
  } catch (error) {
    throw new SyncError(error, 'folder sync')
  } finally {
    await handle.close()
  }
}

/**
 * Folders whose way from the root this thread has made durable. That a folder is there says nothing: another thread, or a process
 * that was killed, may have made it a moment ago and not synced it yet.
 */
const durableFolders = new Set<string>()

/** The folders on the way from `root` to `folder` that are not known to be durable, the deepest first. */
function doubtfulFolders(root: string, folder: string): string[] {
  const doubtful: string[] = []
  let current = root
  for (const name of relative(root, folder).split(sep)) {
    current = join(current, name)
    if (current !== root && !durableFolders.has(current)) doubtful.unshift(current)
  }
  return doubtful
}

/** Makes `folder` below `root` and returns what was made of the way to it, the deepest first. */
async function makeFolders(root: string, folder: string): Promise<string[]> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (first === undefined) return []
  const made: string[] = []
  for (let current = folder; current.length >= first.length && current.startsWith(root + sep); current = dirname(current)) {
    made.push(current)
    durableFolders.delete(current)
  }
  return made
}

/** Syncs of this thread, one after another: many at once would take every thread of the I/O pool from the readers. */
let lastSync: Promise<void> = Promise.resolve()

function inTurn(sync: () => Promise<void>): Promise<void> {
  const result = lastSync.then(sync)
  lastSync = result.catch(() => undefined)
  return result
}

export interface DurablePlace {
  readonly root: string
  /** Folder for the temporary file, on the same drive. */
  readonly tmp: string
  /** Below the root. */
  readonly path: string
  /** Fail with EEXIST instead of replacing a file. */
  readonly exclusive?: boolean
  /** A file may be there already that nothing else has a copy of: when the sync of its folder fails, the new one stays rather than none. */
  readonly replaces?: boolean
  /** False: nothing is synced, so that the file survives the death of the process but not a loss of power. Default true. */
  readonly synced?: boolean
}

/**
 * The one place that writes a file durably: temporary file on the same drive, `write`, fdatasync, rename, fsync of the folder
 * and of every folder above it that may be new. When it returns true the file survives a loss of power. When `write` answers false or
 * anything throws, nothing is left behind. A failed sync throws SyncError and is not tried again. Only `synced: false`, which the operator
 * chose by HOLDFAST_DURABILITY, leaves the syncs out.
 */
export async function durably(place: DurablePlace, write: (fd: number, temporary: string) => Promise<boolean>): Promise<boolean> {
  const final = join(place.root, place.path)
  const synced = place.synced ?? true
  const temporary = join(place.tmp, randomBytes(12).toString('hex'))
  const handle = await open(temporary, 'wx+', 0o600)
  let placed = false
  let made: string[] = []
  try {
    if (!(await write(handle.fd, temporary))) {
      await unlink(temporary)
      return false
    }
    failpoint?.('file written', place.path)
    if (synced) await inTurn(() => syncData(handle.fd))
    failpoint?.('file synced', place.path)
    const folder = dirname(final)
    made = await makeFolders(place.root, folder)
    await (place.exclusive === true ? link(temporary, final) : rename(temporary, final))
    placed = true
    failpoint?.('file named', place.path)
    if (place.exclusive === true) await unlink(temporary)
    if (synced) await inTurn(async () => {
      const doubtful = doubtfulFolders(place.root, folder)
      for (const path of [folder, ...doubtful.map((each) => dirname(each))]) await syncFolderLater(path)
      for (const path of doubtful) durableFolders.add(path)
    })
    failpoint?.('file durable', place.path)
    return true
  } catch (error) {
    await Promise.allSettled([unlink(temporary), ...(placed && place.replaces !== true ? [unlink(final)] : [])])
    // A folder whose name may not have become durable must not be there for the next one, who would take it as it is.
    for (const path of made) await rmdir(path).catch(() => undefined)
    throw error
  } finally {
    await handle.close()
  }
}

interface ProcessStat {
  /** In clock ticks since boot, so that a reused process id is told apart. */
  readonly start: string
  /** It has ended, and its parent has not asked for its end yet: some first processes of containers never do. */
  readonly ended: boolean
}

/** Null where /proc does not show it. */
function statOf(pid: number): ProcessStat | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
    return { start: fields[19] ?? '0', ended: fields[0] === 'Z' || fields[0] === 'X' }
  } catch {
    return null
  }
}

const host = Buffer.from(hostname()).toString('hex').slice(0, 24) || 'host'

/** Names this process among all that may share a drive: `host.pid.start.random`. */
export const processToken = `${host}.${process.pid}.${statOf(process.pid)?.start ?? '0'}.${randomBytes(4).toString('hex')}`

/**
 * Whether the process behind a token is gone for certain. Processes of another host cannot be asked: they count as alive, and
 * what they left behind is swept by age.
 */
export function isDeadProcess(token: string): boolean {
  const [tokenHost, pidText, start] = token.split('.')
  if (tokenHost !== host || token === processToken) return false
  const pid = Number(pidText)
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  const now = statOf(pid)
  if (now !== null && start !== '0') return now.ended || now.start !== start
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
}

/** Raised with any change to what is on a drive that this program could not read. */
const driveFormat = 1

interface Marker {
  readonly format: typeof driveFormat
  readonly uuid: string
  readonly createdAt: number
}

/** Reads a drive's marker; null when there is none. Throws when it is damaged or of a newer format. */
export async function readMarker(root: string): Promise<Marker | null> {
  const text = await readFile(join(root, markerName), 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  })
  if (text === null) return null
  const marker = jsonObject(text)
  const format = marker['format']
  if (typeof format === 'number' && format > driveFormat) throw newerDrive(root, `${markerName} has format ${format}, this program knows ${driveFormat}`)
  if (format !== driveFormat || typeof marker['uuid'] !== 'string' || typeof marker['createdAt'] !== 'number') {
    throw new Error(`${join(root, markerName)} is damaged: restore it from a backup of the data folder`)
  }
  return { format, uuid: marker['uuid'], createdAt: marker['createdAt'] }
}

/** For who has to decide what to start instead. */
export function newerDrive(root: string, how: string): Error {
  return new Error(`${root} was written by a newer Holdfast than this one (${how}). Nothing was changed. Start that version, or restore a backup that is as old as this program: `
    + 'the data folder and the database, of the same time.')
}

function jsonObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

export interface DriveOptions {
  readonly root: string
  /** Gives the number of a drive's uuid. `since`: for a database that did not know the drive, from when on it knows all that came to it (epoch ms). */
  readonly register: (uuid: string, since: number) => Promise<number>
  /** The drives that hold blobs already, as far as the metadata knows. */
  readonly known?: () => Promise<readonly { readonly uuid: string }[]>
  /** Other machines and containers work on it too: who is dead cannot be told from here. */
  readonly shared?: boolean
}

/**
 * Opens the drive at `root`; an empty or missing folder becomes a new one. Temporary files of dead processes are removed. Throws
 * when the folder holds blobs but no marker, and when it is empty although there must be a drive: one that is not mounted.
 */
export async function openDrive(options: DriveOptions): Promise<Drive> {
  // Normal, so that everybody who names a file below it, by whatever way, gives it the same name.
  const root = resolve(options.root)
  await mkdir(root, { recursive: true, mode: 0o700 })
  // The folders of keys and drives were made in it, perhaps by a start that was killed.
  syncFolder(dirname(root))
  // Asked before the marker is looked for: a drive is made known after its marker was made, perhaps by another process just now.
  const known = await options.known?.() ?? []
  const marker = (await readMarker(root)) ?? (await makeMarker(root, known))
  const tmp = join(root, 'tmp', processToken)
  for (const folder of [join(root, 'segments'), join(root, 'blobs'), tmp]) await mkdir(folder, { recursive: true, mode: 0o700 })
  syncFolder(root)
  for (const token of await readdir(join(root, 'tmp'))) {
    if (options.shared !== true && isDeadProcess(token)) await rm(join(root, 'tmp', token), { recursive: true, force: true })
  }
  // A first start may have been killed before the drive was made known: while nothing is on it, a database that comes late misses nothing.
  const since = await holdsNothing(root) ? marker.createdAt : Date.now()
  return { id: await options.register(marker.uuid, since), uuid: marker.uuid, createdAt: marker.createdAt, root, tmp, suspect: null }
}

async function holdsNothing(root: string): Promise<boolean> {
  const names = await Promise.all(['segments', 'blobs'].map((folder) => readdir(join(root, folder))))
  return names.every(({ length }) => length === 0)
}

/** For a root that had none a moment ago; who makes it first makes it for all. */
export async function makeMarker(root: string, known: readonly { readonly uuid: string }[]): Promise<Marker> {
  if (known.length > 0) {
    throw new Error(`${root} is empty, but the database has objects on drive ${known.map(({ uuid }) => uuid).join(', ')}: mount it there or restore it. `
      + `To begin anew without what it held, remove it from the database's table "drives" first`)
  }
  const names = await readdir(root)
  if (names.includes('blobs') || names.includes('segments')) {
    // They are made behind the marker: another process may have made all of them since it was looked for.
    const made = await readMarker(root)
    if (made !== null) return made
    throw new Error(`${root} holds blobs but its ${markerName} is missing: restore the file, or start on another folder`)
  }
  const marker: Marker = { format: driveFormat, uuid: randomUUID(), createdAt: Date.now() }
  const file = Buffer.from(`${JSON.stringify(marker)}\n`)
  await durably({ root, tmp: root, path: markerName, exclusive: true }, async (fd) => {
    writeFileSync(fd, file)
    return true
  }).catch((error: unknown) => {
    // Two processes started at once: the first one's marker is the one for both.
    if (codeOf(error) !== 'EEXIST') throw error
  })
  return (await readMarker(root)) ?? marker
}
