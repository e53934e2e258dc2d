import { createHash, createHmac } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExpectedDigests, PayloadSignature } from '../../src/blobs/blobs.ts'
import { digestOf } from '../../src/checksums/algorithms.ts'
import { S3Error } from '../../src/domain/errors.ts'
import type { Extent } from '../../src/domain/model.ts'
import { poolOfFile } from './blobs-pool.ts'
import { bodyOf, openRoom, patterned, readAll, writeOptions } from './blobs-room.ts'
import type { Room } from './blobs-room.ts'

const mib = 1024 ** 2
const smallMax = 16 * 1024
const sizes = [0, 1, 4096, smallMax - 1, smallMax, smallMax + 1, mib - 1, mib, mib + 1, 3 * mib + 17, 9 * mib]

const pool = poolOfFile()
let room: Room
beforeAll(async () => {
  room = await openRoom({ pool, smallBodyBytesMax: smallMax })
})
afterAll(() => room.close())

const codeOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'ok', (error: unknown) => (error instanceof S3Error ? error.code : String(error)))
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

/** Segments may have grown by nothing; no other file may be new. */
async function expectUnchanged(before: Record<string, number>): Promise<void> {
  const after = await room.files()
  for (const [path, size] of Object.entries(after)) expect([path, before[path] ?? 0]).toEqual([path, size])
}

describe('round trip', () => {
  test.each(sizes)('%i bytes come back as they were', async (size) => {
    const bytes = patterned(size, size + 1)
    const written = await room.blobs.write(bodyOf(bytes), writeOptions())
    expect(written.size).toBe(size)
    expect(written.md5).toBe(md5(bytes))
    expect(written.checksum).toEqual({ algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: digestOf('CRC64NVME', bytes) })
    expect(written.manifest.map((extent) => extent.place.kind)).toEqual(size === 0 ? [] : [size <= smallMax ? 'segment' : 'file'])
    expect((await readAll(room.blobs, written.manifest)).equals(bytes)).toBe(true)
  })

  test('the checksum of a large body is the same alone and beside others, and a wrong one is refused', async () => {
    const bytes = patterned(3 * mib + 5)
    const value = digestOf('CRC64NVME', bytes)
    const write = (expect: ExpectedDigests = {}) => room.blobs.write(bodyOf(bytes), writeOptions({ expect }))
    const announced = (what: string): ExpectedDigests => ({ checksum: { algorithm: 'CRC64NVME', value: what } })
    expect((await write(announced(value))).checksum.value).toBe(value)
    expect(await codeOf(write(announced(digestOf('CRC64NVME', Buffer.from('other')))))).toBe('BadDigest')
    for (const { checksum } of await Promise.all([write(), write(announced(value)), write()])) expect(checksum.value).toBe(value)
    const both = await room.blobs.write(bodyOf(bytes), writeOptions({ algorithm: 'SHA256', expect: announced(value) }))
    expect(both.checksum.value).toBe(digestOf('SHA256', bytes))
  })

  test('a body without a known length is stored, also an empty one', async () => {
    for (const size of [0, 5, 2 * mib]) {
      const bytes = patterned(size)
      const written = await room.blobs.write(bodyOf(bytes, { length: null }), writeOptions())
      expect(written.md5).toBe(md5(bytes))
      expect((await readAll(room.blobs, written.manifest)).equals(bytes)).toBe(true)
    }
  })

  test('bodies written at once do not mix', async () => {
    const bodies = Array.from({ length: 300 }, (_, index) => patterned((index * 977) % (smallMax + 5000), index + 1))
    const written = await Promise.all(bodies.map((bytes) => room.blobs.write(bodyOf(bytes, { pieceBytes: 1500 }), writeOptions())))
    const back = await Promise.all(written.map(({ manifest }) => readAll(room.blobs, manifest)))
    back.forEach((bytes, index) => expect(bytes.equals(bodies[index] ?? Buffer.alloc(0))).toBe(true))
  })

  test('a refused body in a group leaves the others whole', async () => {
    const bodies = Array.from({ length: 40 }, (_, index) => patterned(100 + index * 31, index + 1))
    const results = await Promise.allSettled(bodies.map((bytes, index) =>
      room.blobs.write(bodyOf(bytes), writeOptions(index % 3 === 0 ? { expect: { md5: 'AAAAAAAAAAAAAAAAAAAAAA==' } } : {}))))
    for (const [index, result] of results.entries()) {
      expect(result.status).toBe(index % 3 === 0 ? 'rejected' : 'fulfilled')
      if (result.status === 'fulfilled') expect((await readAll(room.blobs, result.value.manifest)).equals(bodies[index] ?? Buffer.alloc(0))).toBe(true)
    }
  })

  test('what was written is there after a restart', async () => {
    const bytes = [patterned(500), patterned(2 * mib)]
    const first = await openRoom({ pool, smallBodyBytesMax: smallMax })
    const written = await Promise.all(bytes.map((each) => first.blobs.write(bodyOf(each), writeOptions())))
    const second = await first.reopen()
    for (const [index, { manifest }] of written.entries()) expect((await readAll(second.blobs, manifest)).equals(bytes[index] ?? Buffer.alloc(0))).toBe(true)
    await second.close()
  })
})

