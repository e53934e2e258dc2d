import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeManifest, encodeManifest, joinManifests, ManifestFormatError, manifestSize, sliceManifest } from '../../src/domain/manifest.ts'
import type { Extent, Placement } from '../../src/domain/model.ts'

const hex = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((data) => Buffer.from(data).toString('hex'))
const drives = fc.array(fc.nat(300), { minLength: 1, maxLength: 4 })
const place: fc.Arbitrary<Placement> = fc.oneof(
  fc.record({ kind: fc.constant('file' as const), drives }),
  fc.record({ kind: fc.constant('segment' as const), drives, segment: fc.oneof(hex(8), hex(11), hex(16), fc.string({ unit: 'grapheme' })),
    at: fc.maxSafeNat() }),
)
const extent: fc.Arbitrary<Extent> = fc.record({
  blob: hex(16), offset: fc.nat(50), length: fc.integer({ min: 1, max: 50 }), rest: fc.nat(50), codec: fc.constantFrom('none' as const,
    'zstd' as const),
  dataKey: fc.option(fc.oneof(hex(16), fc.string())), place,
}).map(({ rest, ...fields }) => ({ ...fields, blobLength: fields.offset + fields.length + rest }))
const manifest = fc.array(extent, { maxLength: 6 })

/** The bytes of a manifest as a naive reader sees them: which byte of which blob. */
const bytesOf = (extents: readonly Extent[]): string[] =>
  extents.flatMap((one) => Array.from({ length: one.length }, (_, i) => `${one.blob}:${one.offset + i}`))

describe('encoding', () => {
  it('gives the same extents back', () => {
    fc.assert(fc.property(manifest, (extents) => {
      expect(decodeManifest(encodeManifest(extents))).toEqual(extents)
    }))
  })

  it('of one packed object is short', () => {
    const blob = 'a1'.repeat(16)
    const one: Extent = {
      blob, offset: 0, length: 4096, blobLength: 4096, codec: 'none', dataKey: null, place: { kind: 'segment', drives: [1],
        segment: 'b2'.repeat(11), at: 123_456_789 },
    }
    expect(encodeManifest([one]).length).toBeLessThanOrEqual(37)
  })

  it('takes lengths up to 2^53', () => {
    const one: Extent = { blob: 'ab', offset: 2 ** 52, length: 2 ** 50, blobLength: Number.MAX_SAFE_INTEGER, codec: 'zstd', dataKey: 'k',
      place: { kind: 'file', drives: [1, 2] } }
    expect(decodeManifest(encodeManifest([one]))).toEqual([one])
  })

  it('reads what was written before there was a usual form', () => {
    const old = '01021021a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a18020010117b2b2b2b2b2b2b2b2b2b2b2c0c4076121c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c30a058020066b6579020102'
    expect(decodeManifest(Buffer.from(old, 'hex'))).toEqual([
      { blob: 'a1'.repeat(16), offset: 0, length: 4096, blobLength: 4096, codec: 'none', dataKey: null, place: { kind: 'segment', drives: [1], segment: 'b2'.repeat(11), at: 123_456 } },
      { blob: 'c3'.repeat(16), offset: 5, length: 10, blobLength: 4096, codec: 'zstd', dataKey: 'key', place: { kind: 'file', drives: [1, 2] } },
    ])
  })

  it('refuses a newer format by name', () => {
    const bytes = encodeManifest([])
    bytes[0] = 2
    expect(() => decodeManifest(bytes)).toThrowError(/format 2 is not known/)
  })

  it('never reads anything but itself', () => {
    fc.assert(fc.property(manifest.filter((extents) => extents.length > 0), fc.nat(), (extents, cut) => {
      const bytes = encodeManifest(extents)
      expect(() => decodeManifest(bytes.subarray(0, cut % bytes.length))).toThrowError(ManifestFormatError)
      expect(() => decodeManifest(Buffer.concat([bytes, Buffer.of(0)]))).toThrowError(ManifestFormatError)
    }))
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      try {
        decodeManifest(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(ManifestFormatError)
      }
    }))
  })

  it('refuses numbers that are no sizes', () => {
    const one: Extent = { blob: 'ab', offset: 0, length: 1.5, blobLength: 1.5, codec: 'none', dataKey: null, place: { kind: 'file', drives: [1] } }
    expect(() => encodeManifest([one])).toThrowError(ManifestFormatError)
    expect(() => encodeManifest([{ ...one, length: -1, blobLength: -1 }])).toThrowError(ManifestFormatError)
  })
})

describe('slices and joins', () => {
  it('a slice has the bytes of its range', () => {
    fc.assert(fc.property(manifest, fc.nat(320), fc.nat(320), (extents, start, end) => {
      const slice = sliceManifest(extents, start, end)
      expect(bytesOf(slice)).toEqual(bytesOf(extents).slice(start, Math.max(start, end)))
      expect(slice.every((one) => one.length > 0)).toBe(true)
    }))
  })

  it('a manifest cut in pieces and joined is the manifest', () => {
    fc.assert(fc.property(manifest, fc.array(fc.nat(320), { maxLength: 5 }), (extents, cuts) => {
      const size = manifestSize(extents)
      const points = [0, ...cuts.filter((cut) => cut < size).sort((a, b) => a - b), size]
      const pieces = points.slice(1).map((end, i) => sliceManifest(extents, points[i] ?? 0, end))
      const joined = joinManifests(pieces)
      expect(bytesOf(joined)).toEqual(bytesOf(extents))
      expect(joined.length).toBeLessThanOrEqual(extents.length)
      expect(manifestSize(joined)).toBe(size)
    }))
  })
})
