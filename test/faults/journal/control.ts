import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { ops } from './records.ts'

/** `struct control` of `journal.c`. The library has the file mapped: what is written here holds for the next call. */
const controlBytes = 96
const kinds = { error: 1, short: 2, delay: 3 } as const
const errors = { EIO: 5, ENOSPC: 28 } as const
/** Calls that can be made to suffer. */
export type FaultyOp = 'open' | 'write' | 'sync' | 'rename' | 'link' | 'unlink' | 'truncate' | 'mkdir' | 'rmdir'

export interface Fault {
  readonly calls: readonly FaultyOp[]
  /** The first call that suffers, from 1. */
  readonly at: number
  /** How many suffer from there on. Default 1. */
  readonly times?: number
  readonly kind: { readonly error: keyof typeof errors } | 'short' | { readonly delayMs: number }
  /** Only paths that hold this text. */
  readonly path?: string
}

export interface FaultControl {
  readonly file: string
  arm(fault: Fault): void
  disarm(): void
  /** Calls that were of the armed kind, and how many of them suffered. */
  counts(): { readonly matched: number; readonly fired: number }
  close(): void
}

/** Makes the file through which a running program is told what to suffer. */
export function createControl(file: string): FaultControl {
  const fd = openSync(file, 'w+')
  writeSync(fd, Buffer.alloc(controlBytes), 0, controlBytes, 0)
  const write = (bytes: Buffer, at: number): void => void writeSync(fd, bytes, 0, bytes.length, at)
  const numbers = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4)
    values.forEach((value, index) => bytes.writeInt32LE(value | 0, index * 4))
    return bytes
  }
  return {
    file,
    arm({ calls, at, times = 1, kind, path = '' }) {
      const text = Buffer.alloc(64)
      text.write(path)
      const number = kind === 'short' ? kinds.short : 'error' in kind ? kinds.error : kinds.delay
      write(numbers(0), 0)
      write(text, 32)
      write(numbers(at, times, number, typeof kind === 'object' && 'error' in kind ? errors[kind.error] : 0, typeof kind === 'object' && 'delayMs' in kind ? kind.delayMs * 1000 : 0, 0, 0), 4)
      // The mask last: it is what makes the rest hold.
      write(numbers(calls.reduce((mask, call) => mask | (1 << ops[call]), 0)), 0)
    },
    disarm: () => write(numbers(0), 0),
    counts() {
      const bytes = Buffer.alloc(controlBytes)
      readSync(fd, bytes, 0, controlBytes, 0)
      return { matched: bytes.readUInt32LE(24), fired: bytes.readUInt32LE(28) }
    },
    close: () => closeSync(fd),
  }
}
