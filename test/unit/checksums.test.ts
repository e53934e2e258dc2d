import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  algorithmByHeader, algorithmByName, checksumAlgorithms, checksumElementName, checksumHeaderName, combineEtags, combineFullObject, compositeOf,
    createHasher,
  digestBytes, digestOf, isDigest,
} from '../../src/checksums/algorithms.ts'
import { crcs, tableCrcs } from '../../src/checksums/native.ts'

const check = Buffer.from('123456789')
const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 8 })

describe('digests', () => {
  // Check values of the CRC catalogue for the nine digits; the SHA and MD5 values are node:crypto's.
  it.each([
    ['CRC32', 'cbf43926'], ['CRC32C', 'e3069283'], ['CRC64NVME', 'ae8b14860a799888'],
    ['SHA1', createHash('sha1').update(check).digest('hex')], ['SHA256', createHash('sha256').update(check).digest('hex')],
    ['MD5', createHash('md5').update(check).digest('hex')],
  ] as const)('%s of the check string', (algorithm, hex) => {
    expect(Buffer.from(digestOf(algorithm, check), 'base64').toString('hex')).toBe(hex)
  })

  it('are the same in pieces as in one', () => {
    fc.assert(fc.property(pieces, fc.constantFrom(...checksumAlgorithms, 'MD5' as const), (parts, algorithm) => {
      const hasher = createHasher(algorithm)
      for (const part of parts) hasher.update(part)
      expect(hasher.digestBase64()).toBe(digestOf(algorithm, Buffer.concat(parts)))
    }))
  })

  it('of nothing have the right length', () => {
    for (const algorithm of checksumAlgorithms) {
      const value = createHasher(algorithm).digestBase64()
      expect(isDigest(algorithm, value)).toBe(true)
      expect(Buffer.from(value, 'base64')).toHaveLength(digestBytes(algorithm))
    }
  })

  it('by table equal the native ones', () => {
    expect(crcs.native).toBe(true)
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (data, crc, crc64) => {
      expect(tableCrcs.crc32c(data, crc)).toBe(crcs.crc32c(data, crc))
      expect(tableCrcs.crc64nvme(data, crc64)).toBe(crcs.crc64nvme(data, crc64))
    }))
  })

  it('are refused in any spelling but the canonical one', () => {
    expect(isDigest('CRC32', 'y/Q5Jg==')).toBe(true)
    for (const value of ['', 'y/Q5Jg', 'y/Q5Jh==', 'y_Q5Jg==', 'y/Q5JgA=', ' y/Q5Jg==', 'y/Q5Jg==\n']) expect(isDigest('CRC32', value)).toBe(false)
  })
})

describe('combining', () => {
  it.each(['CRC32', 'CRC32C', 'CRC64NVME'] as const)('%s of parts is that of the whole', (algorithm) => {
    fc.assert(fc.property(pieces, (parts) => {
      const combined = combineFullObject(algorithm, parts.map((part) => ({ value: digestOf(algorithm, part), size: part.length })))
      expect(combined).toEqual({ algorithm, type: 'FULL_OBJECT', value: digestOf(algorithm, Buffer.concat(parts)) })
    }))
  })

  it.each(['CRC32', 'CRC32C', 'CRC64NVME'] as const)('%s works for sizes beyond 32 bits', (algorithm) => {
    // Zeros: doubling a run of 2^20 zeros thirteen times gives 2^33, checked against the run's own doubling in two halves.
    const mebibyte = { value: digestOf(algorithm, new Uint8Array(2 ** 20)), size: 2 ** 20 }
    let half = mebibyte
    for (let i = 0; i < 13; i++) half = { value: combineFullObject(algorithm, [half, half]).value, size: half.size * 2 }
    const whole = combineFullObject(algorithm, Array.from({ length: 8192 }, () => mebibyte))
    expect(half).toEqual({ value: whole.value, size: 2 ** 33 })
    expect(combineFullObject(algorithm, [mebibyte, half]).value).toBe(combineFullObject(algorithm, [half, mebibyte]).value)
  })

  it('refuses the SHA family', () => {
    expect(() => combineFullObject('SHA256', [{ value: digestOf('SHA256', check), size: 9 }])).toThrow(TypeError)
  })

  it('composite is the digest of digests with the number of parts', () => {
    for (const algorithm of checksumAlgorithms) {
      const values = [digestOf(algorithm, check), digestOf(algorithm, Buffer.from('x'))]
      const raw = Buffer.concat(values.map((value) => Buffer.from(value, 'base64')))
      expect(compositeOf(algorithm, values)).toEqual({ algorithm, type: 'COMPOSITE', value: `${digestOf(algorithm, raw)}-2` })
    }
  })

  it('ETags of parts become an MD5 of MD5s', () => {
    const first = createHash('md5').update('a').digest()
    const second = createHash('md5').update('b').digest()
    const expected = createHash('md5').update(first).update(second).digest('hex')
    expect(combineEtags([first.toString('hex'), second.toString('hex')])).toBe(`${expected}-2`)
  })
})

describe('names', () => {
  it('lead back to their algorithm', () => {
    for (const algorithm of checksumAlgorithms) {
      expect(algorithmByHeader(checksumHeaderName(algorithm))).toBe(algorithm)
      expect(algorithmByName(algorithm.toLowerCase())).toBe(algorithm)
      expect(checksumElementName(algorithm)).toBe(`Checksum${algorithm}`)
    }
    expect(algorithmByHeader('x-amz-checksum-md5')).toBeUndefined()
    expect(algorithmByHeader('__proto__')).toBeUndefined()
    expect(algorithmByName('__proto__')).toBeUndefined()
  })
})
