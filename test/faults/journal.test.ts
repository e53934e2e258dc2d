import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createControl } from './journal/control.ts'
import { createDisk } from './journal/disk.ts'
import { journalEnvironment, journalLibrary, journalMissing } from './journal/library.ts'
import { ops, readEntries, type Entry } from './journal/records.ts'
import { plainFates, randomFate, randomOf, stateOf, type Fate } from './journal/states.ts'
import { foreignVariables } from '../support/server.ts'

/** The machinery of power cuts and I/O errors, tried on small programs. */

let folder: string
beforeEach(async ({ skip }) => {
  const missing = await journalMissing()
  if (missing !== null) skip(missing)
  folder = await mkdtemp(join(tmpdir(), 'holdfast-journal-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Runs a program in Node that has `fs` and the folder `root`; what it wrote to the journal and to standard output. */
async function recorded(program: string, control?: string): Promise<{ entries: Entry[]; output: string; root: string }> {
  const [root, journal] = [join(folder, 'tree'), join(folder, 'journal')]
  const script = `const fs = require('node:fs'); const root = ${JSON.stringify(root)}; ${program}`
  const env = { ...foreignVariables(), ...journalEnvironment(await journalLibrary(), { root, journal, ...(control === undefined ? {} : { control }) }) }
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { env })
  return { entries: readEntries(await readFile(journal)), output: stdout, root }
}

const write = `fs.mkdirSync(root); const fd = fs.openSync(root + '/a', 'wx+'); fs.writeSync(fd, 'x'.repeat(1500)); `

function statesAfter({ entries, root }: { entries: readonly Entry[]; root: string }, fates: readonly Fate[]): Record<string, string>[] {
  const disk = createDisk(root)
  for (const entry of entries) disk.take(entry)
  return fates.map((fate) => Object.fromEntries([...stateOf(disk.root, fate).files].map(([name, { bytes }]) => [name, bytes.toString('latin1')])))
}

test('calls below the folder are written down in order with their data, by whatever way a file is closed', async () => {
  const { entries } = await recorded(`${write} fs.fdatasyncSync(fd); fs.ftruncateSync(fd, 5); fs.closeSync(fd); fs.renameSync(root + '/a', root + '/b'); fs.writeFileSync(root + 'outside', 'y'); fs.unlinkSync(root + '/b')`)
  expect(entries.map(({ op }) => op)).toEqual([ops.mkdir, ops.open, ops.write, ops.syncBegin, ops.sync, ops.truncate, ops.close, ops.rename, ops.unlink])
  expect(entries[2]?.data.toString()).toBe('x'.repeat(1500))
})

test('a file that was synced keeps its bytes, and has its name only when its folder was synced as well', async () => {
  const sync = 'fs.fdatasyncSync(fd); '
  const folderSync = `const at = fs.openSync(root, 'r'); fs.fsyncSync(at); `
  const [nothing, , namesOnly] = plainFates as [Fate, Fate, Fate]
  expect(statesAfter(await recorded(write + sync), [nothing, namesOnly])).toEqual([{}, { a: 'x'.repeat(1500) }])
  await rm(folder, { recursive: true })
  folder = await mkdtemp(join(tmpdir(), 'holdfast-journal-'))
  expect(statesAfter(await recorded(write + sync + folderSync + `fs.writeSync(fd, 'more'); fs.unlinkSync(root + '/a')`), [nothing])).toEqual([{ a: 'x'.repeat(1500) }])
})

test('what was not synced may be whole, absent, torn between sectors, or a size without bytes', async () => {
  const journal = await recorded(`${write} const at = fs.openSync(root, 'r'); fs.fsyncSync(at)`)
  const random = randomOf(1)
  const seen = new Set(statesAfter(journal, [...plainFates, ...Array.from({ length: 300 }, () => randomFate(random))]).map(({ a }) => a?.replace(/(.)\1*/gs, (run) => `${run[0] === 'x' ? 'x' : '-'}${run.length} `).trim()))
  for (const state of ['x1500', '', '-1500', 'x512 -988', '-512 x988', 'x512 -512 x476', '-1024 x476']) expect([...seen]).toContain(state)
})

test('what is written past the page cache is of the same file: only a sync of any of its descriptors makes it durable', async () => {
  const straight = fileURLToPath(new URL('../../src/storage/local/straight.ts', import.meta.url))
  // 300 KiB by the second descriptor, the 5 bytes behind them by the first one; the memory is as that of slabs.
  const program = `fs.mkdirSync(root); const fd = fs.openSync(root + '/a', 'wx+'); const at = fs.openSync(root, 'r'); fs.fsyncSync(at)
    const bytes = Buffer.from(new SharedArrayBuffer(1024 ** 2, { maxByteLength: 1024 ** 2 })).subarray(0, 300 * 1024 + 5).fill('x')
    import(${JSON.stringify(straight)}).then(async ({ openStraight }) => { const file = openStraight(fd, root + '/a'); await file.write(bytes, 0); file.close(); `
  const unsynced = await recorded(`${program} })`)
  const writes = unsynced.entries.filter(({ op }) => op === ops.write)
  const direct = unsynced.entries.find(({ op, flags }) => op === ops.open && (flags & constants.O_DIRECT) !== 0)
  expect(writes.map(({ fd, data }) => [fd === direct?.fd, data.length])).toEqual([[true, 300 * 1024], [false, 5]])
  expect(statesAfter(unsynced, plainFates.slice(0, 2)).map(({ a }) => a?.length)).toEqual([0, 300 * 1024 + 5])
  await rm(folder, { recursive: true })
  folder = await mkdtemp(join(tmpdir(), 'holdfast-journal-'))
  const synced = await recorded(`${program} fs.fdatasyncSync(fd) })`)
  expect(statesAfter(synced, plainFates.slice(0, 1))).toEqual([{ a: 'x'.repeat(300 * 1024 + 5) }])
})

test('what a failed sync was to write is never durable again by one that succeeds', async () => {
  const control = createControl(join(folder, 'control'))
  control.arm({ calls: ['sync'], at: 1, kind: { error: 'EIO' }, path: '/tree/a' })
  const journal = await recorded(`${write} try { fs.fsyncSync(fd) } catch (error) { console.log(error.code) } fs.fsyncSync(fd); const at = fs.openSync(root, 'r'); fs.fsyncSync(at)`, control.file)
  expect(journal.output).toBe('EIO\n')
  expect(control.counts().fired).toBe(1)
  expect(statesAfter(journal, plainFates.slice(0, 1))).toEqual([{ a: '' }])
  control.close()
})

test('a write can be made short, and a disk full', async () => {
  const control = createControl(join(folder, 'control'))
  control.arm({ calls: ['write'], at: 1, kind: 'short' })
  // libuv writes the rest itself.
  const { entries } = await recorded(`fs.mkdirSync(root); const fd = fs.openSync(root + '/a', 'wx+'); fs.writeSync(fd, '12345678')`, control.file)
  expect(entries.filter(({ op }) => op === ops.write).map(({ data, offset }) => `${offset} ${data.toString()}`)).toEqual(['0 1234', '4 5678'])
  control.arm({ calls: ['open'], at: 1, kind: { error: 'ENOSPC' } })
  expect((await recorded(`try { fs.openSync(root + '/b', 'wx+') } catch (error) { console.log(error.code) }`, control.file)).output).toBe('ENOSPC\n')
  control.close()
})
