import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluateCopySource, evaluateDelete, evaluateRead, evaluateWrite } from '../../src/domain/conditions.ts'

const second = 1000
const at = Date.UTC(2026, 0, 2, 3, 4, 5)
// Stored times have milliseconds, headers have not.
const current = { etag: 'abc', lastModified: at + 678, size: 10 }

describe('conditions of a read', () => {
  it('without any is ok', () => expect(evaluateRead({}, current)).toBe('ok'))

  it('If-Match takes a list or a star', () => {
    expect(evaluateRead({ ifMatch: ['x', 'abc'] }, current)).toBe('ok')
    expect(evaluateRead({ ifMatch: '*' }, current)).toBe('ok')
    expect(evaluateRead({ ifMatch: ['x'] }, current)).toBe('precondition-failed')
    expect(evaluateRead({ ifMatch: [] }, current)).toBe('precondition-failed')
  })

  it('If-None-Match takes a list or a star', () => {
    expect(evaluateRead({ ifNoneMatch: ['x'] }, current)).toBe('ok')
    expect(evaluateRead({ ifNoneMatch: ['x', 'abc'] }, current)).toBe('not-modified')
    expect(evaluateRead({ ifNoneMatch: '*' }, current)).toBe('not-modified')
  })

  it('times count by the second', () => {
    expect(evaluateRead({ ifModifiedSince: at }, current)).toBe('not-modified')
    expect(evaluateRead({ ifModifiedSince: at - second }, current)).toBe('ok')
    expect(evaluateRead({ ifUnmodifiedSince: at }, current)).toBe('ok')
    expect(evaluateRead({ ifUnmodifiedSince: at - second }, current)).toBe('precondition-failed')
  })

  it('a matching If-Match shadows If-Unmodified-Since', () => {
    expect(evaluateRead({ ifMatch: ['abc'], ifUnmodifiedSince: at - second }, current)).toBe('ok')
  })

  it('a differing If-None-Match shadows If-Modified-Since', () => {
    expect(evaluateRead({ ifNoneMatch: ['x'], ifModifiedSince: at }, current)).toBe('ok')
    expect(evaluateRead({ ifNoneMatch: ['abc'], ifModifiedSince: at - second }, current)).toBe('not-modified')
  })

  it('412 wins over 304', () => {
    expect(evaluateRead({ ifMatch: ['x'], ifNoneMatch: ['abc'] }, current)).toBe('precondition-failed')
    expect(evaluateRead({ ifUnmodifiedSince: at - second, ifNoneMatch: '*' }, current)).toBe('precondition-failed')
  })

  it('a copy source fails exactly when a read would not give the object', () => {
    const list = fc.oneof(fc.constant('*' as const), fc.subarray(['abc', 'x']))
    const time = fc.constantFrom(at - second, at, at + second)
    const conditions = fc.record({ ifMatch: list, ifNoneMatch: list, ifModifiedSince: time, ifUnmodifiedSince: time }, { requiredKeys: [] })
    fc.assert(fc.property(conditions, (when) => {
      expect(evaluateCopySource(when, current)).toBe(evaluateRead(when, current) === 'ok' ? 'ok' : 'precondition-failed')
    }))
  })
})

describe('conditions of a write', () => {
  it('If-None-Match * wants no object', () => {
    expect(evaluateWrite({ ifNoneMatch: '*' }, null)).toBeNull()
    expect(evaluateWrite({ ifNoneMatch: '*' }, current)).toEqual({ code: 'PreconditionFailed', condition: 'If-None-Match' })
  })

  it('If-Match wants this object', () => {
    expect(evaluateWrite({ ifMatch: 'abc' }, current)).toBeNull()
    expect(evaluateWrite({ ifMatch: 'x' }, current)).toEqual({ code: 'PreconditionFailed', condition: 'If-Match' })
    expect(evaluateWrite({ ifMatch: 'abc' }, null)).toEqual({ code: 'NoSuchKey' })
  })

  it('none holds always', () => {
    expect(evaluateWrite({}, null)).toBeNull()
    expect(evaluateWrite({}, current)).toBeNull()
  })
})

describe('conditions of a delete', () => {
  it('each is compared with the current object', () => {
    expect(evaluateDelete({ ifMatch: 'abc', ifMatchLastModified: at, ifMatchSize: 10 }, current)).toBeNull()
    expect(evaluateDelete({ ifMatch: '*' }, current)).toBeNull()
    expect(evaluateDelete({ ifMatch: 'x' }, current)).toEqual({ code: 'PreconditionFailed', condition: 'If-Match' })
    expect(evaluateDelete({ ifMatchLastModified: at - second }, current)).toEqual({ code: 'PreconditionFailed',
      condition: 'x-amz-if-match-last-modified-time' })
    expect(evaluateDelete({ ifMatchSize: 11 }, current)).toEqual({ code: 'PreconditionFailed', condition: 'x-amz-if-match-size' })
    expect(evaluateDelete({ ifMatchSize: 0 }, current)).toEqual({ code: 'PreconditionFailed', condition: 'x-amz-if-match-size' })
  })

  it('If-Match needs an object, and a delete marker is none', () => {
    expect(evaluateDelete({ ifMatch: '*' }, null)).toEqual({ code: 'NoSuchKey' })
    expect(evaluateDelete({ ifMatch: '*' }, 'delete-marker')).toEqual({ code: 'PreconditionFailed', condition: 'If-Match' })
    expect(evaluateDelete({ ifMatchSize: 10, ifMatchLastModified: at }, null)).toBeNull()
    expect(evaluateDelete({}, null)).toBeNull()
  })
})
