import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { openDrive, processToken } from '../../src/storage/backend.ts'
import { isDeadProcess, makeMarker } from '../../src/storage/local/drive.ts'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'

const register = async (): Promise<number> => 1
const scratch = (): Promise<string> => mkdtemp(join(tmpdir(), 'holdfast-drive-'))

test('a new drive has an identity that stays, and only its owner may look inside', async () => {
  const root = join(await scratch(), 'a folder', 'drive')
  const first = await openDrive({ root, register })
  const second = await openDrive({ root, register })
  expect(second.uuid).toBe(first.uuid)
  expect(JSON.parse(await readFile(join(root, 'holdfast-drive.json'), 'utf8'))).toMatchObject({ format: 1, uuid: first.uuid })
  expect((await stat(root)).mode & 0o777).toBe(0o700)
  expect((await stat(join(root, 'holdfast-drive.json'))).mode & 0o777).toBe(0o600)
  await rm(join(root, '..', '..'), { recursive: true })
})

test('two processes that make the drive at once agree on its identity', async () => {
  const root = await scratch()
  const drives = await Promise.all(Array.from({ length: 5 }, () => openDrive({ root, register })))
  expect(new Set(drives.map(({ uuid }) => uuid)).size).toBe(1)
  await rm(root, { recursive: true })
})

test('a drive that another process has made since its marker was looked for is taken as it is', async () => {
  const root = await scratch()
  const { uuid } = await openDrive({ root, register })
  expect(await makeMarker(root, [])).toMatchObject({ uuid })
  await rm(root, { recursive: true })
})

test('a folder with blobs but without its marker is refused', async () => {
  const root = await scratch()
  await mkdir(join(root, 'blobs'))
  await expect(openDrive({ root, register })).rejects.toThrow('holdfast-drive.json is missing')
  await rm(root, { recursive: true })
})

test('an empty folder is no new drive when the database knows one already: it is a missing mount', async () => {
  const root = await scratch()
  const known = async () => [{ uuid: 'the-old-one' }]
  for (let start = 0; start < 2; start++) await expect(openDrive({ root, register, known })).rejects.toThrow('the-old-one')
  const drive = await openDrive({ root, register })
  expect((await openDrive({ root, register, known })).uuid).toBe(drive.uuid)
  await rm(root, { recursive: true })
})

test('a drive that is made known late counts from its beginning while nothing is on it, and from then on else', async () => {
  const root = await scratch()
  const since: number[] = []
  const { createdAt } = await openDrive({ root, register })
  const late = async (_uuid: string, from: number) => since.push(from)
  await openDrive({ root, register: late })
  await writeFile(join(root, 'segments', 'one'), '')
  const now = Date.now()
  await openDrive({ root, register: late })
  expect(since[0]).toBe(createdAt)
  expect(since[1]).toBeGreaterThanOrEqual(now)
  await rm(root, { recursive: true })
})

test.runIf(process.platform === 'linux')('a process that has ended is dead also when its parent never asks for its end', async () => {
  // The shell starts it, and the program that the shell becomes does not know of it.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [line] = await once(parent.stdout, 'data') as [Buffer]
    const pid = line.toString().trim()
    const fields = async (): Promise<string[]> => (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ')
    const token = `${processToken.split('.')[0]}.${pid}.${(await fields())[19]}.aa`
    expect(isDeadProcess(token)).toBe(false)
    await expect.poll(async () => (await fields())[0], { timeout: 10_000 }).toBe('Z')
    expect(isDeadProcess(token)).toBe(true)
  } finally {
    parent.kill('SIGKILL')
  }
})

test('temporary files of a dead process are removed at the start, those of a living one stay', async () => {
  const root = await scratch()
  await openDrive({ root, register })
  const host = Buffer.from(hostname()).toString('hex').slice(0, 24)
  const living = processToken.split('.').slice(1, 3).join('.')
  const tokens = { dead: `${host}.4194301.1.aa`, living: `${host}.${living}.bb`, foreign: 'abcdef.4194301.1.cc' }
  for (const token of Object.values(tokens)) {
    await mkdir(join(root, 'tmp', token), { recursive: true })
    await writeFile(join(root, 'tmp', token, 'half'), 'x')
  }
  await openDrive({ root, register })
  await expect(stat(join(root, 'tmp', tokens.dead))).rejects.toThrow('ENOENT')
  expect((await stat(join(root, 'tmp', tokens.living, 'half'))).size).toBe(1)
  expect((await stat(join(root, 'tmp', tokens.foreign, 'half'))).size).toBe(1)
  await rm(root, { recursive: true })
})

test('a suspect drive refuses writes and goes on reading', async () => {
  const room = await openRoom({ smallBodyBytesMax: 1000 })
  const { manifest } = await room.blobs.write(bodyOf(patterned(500)), writeOptions())
  room.drive.suspect = 'fsync failed'
  for (const size of [10, 5000]) {
    const error: unknown = await room.blobs.write(bodyOf(patterned(size)), writeOptions()).catch((thrown: unknown) => thrown)
    expect(error instanceof S3Error ? error.code : error).toBe('ServiceUnavailable')
  }
  expect((await readAll(room.blobs, manifest)).equals(patterned(500))).toBe(true)
  await room.close()
})

test('a full drive is an error of its request, leaves nothing, and writing resumes when there is room', async () => {
  const root = await scratch()
  // The small file system lives in a mount namespace of its own, which any user may make; the child reports what it saw.
  const script = 'mount -t tmpfs -o size=8m,mode=0700 tmpfs "$1" && exec "$2" "$3" "$1"'
  const fixture = join(import.meta.dirname, 'drive-full.ts')
  const output = execFileSync('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh', root, process.execPath, fixture], { encoding: 'utf8' })
  expect(JSON.parse(output)).toEqual({
    tooLarge: 'InsufficientStorage 507', unchanged: true, smallWhenFull: 'InsufficientStorage 507', largeWhenFull: 'InsufficientStorage 507',
    readsGoOn: true, suspect: null, smallAfter: 'ok', largeAfter: 'ok',
  })
  await rm(root, { recursive: true })
})
