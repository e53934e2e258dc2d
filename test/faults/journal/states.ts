import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { applied, contentOf, liveNode, type Change, type Content, type FileNode, type FolderNode, type NameHistory, type Node } from './disk.ts'

/** One way in which a disk may look after a power cut: every file and folder by its path below the root. */
export interface DiskState {
  readonly files: ReadonlyMap<string, Content>
  readonly folders: readonly string[]
  readonly id: string
}

/** Decides what reached the disk of all that was not synced. */
export interface Fate {
  /** How many of the pending meanings of a name, from the first on. */
  names(history: NameHistory): number
  bytes(file: FileNode): Content
}

export type Random = () => number

/** Numbers from 0 to 1 that are the same for the same seed. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const sectorBytes = 512
const noNames = (): number => 0
const allNames = (history: NameHistory): number => history.pending.length
const noBytes = (file: FileNode): Content => file.durable

/** Contents that come again and again for the same file are made once. */
const whole = new WeakMap<FileNode, { readonly durable: Content; readonly last: Change | undefined; readonly content: Content }>()

function allBytes(file: FileNode): Content {
  if (file.pending.length === 0) return file.durable
  const known = whole.get(file)
  const last = file.pending.at(-1)
  if (known !== undefined && known.durable === file.durable && known.last === last) return known.content
  const content = contentOf(applied(file.durable.bytes, file.pending))
  whole.set(file, { durable: file.durable, last, content })
  return content
}

/** The size is there, what was to be in it is not. */
function sizesOnly(file: FileNode): Content {
  const size = allBytes(file).bytes.length
  return size === file.durable.bytes.length ? file.durable : contentOf(resized(file.durable.bytes, size))
}

function resized(bytes: Buffer, size: number): Buffer {
  return size <= bytes.length ? bytes.subarray(0, size) : Buffer.concat([bytes, Buffer.alloc(size - bytes.length)])
}

/** The ends of what can be, in order of what they show: nothing, everything, names without bytes, bytes without names, sizes without bytes. */
export const plainFates: readonly Fate[] = [
  { names: noNames, bytes: noBytes },
  { names: allNames, bytes: allBytes },
  { names: allNames, bytes: noBytes },
  { names: noNames, bytes: allBytes },
  { names: allNames, bytes: sizesOnly },
]

/** Any subset of the names, any subset of the sectors of any subset of the writes, any of the sizes. */
export function randomFate(random: Random): Fate {
  const [keepNames, keepWrites, tear] = [random(), random(), random() * 0.6]
  return {
    names: (history) => (random() < keepNames ? history.pending.length : Math.floor(random() * (history.pending.length + 1))),
    bytes(file) {
      if (file.pending.length === 0) return file.durable
      const changes: { at: number; data: Buffer | null }[] = []
      const sizes = [file.durable.bytes.length]
      for (const change of file.pending) {
        sizes.push(change.data === null ? change.at : Math.max(sizes.at(-1) ?? 0, change.at + change.data.length))
        if (random() < tear && change.data !== null) changes.push(...sectorsOf(change.at, change.data, random))
        else if (random() < keepWrites) changes.push(change)
      }
      // A size is one number: it is that of some moment, whichever bytes came along.
      const size = random() < 0.5 ? sizes.at(-1) : sizes[Math.floor(random() * sizes.length)]
      return contentOf(resized(applied(file.durable.bytes, changes), size ?? 0))
    },
  }
}

/** Some of the sectors that a write touches. A large write is torn in few places, so that its pieces stay few. */
function sectorsOf(at: number, data: Buffer, random: Random): { at: number; data: Buffer }[] {
  const pieces: { at: number; data: Buffer }[] = []
  const keep = random()
  const stretch = data.length > 64 * 1024 ? 64 * sectorBytes : sectorBytes
  for (let from = 0; from < data.length;) {
    const to = Math.min(data.length, Math.floor((at + from) / stretch + 1) * stretch - at)
    if (random() < keep) pieces.push({ at: at + from, data: data.subarray(from, to) })
    from = to
  }
  return pieces
}

/** The state that this fate makes. */
export function stateOf(root: FolderNode, fate: Fate): DiskState {
  const files = new Map<string, Content>()
  const folders: string[] = []
  const contents = new Map<FileNode, Content>()
  const visit = (folder: FolderNode, path: string): void => {
    for (const [name, history] of folder.names) {
      const node = chosen(history, fate)
      const below = path === '' ? name : `${path}/${name}`
      if (node === null) continue
      if (node.kind === 'folder') {
        folders.push(below)
        visit(node, below)
        continue
      }
      // Two names of one file show the same bytes.
      const content = contents.get(node) ?? fate.bytes(node)
      contents.set(node, content)
      files.set(below, content)
    }
  }
  visit(root, '')
  const hash = createHash('sha1')
  for (const path of folders) hash.update(`${path}/\n`)
  for (const [path, { id }] of files) hash.update(`${path} ${id}\n`)
  return { files, folders, id: hash.digest('base64') }
}

function chosen(history: NameHistory, fate: Fate): Node | null {
  if (history.pending.length === 0) return history.durable
  const count = fate.names(history)
  return count === history.pending.length ? liveNode(history) : count === 0 ? history.durable : history.pending[count - 1]?.node ?? null
}

/** Memory, where there is a file system of it: nothing here needs to be durable. */
export const memoryFolder = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** A real folder that is made to hold one state after the other; only what differs is written. */
export interface Stage {
  readonly folder: string
  show(state: DiskState): void
  /** Somebody changed files in place: everything is written anew the next time. */
  forget(): void
  remove(): void
}

export function createStage(folder: string): Stage {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const shown = new Map<string, string>()

  return {
    folder,
    show(state) {
      // Whoever had the last state open may have changed it.
      const found = new Set<string>()
      const wanted = new Set(state.folders)
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name).slice(folder.length + 1)
        if (entry.isDirectory() ? wanted.has(path) : state.files.has(path)) found.add(path)
        else rmSync(join(folder, path), { recursive: true, force: true })
      }
      for (const path of shown.keys()) if (!found.has(path)) shown.delete(path)
      for (const path of state.folders) if (!found.has(path)) mkdirSync(join(folder, path), { recursive: true, mode: 0o700 })
      for (const [path, { bytes, id }] of state.files) {
        if (shown.get(path) === id) continue
        writeFileSync(join(folder, path), bytes, { mode: 0o600 })
        shown.set(path, id)
      }
    },
    forget() {
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true })
      shown.clear()
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
