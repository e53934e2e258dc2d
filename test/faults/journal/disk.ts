import { createHash } from 'node:crypto'
import { dirname, relative } from 'node:path'
import { ops, type Entry } from './records.ts'

/**
 * What is known of a folder's disk at one place of a journal: of each file and each name, what is durable and what is on its way.
 * The rules are POSIX's, not those of one file system:
 * - A sync that was answered makes durable what had returned before it was asked for, of this file (not its name) or of this
 *   folder (the names in it, not what is below them).
 * - Whatever else was done may have reached the disk in part, in any order; of one name, in its own order.
 * - What a failed sync was to write is in doubt for good: a later sync that succeeds does not promise it, nor what lies over it in the
 *   file; only a name that was made to mean something else since is that, then.
 */
export interface Disk {
  /** Takes the next entry of the journal; true when states of the disk after it may differ from those before. */
  take(entry: Entry): boolean
  readonly root: FolderNode
  isFolder(path: string): boolean
  /** Entries taken so far. */
  readonly position: number
}

export interface FileNode {
  readonly kind: 'file'
  readonly id: number
  durable: Content
  /** In order. */
  pending: Change[]
}

export interface FolderNode {
  readonly kind: 'folder'
  readonly id: number
  readonly names: Map<string, NameHistory>
}

export type Node = FileNode | FolderNode

/** Bytes with what they are known by. */
export interface Content {
  readonly bytes: Buffer
  readonly id: string
}

export interface Change {
  readonly at: number
  /** Null: a truncation to `at` bytes. */
  readonly data: Buffer | null
  /** Position of its entry. */
  readonly position: number
  /** A sync of it has failed. */
  doubtful: boolean
}

export interface NameHistory {
  durable: Node | null
  /** What the name was made to mean since, in order. */
  pending: { readonly node: Node | null; readonly position: number; doubtful: boolean }[]
}

/** Names that were removed so long ago are gone: writing back takes seconds, not for ever. */
const removalEntriesMax = 300

export function contentOf(bytes: Buffer): Content {
  return { bytes, id: `${bytes.length}:${createHash('sha1').update(bytes).digest('base64')}` }
}

/** O_TRUNC */
const truncateFlag = 0o1000
const empty = contentOf(Buffer.alloc(0))

/** The file with these changes made to it. */
export function applied(base: Buffer, changes: readonly { readonly at: number; readonly data: Buffer | null }[]): Buffer {
  let size = base.length
  for (const { at, data } of changes) size = Math.max(size, data === null ? at : at + data.length)
  const bytes = Buffer.alloc(size)
  base.copy(bytes)
  let end = base.length
  for (const { at, data } of changes) {
    if (data === null) {
      bytes.fill(0, Math.min(at, end))
      end = at
    } else {
      data.copy(bytes, at)
      end = Math.max(end, at + data.length)
    }
  }
  return bytes.subarray(0, end)
}

/** What the running program sees. */
export function liveNode(history: NameHistory | undefined): Node | null {
  if (history === undefined) return null
  const last = history.pending.at(-1)
  return last === undefined ? history.durable : last.node
}