describe('ranges', () => {
  test('any range of any list of extents is what a buffer gives', async () => {
    const bodies = [patterned(700, 1), patterned(3 * mib + 11, 2), patterned(smallMax, 3), patterned(mib, 4)]
    const written = await Promise.all(bodies.map((bytes) => room.blobs.write(bodyOf(bytes), writeOptions())))
    const blobs = written.map(({ manifest }, index) => ({ extent: manifest[0] as Extent, bytes: bodies[index] as Buffer }))
    const extent = fc.record({ which: fc.nat(blobs.length - 1), from: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.double({ min: 0, max: 1, noNaN: true }) })
    await fc.assert(fc.asyncProperty(fc.array(extent, { minLength: 1, maxLength: 4 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), async (picks, a, b) => {
      const manifest: Extent[] = []
      const parts: Buffer[] = []
      for (const { which, from, to } of picks) {
        const blob = blobs[which]
        if (blob === undefined) continue
        const [start, end] = [Math.floor(Math.min(from, to) * blob.bytes.length), Math.ceil(Math.max(from, to) * blob.bytes.length)]
        if (start === end) continue
        manifest.push({ ...blob.extent, offset: start, length: end - start })
        parts.push(blob.bytes.subarray(start, end))
      }
      const whole = Buffer.concat(parts)
      const [start, end] = [Math.floor(Math.min(a, b) * whole.length), Math.ceil(Math.max(a, b) * whole.length)]
      expect((await readAll(room.blobs, manifest, start, end)).equals(whole.subarray(start, end))).toBe(true)
    }), { numRuns: 150 })
  })

  test('digests of extents are those of their bytes', async () => {
    const bodies = [patterned(700, 1), patterned(2 * mib + 11, 2)]
    const written = await Promise.all(bodies.map((bytes) => room.blobs.write(bodyOf(bytes), writeOptions())))
    const whole = Buffer.concat(bodies)
    const digests = await room.blobs.digest(written.flatMap(({ manifest }) => manifest), ['MD5', 'SHA256', 'CRC32C'])
    expect(digests).toEqual({ MD5: digestOf('MD5', whole), SHA256: digestOf('SHA256', whole), CRC32C: digestOf('CRC32C', whole) })
  })
})

describe('what is refused leaves nothing', () => {
  const wrongCrc = digestOf('CRC32', Buffer.from('other'))
  const cases: [string, string, { expect?: ExpectedDigests; payload?: PayloadSignature; bytesMax?: number; length?: number }][] = [
    ['wrong Content-MD5', 'BadDigest', { expect: { md5: Buffer.alloc(16).toString('base64') } }],
    ['wrong checksum', 'BadDigest', { expect: { checksum: { algorithm: 'CRC32', value: wrongCrc } } }],
    ['wrong payload hash', 'XAmzContentSHA256Mismatch', { payload: { kind: 'sha256', hex: '0'.repeat(64) } }],
    ['too large', 'EntityTooLarge', { bytesMax: 10 }],
    ['fewer bytes than declared', 'IncompleteBody', { length: 5 * mib }],
  ]
  for (const size of [1000, 3 * mib]) {
    test.each(cases)(`${size} bytes: %s`, async (_name, code, options) => {
      const before = await room.files()
      const body = bodyOf(patterned(size), { ...(options.payload ? { payload: options.payload } : {}), ...(options.length === undefined ? {} : { length: options.length }) })
      const result = room.blobs.write(body, writeOptions({ algorithm: 'CRC32', expect: options.expect ?? {}, ...(options.bytesMax === undefined ? {} : { bytesMax: options.bytesMax }) }))
      expect(await codeOf(result)).toBe(code)
      await expectUnchanged(before)
    })
    test(`${size} bytes: right digests are accepted`, async () => {
      const bytes = patterned(size)
      const written = await room.blobs.write(
        bodyOf(bytes, { payload: { kind: 'sha256', hex: createHash('sha256').update(bytes).digest('hex') } }),
        writeOptions({ algorithm: 'SHA1', expect: { md5: digestOf('MD5', bytes), checksum: { algorithm: 'SHA1', value: digestOf('SHA1', bytes) } } }),
      )
      expect(written.checksum.value).toBe(digestOf('SHA1', bytes))
    })
    test(`${size} bytes: the client leaves half-way`, async () => {
      const before = await room.files()
      const stream = new PassThrough()
      const result = codeOf(room.blobs.write({ stream, wireLength: size, length: size, payload: { kind: 'unsigned' } }, writeOptions()))
      stream.write(patterned(Math.floor(size / 2)))
      await new Promise((resolve) => setTimeout(resolve, 50))
      stream.destroy()
      expect(await result).toBe('IncompleteBody')
      await expectUnchanged(before)
    })
  }

  test('a body that hardly moves is given up', async () => {
    const slow = await openRoom({ pool, smallBodyBytesMax: smallMax, bodyRateWindowMs: 100 })
    const stream = new PassThrough()
    stream.write(patterned(20))
    expect(await codeOf(slow.blobs.write({ stream, wireLength: mib, length: mib, payload: { kind: 'unsigned' } }, writeOptions()))).toBe('RequestTimeout')
    expect(Object.keys(await slow.files())).toEqual([])
    await slow.close()
  })
})

describe('bounds', () => {
  test('slow uploads do not keep others out, however few slabs there are', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax, uploadSlabs: 2 })
    const bytes = patterned(2 * mib + 3)
    const slow = Array.from({ length: 4 }, () => new PassThrough())
    const slowWrites = slow.map((stream) => {
      stream.write(bytes.subarray(0, 1000))
      return own.blobs.write({ stream, wireLength: bytes.length, length: bytes.length, payload: { kind: 'unsigned' } }, writeOptions())
    })
    const fast = await Promise.all(Array.from({ length: 12 }, () => own.blobs.write(bodyOf(bytes), writeOptions())))
    slow.forEach((stream) => stream.end(bytes.subarray(1000)))
    for (const written of [...fast, ...(await Promise.all(slowWrites))]) expect((await readAll(own.blobs, written.manifest)).equals(bytes)).toBe(true)
    await own.close()
  })

  test('readers that stand still do not keep others out, however few buffers there are', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax, readBuffers: 2 })
    const bytes = patterned(3 * mib + 5)
    const { manifest } = await own.blobs.write(bodyOf(bytes), writeOptions())
    const still = await Promise.all(Array.from({ length: 2 }, () => own.blobs.read(manifest, 0, bytes.length)))
    const begun = await Promise.all(still.map(async (reader) => Buffer.from(await reader.next() ?? [])))
    for (const each of await Promise.all(Array.from({ length: 5 }, () => readAll(own.blobs, manifest)))) expect(each.equals(bytes)).toBe(true)
    const ranges = [[5, mib + 7], [mib - 1, mib + 1], [2 * mib + 70_000, 3 * mib + 5]] as const
    for (const [start, end] of ranges) {
      const reader = await own.blobs.read(manifest, start, end)
      const parts: Buffer[] = []
      for (let part = await reader.next(); part !== null; part = await reader.next()) parts.push(Buffer.from(part))
      reader.close()
      expect(Buffer.concat(parts).equals(bytes.subarray(start, end))).toBe(true)
    }
    // Those that stood still go on where they were.
    for (const [index, reader] of still.entries()) {
      const parts = [begun[index] ?? Buffer.alloc(0)]
      for (let part = await reader.next(); part !== null; part = await reader.next()) parts.push(Buffer.from(part))
      reader.close()
      expect(Buffer.concat(parts).equals(bytes)).toBe(true)
    }
    await own.close()
  })

  test('readers that stop give their buffers back, and the others wait their turn', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax, readBuffers: 2 })
    const bytes = patterned(3 * mib)
    const { manifest } = await own.blobs.write(bodyOf(bytes), writeOptions())
    const stopped = await own.blobs.read(manifest, 0, bytes.length)
    await stopped.next()
    const others = Promise.all(Array.from({ length: 6 }, () => readAll(own.blobs, manifest)))
    stopped.close()
    for (const each of await others) expect(each.equals(bytes)).toBe(true)
    await own.close()
  })
})

