import { describe, expect, it } from 'vitest'
import { checkBucketName, checkTags, isBucketName } from '../../src/domain/names.ts'

const invalid = (code: string) => expect.objectContaining({ code })

describe('bucket names', () => {
  it.each(['abc', 'a.b', 'my-bucket.2026', '0ab', 'a'.repeat(63), '1.2.3.4.5', '1234', 'a--b', 'a-.b', 'xn-a'])('%s is one',
    (name) => expect(isBucketName(name)).toBe(true))

  it.each([
    '', 'ab', 'a'.repeat(64), 'Abc', 'a_b', 'a b', '-ab', 'ab-', '.ab', 'ab.', 'a..b', '192.168.5.4', 'xn--abc', 'sthree-abc',
      'sthree-configurator', 'amzn-s3-demo-x',
    'abc-s3alias', 'abc--ol-s3', 'abc.mrap', 'abc--x-s3', 'abc--table-s3', 'bücket', 'abc\n',
  ])('%s is none', (name) => {
    expect(isBucketName(name)).toBe(false)
    expect(() => checkBucketName(name)).toThrowError(invalid('InvalidBucketName'))
  })
})

describe('tags', () => {
  it('take letters of any script, digits, spaces and some signs', () => {
    checkTags([{ key: 'Größe 大きさ', value: 'a b_c.d:e/f=g+h-i@j' }, { key: 'empty', value: '' },
      { key: 'k'.repeat(128), value: 'v'.repeat(256) }])
  })

  it.each([
    ['', 'v'], ['k'.repeat(129), 'v'], ['k', 'v'.repeat(257)], ['k!', 'v'], ['k', 'v?'], ['k\n', 'v'], ['k', '\0'], ['aws:k', 'v'], ['AWS:k', 'v'],
  ])('refuse %j=%j', (key, value) => expect(() => checkTags([{ key, value }])).toThrowError(invalid('InvalidTag')))

  it('refuse two of one key', () => {
    expect(() => checkTags([{ key: 'a', value: '1' }, { key: 'a', value: '2' }])).toThrowError(invalid('InvalidTag'))
    checkTags([{ key: 'a', value: '1' }, { key: 'A', value: '2' }])
  })
})