export function createDisk(rootPath: string): Disk {
  let nodes = 0
  const folder = (): FolderNode => ({ kind: 'folder', id: nodes++, names: new Map() })
  const root = folder()
  const open = new Map<string, Node>()
  const syncs = new Map<string, { readonly asked: number; readonly node: Node }[]>()
  let position = 0

  function lookUp(path: string): Node | null {
    let node: Node | null = root
    const below = relative(rootPath, path)
    for (const name of below === '' ? [] : below.split('/')) node = node?.kind === 'folder' ? liveNode(node.names.get(name)) : null
    return node
  }

  function setName(path: string, node: Node | null): void {
    const parent = lookUp(dirname(path))
    if (parent?.kind !== 'folder') throw new Error(`the journal names ${path}, whose folder it never made`)
    const name = path.slice(path.lastIndexOf('/') + 1)
    const history = parent.names.get(name) ?? { durable: null, pending: [] }
    history.pending.push({ node, position, doubtful: false })
    parent.names.set(name, history)
  }

  function change(entry: Entry, at: number, data: Buffer | null): boolean {
    const node = open.get(`${entry.pid}:${entry.fd}`)
    if (node?.kind !== 'file') throw new Error(`the journal writes to ${entry.path}, which it never opened`)
    if (data?.length !== 0) node.pending.push({ at, data, position, doubtful: false })
    return true
  }

  /** A sync was answered: what came before it was asked for is durable, or in doubt for good. */
  function synced(node: Node, asked: number, failed: boolean): void {
    if (node.kind === 'folder') {
      for (const [name, history] of node.names) settleName(node, name, history, asked, failed)
      return
    }
    const before = node.pending.filter((each) => each.position < asked)
    if (failed) return before.forEach((each) => { each.doubtful = true })
    // What is in doubt stays so, and so does everything that was written over it.
    const first = before.findIndex((each) => each.doubtful)
    const done = first < 0 ? before : before.slice(0, first)
    if (done.length === 0) return
    node.durable = contentOf(applied(node.durable.bytes, done))
    node.pending = node.pending.slice(done.length)
  }

  function settleName(parent: FolderNode, name: string, history: NameHistory, asked: number, failed: boolean): void {
    const before = history.pending.filter((each) => each.position < asked)
    if (failed) return before.forEach((each) => { each.doubtful = true })
    const last = before.at(-1)
    if (last === undefined || last.doubtful) return
    history.durable = last.node
    history.pending = history.pending.slice(before.length)
    if (history.durable === null && history.pending.length === 0) parent.names.delete(name)
  }

  function opened(entry: Entry): boolean {
    if (entry.error !== 0) return false
    let node = lookUp(entry.path)
    const made = entry.offset === 1
    if (made) {
      node = { kind: 'file', id: nodes++, durable: empty, pending: [] }
      setName(entry.path, node)
    }
    if (node === null) throw new Error(`the journal opens ${entry.path}, which it never made`)
    open.set(`${entry.pid}:${entry.fd}`, node)
    if (node.kind === 'folder' || made || (entry.flags & truncateFlag) === 0) return made
    node.pending.push({ at: 0, data: null, position, doubtful: false })
    return true
  }

  function take(entry: Entry): boolean {
    position += 1
    const handle = `${entry.pid}:${entry.fd}`
    // Who does not wait for a sync may close its descriptor before the answer, and another file may get the number.
    const question = `${handle} ${entry.path}`
    switch (entry.op) {
      case ops.open: return opened(entry)
      case ops.close: return open.delete(handle) && false
      case ops.write: return entry.result > 0 && change(entry, entry.offset, entry.data)
      case ops.truncate: return entry.error === 0 && change(entry, entry.offset, null)
      case ops.syncBegin: {
        const node = open.get(handle)
        if (node === undefined) throw new Error(`the journal syncs ${entry.path}, which it never opened`)
        syncs.set(question, [...(syncs.get(question) ?? []), { asked: position, node }])
        return false
      }
      case ops.sync: {
        // Of two syncs of one file at once, the earlier question is the one that is surely answered.
        const [first, ...others] = syncs.get(question) ?? []
        if (first === undefined) throw new Error(`the journal answers a sync of ${entry.path}, which nobody asked for`)
        syncs.set(question, others)
        synced(first.node, first.asked, entry.error !== 0)
        return true
      }
      case ops.rename: case ops.link: {
        if (entry.error !== 0) return false
        const node = lookUp(entry.path)
        if (node === null) throw new Error(`the journal renames ${entry.path}, which it never made`)
        setName(entry.path2, node)
        if (entry.op === ops.rename) setName(entry.path, null)
        return true
      }
      case ops.mkdir: return entry.error === 0 && entry.path !== rootPath && (setName(entry.path, folder()), true)
      case ops.unlink: case ops.rmdir: return entry.error === 0 && (setName(entry.path, null), true)
      case ops.foreign: throw new Error(`${entry.path} was changed by ${entry.path2}, which the journal does not follow`)
      case ops.mark: return false
    }
  }

  function forgetRemovals(node: FolderNode): void {
    for (const [name, history] of node.names) {
      const last = history.pending.at(-1)
      if (last?.node === null && last.position < position - removalEntriesMax) node.names.delete(name)
      const live = liveNode(history)
      if (live?.kind === 'folder') forgetRemovals(live)
    }
  }

  return {
    root,
    isFolder: (path) => lookUp(path)?.kind === 'folder',
    take(entry) {
      const changed = take(entry)
      if (position % 100 === 0) forgetRemovals(root)
      return changed
    },
    get position() {
      return position
    },
  }
}