describe('aws-chunked', () => {
  const chain = { signingKey: Buffer.alloc(32, 5), seedSignature: 'a'.repeat(64), timestamp: '20260102T030405Z', scope: '20260102/us-east-1/s3/aws4_request' }
  const sha = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

  function encode(bytes: Buffer, options: { signed: boolean; chunkBytes: number; trailer?: readonly [string, string] }): Buffer {
    const out: (Buffer | string)[] = []
    let previous = chain.seedSignature
    const sign = (text: string): string => (previous = createHmac('sha256', chain.signingKey).update(text).digest('hex'))
    for (let at = 0; ; at += options.chunkBytes) {
      const chunk = bytes.subarray(at, at + options.chunkBytes)
      const signature = sign(`AWS4-HMAC-SHA256-PAYLOAD\n${chain.timestamp}\n${chain.scope}\n${previous}\n${sha('')}\n${sha(chunk)}`)
      out.push(`${chunk.length.toString(16)}${options.signed ? `;chunk-signature=${signature}` : ''}\r\n`)
      if (chunk.length === 0) break
      out.push(chunk, '\r\n')
    }
    if (options.trailer !== undefined) {
      const line = `${options.trailer[0]}:${options.trailer[1]}\n`
      out.push(line.replace('\n', '\r\n'))
      if (options.signed) out.push(`x-amz-trailer-signature:${sign(`AWS4-HMAC-SHA256-TRAILER\n${chain.timestamp}\n${chain.scope}\n${previous}\n${sha(line)}`)}\r\n`)
    }
    out.push('\r\n')
    return Buffer.concat(out.map((part) => Buffer.from(part as string)))
  }

  for (const size of [0, 1, 9000, smallMax + 1, 2 * mib + 5]) {
    test(`${size} bytes, each chunk and the trailer signed`, async () => {
      const bytes = patterned(size)
      const wire = encode(bytes, { signed: true, chunkBytes: 8192, trailer: ['x-amz-checksum-crc32', digestOf('CRC32', bytes)] })
      const body = bodyOf(wire, { length: size, payload: { kind: 'chunked-signed', trailer: true, chain }, pieceBytes: 10_007 })
      const written = await room.blobs.write(body, writeOptions({ algorithm: 'CRC32', expect: { trailer: 'CRC32' } }))
      expect((await readAll(room.blobs, written.manifest)).equals(bytes)).toBe(true)
    })
    test(`${size} bytes, each chunk signed, in pieces that leave their slab early`, async () => {
      const own = await openRoom({ pool, smallBodyBytesMax: smallMax, uploadSlabs: 1 })
      const bytes = patterned(size)
      const wire = encode(bytes, { signed: true, chunkBytes: 8192 })
      // Three uploads that come slowly and one slab for all: it changes hands with whatever is in it, chunks cut anywhere.
      const written = await Promise.all([3001, 12_345, 400_000].map((pieceBytes) => {
        const stream = new PassThrough()
        void (async () => {
          for (let at = 0; at < wire.length; at += pieceBytes) {
            stream.write(wire.subarray(at, at + pieceBytes))
            if (at < 20 * pieceBytes && at % 3 !== 1) await new Promise((resolve) => setTimeout(resolve, 30))
          }
          stream.end()
        })()
        return own.blobs.write({ stream, wireLength: wire.length, length: size, payload: { kind: 'chunked-signed', trailer: false, chain } }, writeOptions())
      }))
      for (const { manifest } of written) expect((await readAll(own.blobs, manifest)).equals(bytes)).toBe(true)
      await own.close()
    })
    test(`${size} bytes: a changed byte, a wrong or missing trailer`, async () => {
      const bytes = patterned(size)
      const before = await room.files()
      const write = (wire: Buffer, signed: boolean) => codeOf(room.blobs.write(
        bodyOf(wire, { length: size, payload: signed ? { kind: 'chunked-signed', trailer: true, chain } : { kind: 'chunked-unsigned', trailer: true } }),
        writeOptions({ algorithm: 'CRC32', expect: { trailer: 'CRC32' } }),
      ))
      const good = encode(bytes, { signed: true, chunkBytes: 8192, trailer: ['x-amz-checksum-crc32', digestOf('CRC32', bytes)] })
      const at = size === 0 ? 25 : good.indexOf('\r\n') + 2
      const bad = Buffer.from(good)
      bad[at] = (bad[at] ?? 0) === 0x30 ? 0x31 : 0x30
      expect(await write(bad, true)).toBe('SignatureDoesNotMatch')
      expect(await write(encode(bytes, { signed: false, chunkBytes: 8192, trailer: ['x-amz-checksum-crc32', digestOf('CRC32', Buffer.from('x'))] }), false)).toBe('BadDigest')
      expect(await write(encode(bytes, { signed: false, chunkBytes: 8192 }), false)).toBe('MalformedTrailerError')
      await expectUnchanged(before)
    })
  }
})

