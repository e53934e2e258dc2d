import { appendFileSync } from 'node:fs'

/** What the library of `journal.c` writes down, in the order of the file. The numbers are its own. */
export const ops = {
  open: 1, write: 2, syncBegin: 3, sync: 4, rename: 5, link: 6, unlink: 7, truncate: 8, mkdir: 9, rmdir: 10, close: 11, foreign: 12,
  /** Written by the test itself: what clients and the database knew at this place. */
  mark: 100,
} as const

export type Op = (typeof ops)[keyof typeof ops]

export interface Entry {
  readonly op: Op
  readonly pid: number
  readonly fd: number
  /** errno of a call that failed; 0. */
  readonly error: number
  /** What the call answered. */
  readonly result: number
  /** Of a write; the length of a truncate; 1 for an open that made the file. */
  readonly offset: number
  readonly flags: number
  readonly path: string
  /** The new name of a rename or link. */
  readonly path2: string
  readonly data: Buffer
}

const headBytes = 64
const magic = 0x31_4a_46_48

/** How many bytes of a journal that is being written are whole entries: the last one may be half there. */
export function wholeBytes(bytes: Buffer): number {
  let at = 0
  while (at + headBytes <= bytes.length && at + bytes.readUInt32LE(at + 4) <= bytes.length) at += Math.max(headBytes, bytes.readUInt32LE(at + 4))
  return at
}

/** All entries of a journal; throws when one is not whole. */
export function readEntries(bytes: Buffer): Entry[] {
  const entries: Entry[] = []
  for (let at = 0; at < bytes.length;) {
    const total = bytes.readUInt32LE(at + 4)
    if (bytes.readUInt32LE(at) !== magic || total < headBytes || at + total > bytes.length) throw new Error(`the journal is damaged at byte ${at}`)
    const [pathBytes, path2Bytes, dataBytes] = [bytes.readUInt32LE(at + 44), bytes.readUInt32LE(at + 48), bytes.readUInt32LE(at + 52)]
    const path2At = at + headBytes + pathBytes
    const dataAt = path2At + path2Bytes
    entries.push({
      op: bytes.readUInt32LE(at + 8) as Op, pid: bytes.readUInt32LE(at + 12), fd: bytes.readInt32LE(at + 16), error: bytes.readInt32LE(at + 20),
      result: Number(bytes.readBigInt64LE(at + 24)), offset: Number(bytes.readBigInt64LE(at + 32)), flags: bytes.readUInt32LE(at + 40),
      path: bytes.toString('utf8', at + headBytes, path2At), path2: bytes.toString('utf8', path2At, dataAt), data: bytes.subarray(dataAt, dataAt + dataBytes),
    })
    at += total
  }
  return entries
}

/** What is known at a place of the journal. */
export type Mark =
  /** A client sends step `step` now. */
  | { readonly kind: 'begin'; readonly step: number }
  /** A client has the answer to step `step`. */
  | { readonly kind: 'end'; readonly step: number }
  /** Something that may change rows was passed on to the database. */
  | { readonly kind: 'sent'; readonly id: number }
  /** The rows are those of snapshot `rows`: the database said so, and the server is about to hear of it. They were possible from the sending `sent` on. */
  | { readonly kind: 'rows'; readonly rows: number; readonly sent: number }

/** One write to a file that is appended to: it takes its place among the library's own records. */
export function appendMark(journal: string | number, mark: Mark): void {
  const text = Buffer.from(JSON.stringify(mark))
  const head = Buffer.alloc(headBytes)
  head.writeUInt32LE(magic, 0)
  head.writeUInt32LE(headBytes + text.length, 4)
  head.writeUInt32LE(ops.mark, 8)
  head.writeUInt32LE(process.pid, 12)
  head.writeUInt32LE(text.length, 44)
  appendFileSync(journal, Buffer.concat([head, text]))
}
