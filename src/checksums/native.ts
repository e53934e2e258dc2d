import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** CRCs that continue: `previous` is the CRC of the bytes before, 0 at the start. */
export interface Crcs {
  crc32(data: Uint8Array, previous: number): number
  crc32c(data: Uint8Array, previous: number): number
  crc64nvme(data: Uint8Array, previous: bigint): bigint
  /** False when the native binding could not be loaded and the slow tables do the work. */
  readonly native: boolean
}

interface Binding {
  checksums_crc32c(data: Uint8Array, previous?: number): number
  checksums_crc64nvme(data: Uint8Array, previous?: DataView): DataView
}

/**
 * Only the binary is loaded: the package's index would start its event loops, and its loader runs `ldd`, once in each thread, to
 * learn which library of C there is. What is mapped into this process says it as well.
 */
function loadBinding(): Binding | null {
  try {
    return createRequire(import.meta.url)(`aws-crt/dist/bin/${process.platform}-${process.arch}-${runtimeOfC()}/aws-crt-nodejs.node`) as Binding
  } catch {
    // No binary for this platform or libc: the tables below answer the same, slower.
    return null
  }
}

function runtimeOfC(): 'cruntime' | 'musl' | 'glibc' {
  if (process.platform !== 'linux') return 'cruntime'
  try {
    return readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-') ? 'musl' : 'glibc'
  } catch {
    // Where /proc is not to be seen: the usual one.
    return 'glibc'
  }
}

const binding = loadBinding()

export const tableCrcs: Crcs = { native: false, crc32: zlibCrc32, crc32c: tableCrc32c, crc64nvme: tableCrc64 }

export const crcs: Crcs = binding === null ? tableCrcs : {
  native: true,
  crc32: zlibCrc32,
  crc32c: (data, previous) => binding.checksums_crc32c(data, previous),
  crc64nvme: (data, previous) => {
    const view = new DataView(new ArrayBuffer(8))
    view.setBigUint64(0, previous)
    return binding.checksums_crc64nvme(data, view).getBigUint64(0)
  },
}

let crc32cTable: Uint32Array | undefined

function tableCrc32c(data: Uint8Array, previous: number): number {
  const table = crc32cTable ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 1 ? 0x82f63b78 : 0)
    return crc
  })
  let crc = ~previous
  for (const byte of data) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] ?? 0)
  return ~crc >>> 0
}

let crc64Table: { readonly high: Uint32Array; readonly low: Uint32Array } | undefined

/** Two 32-bit halves, because BigInt arithmetic on each byte is a hundred times slower. */
function tableCrc64(data: Uint8Array, previous: bigint): bigint {
  const { high, low } = crc64Table ??= makeCrc64Table()
  const start = BigInt.asUintN(64, ~previous)
  let upper = Number(start >> 32n)
  let lower = Number(start & 0xffffffffn)
  for (const byte of data) {
    const index = (lower ^ byte) & 0xff
    lower = ((lower >>> 8) | (upper << 24)) ^ (low[index] ?? 0)
    upper = (upper >>> 8) ^ (high[index] ?? 0)
  }
  return BigInt.asUintN(64, ~((BigInt(upper >>> 0) << 32n) | BigInt(lower >>> 0)))
}

/** Reflected polynomial of CRC-64/NVME. Source: NVM Express NVM Command Set specification, 64b CRC. */
export const crc64nvmePolynomial = 0x9a6c9329ac4bc9b5n

function makeCrc64Table(): { high: Uint32Array; low: Uint32Array } {
  const high = new Uint32Array(256)
  const low = new Uint32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ ((crc & 1n) === 1n ? crc64nvmePolynomial : 0n)
    high[byte] = Number(crc >> 32n)
    low[byte] = Number(crc & 0xffffffffn)
  }
  return { high, low }
}
