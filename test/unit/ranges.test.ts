import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCopySourceRange, parseRange } from '../../src/domain/ranges.ts'

describe('Range', () => {
  it.each([
    ['bytes=0-0', { start: 0, end: 1 }], ['bytes=2-5', { start: 2, end: 6 }], ['bytes=5-', { start: 5, end: 10 }], ['bytes=9-9', { start: 9,
      end: 10 }],
    ['bytes=5-100', { start: 5, end: 10 }], ['bytes=-3', { start: 7, end: 10 }], ['bytes=-100', { start: 0, end: 10 }], ['Bytes=0-3', { start: 0,
      end: 4 }],
    ['bytes=0-99999999999999999999', { start: 0, end: 10 }],
    ['bytes=10-', 'unsatisfiable'], ['bytes=10-20', 'unsatisfiable'], ['bytes=-0', 'unsatisfiable'], ['bytes=99999999999999999999-', 'unsatisfiable'],
    ['bytes=5-2', 'whole'], ['bytes=0-1,3-4', 'whole'], ['bytes=-', 'whole'], ['bytes=', 'whole'], ['bytes', 'whole'], ['items=0-1', 'whole'],
    ['bytes=a-b', 'whole'], ['bytes=0x1-2', 'whole'], ['bytes=--5', 'whole'], ['', 'whole'], [undefined, 'whole'],
  ] as const)('%s of ten bytes', (header, expected) => expect(parseRange(header, 10)).toEqual(expected))

  it('of an empty object is never satisfiable', () => {
    for (const header of ['bytes=0-0', 'bytes=0-', 'bytes=-1']) expect(parseRange(header, 0)).toBe('unsatisfiable')
  })

  it('never leaves the object', () => {
    fc.assert(fc.property(fc.nat(30), fc.nat(30), fc.nat(20), (first, last, size) => {
      const range = parseRange(`bytes=${first}-${last}`, size)
      const expected = last < first ? 'whole' : first >= size ? 'unsatisfiable' : { start: first, end: Math.min(last + 1, size) }
      expect(range).toEqual(expected)
    }))
  })
})

describe('x-amz-copy-source-range', () => {
  it('is exact', () => {
    expect(parseCopySourceRange('bytes=0-9', 10)).toEqual({ start: 0, end: 10 })
    expect(parseCopySourceRange('bytes=3-3', 10)).toEqual({ start: 3, end: 4 })
  })

  it.each(['bytes=0-', 'bytes=-5', 'bytes=5-4', 'bytes=0-1,2-3', 'bytes = 0-1', '0-5', 'bytes=0-10', 'bytes=10-12', ''])('%s is an InvalidArgument',
    (header) => {
    expect(() => parseCopySourceRange(header, 10)).toThrowError(expect.objectContaining({ code: 'InvalidArgument' }))
  })
})