describe('rot', () => {
  async function flip(path: string, at: number): Promise<void> {
    const bytes = await readFile(path)
    bytes[at] = (bytes[at] ?? 0) ^ 4
    await writeFile(path, bytes)
  }

  test('a flipped bit anywhere in a record is an error, never other bytes', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax })
    const bytes = patterned(100)
    const { manifest } = await own.blobs.write(bodyOf(bytes), writeOptions())
    const place = manifest[0]?.place
    if (place?.kind !== 'segment') throw new Error('expected a segment')
    const path = join(own.root, 'segments', place.segment)
    for (let offset = 0; offset < 64 + 100; offset += 3) {
      await flip(path, place.at + offset)
      expect(await codeOf(readAll(own.blobs, manifest))).toBe('InternalError')
      await flip(path, place.at + offset)
    }
    expect((await readAll(own.blobs, manifest)).equals(bytes)).toBe(true)
    expect(own.logged.some((line) => line.includes(manifest[0]?.blob ?? '-'))).toBe(true)
    await own.close()
  })

  test('a flipped bit in a file is an error for the ranges that touch its block, and for no other', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax })
    const bytes = patterned(3 * mib + 5)
    const { manifest } = await own.blobs.write(bodyOf(bytes), writeOptions())
    const blob = manifest[0]?.blob ?? ''
    await flip(join(own.root, 'blobs', blob.slice(0, 2), blob.slice(2, 4), blob), mib + 77)
    expect(await codeOf(own.blobs.read(manifest, mib, mib + 1))).toBe('InternalError')
    expect((await readAll(own.blobs, manifest, 0, mib)).equals(bytes.subarray(0, mib))).toBe(true)
    expect((await readAll(own.blobs, manifest, 2 * mib)).equals(bytes.subarray(2 * mib))).toBe(true)
    expect(await codeOf(readAll(own.blobs, manifest))).toBe('InternalError')
    await own.close()
  })

  test('a flipped bit in the last block of a file, which is short, is an error, for the whole and for ranges of it', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax })
    for (const size of [2 * mib + 5, mib + 1, 300_000]) {
      const { manifest } = await own.blobs.write(bodyOf(patterned(size)), writeOptions())
      const blob = manifest[0]?.blob ?? ''
      await flip(join(own.root, 'blobs', blob.slice(0, 2), blob.slice(2, 4), blob), size - 1)
      for (const [start, end] of [[0, size], [size - 1, size]] as const) expect(await codeOf(readAll(own.blobs, manifest, start, end))).toBe('InternalError')
    }
    await own.close()
  })

  test('a damaged block table or a missing file is an error', async () => {
    const own = await openRoom({ pool, smallBodyBytesMax: smallMax })
    const { manifest } = await own.blobs.write(bodyOf(patterned(2 * mib)), writeOptions())
    const blob = manifest[0]?.blob ?? ''
    await flip(join(own.root, 'blobs', blob.slice(0, 2), blob.slice(2, 4), blob), 2 * mib + 1)
    expect(await codeOf(own.blobs.read(manifest, 0, 1))).toBe('InternalError')
    expect(await codeOf(own.blobs.read([{ ...(manifest[0] as Extent), blob: 'f'.repeat(32) }], 0, 1))).toBe('InternalError')
    await own.close()
  })
})
