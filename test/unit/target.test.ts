import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseQuery, parseTarget } from '../../src/protocol/target.ts'

const refused = (code: string) => expect.objectContaining({ code })
const path = (rawUrl: string, host = 'localhost:9000', domain: string | null = null) => parseTarget({ rawUrl, host, domain }).target
const object = (bucket: string, key: string) => ({ scope: 'object', bucket, key })

describe('path style', () => {
  it('the root is the service', () => {
    expect(path('/')).toEqual({ scope: 'service' })
    expect(path('/?x=1')).toEqual({ scope: 'service' })
  })

  it('a bucket with or without a slash', () => {
    for (const url of ['/b', '/b/', '/b?list-type=2', '/b/?list-type=2']) expect(path(url)).toEqual({ scope: 'bucket', bucket: 'b' })
  })

  it.each([
    ['/b/k', 'k'], ['/b//k', '/k'], ['/b//a/./b', '/a/./b'], ['/b/..', '..'], ['/b/../other/k', '../other/k'], ['/b/..%2f..%2Fother/k',
      '../../other/k'],
    ['/b/%2e%2e', '..'], ['/b/k/', 'k/'], ['/b/a+b', 'a+b'], ['/b/a%2Bb', 'a+b'], ['/b/a%20b', 'a b'], ['/b/100%25', '100%'], ['/b/%C3%A9', 'é'],
    ['/b/%F0%9F%98%80', '😀'], ['/b/a%3Fb', 'a?b'], ['/b/a%0Ab%01', 'a\nb\x01'], ['/b/a#b', 'a#b'], ['/b/a\\b', 'a\\b'], ['/b/__proto__', '__proto__'],
    // UTF-8 that was not escaped: Node shows its bytes as Latin-1.
    ['/b/\xc3\xa9', 'é'], ['/b/\xc3%A9', 'é'],
  ])('%s has the key %j', (url, key) => expect(path(url)).toEqual(object('b', key)))

  it.each(['/b/%00', '/b/a%00b', '/b/%ff', '/b/%C3', '/b/%ED%A0%80', '/b/%C0%AF', '/b/%', '/b/%z1', '/b/%1', '/b/\xff', '/%00/k', 'b/k', '*', '',
    'ftp://h/b'])('%j is an InvalidURI', (url) => {
    expect(() => path(url)).toThrowError(refused('InvalidURI'))
  })

  it('a path without a bucket names none', () => expect(() => path('//k')).toThrowError(refused('InvalidBucketName')))

  it('a key has at most 1024 bytes, however they are written', () => {
    expect(path(`/b/${'a'.repeat(1024)}`)).toEqual(object('b', 'a'.repeat(1024)))
    expect(path(`/b/${'%C3%A9'.repeat(512)}`)).toEqual(object('b', 'é'.repeat(512)))
    expect(() => path(`/b/${'a'.repeat(1025)}`)).toThrowError(refused('KeyTooLongError'))
    expect(() => path(`/b/${'%C3%A9'.repeat(513)}`)).toThrowError(expect.objectContaining({ fields: { Size: '1026', MaxSizeAllowed: '1024' } }))
  })

  it('keeps path and query as they came', () => {
    expect(parseTarget({ rawUrl: '/b/a%2fb?x=%2f?&&y', host: '', domain: null })).toMatchObject({ rawPath: '/b/a%2fb', rawQuery: 'x=%2f?&&y' })
    expect(parseTarget({ rawUrl: '/b?', host: '', domain: null })).toMatchObject({ rawPath: '/b', rawQuery: '' })
  })

  it('gives every key back that was percent-encoded', () => {
    const keys = fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }).filter((key) => !key.includes('\0') && Buffer.byteLength(key) <= 1024)
    fc.assert(fc.property(keys, (key) => {
      expect(path(`/b/${encodeURIComponent(key)}`)).toEqual(object('b', key))
      expect(path(`/b/${Buffer.from(key).toString('hex').replace(/../g, '%$&')}`)).toEqual(object('b', key))
    }))
  })
})

describe('virtual-host style', () => {
  const host = (name: string, rawUrl: string, domain: string | null = 's3.example.com') => path(rawUrl, name, domain)

  it('takes the bucket from the host', () => {
    expect(host('b.s3.example.com', '/')).toEqual({ scope: 'bucket', bucket: 'b' })
    expect(host('b.s3.example.com:9000', '/k')).toEqual(object('b', 'k'))
    expect(host('B.S3.Example.COM', '/k')).toEqual(object('b', 'k'))
    expect(host('my.dotted.bucket.s3.example.com', '/a/b')).toEqual(object('my.dotted.bucket', 'a/b'))
    expect(host('b.s3.example.com', '//k')).toEqual(object('b', '/k'))
    expect(host('b.localhost:9000', '/k', 'localhost:9000')).toEqual(object('b', 'k'))
  })

  it('is path style for the domain itself and for other hosts', () => {
    expect(host('s3.example.com', '/')).toEqual({ scope: 'service' })
    for (const name of ['s3.example.com:9000', '127.0.0.1:9000', '[::1]:9000', 'evils3.example.com', '.s3.example.com', '']) {
      expect(host(name, '/b/k')).toEqual(object('b', 'k'))
    }
    expect(host('b.s3.example.com', '/c/k', null)).toEqual(object('c', 'k'))
  })
})

describe('absolute form', () => {
  it('is its path', () => {
    expect(parseTarget({ rawUrl: 'http://h:9000/b/k?x', host: 'h:9000', domain: null })).toEqual({ rawPath: '/b/k', rawQuery: 'x',
      target: object('b', 'k') })
    expect(path('HTTP://H', 'h')).toEqual({ scope: 'service' })
    expect(parseTarget({ rawUrl: 'https://h?x=1', host: 'h', domain: null })).toEqual({ rawPath: '/', rawQuery: 'x=1', target: { scope: 'service' } })
  })

  it('of another host than the signed header is refused', () => {
    expect(() => path('http://a.s3.example.com/k', 'b.s3.example.com', 's3.example.com')).toThrowError(refused('InvalidRequest'))
  })
})

describe('queries', () => {
  it('keep order, duplicates and empty values', () => {
    const query = parseQuery('b=2&a&b=3&c=&=x&&d=1=2')
    expect(query.entries).toEqual([['b', '2'], ['a', ''], ['b', '3'], ['c', ''], ['', 'x'], ['d', '1=2']])
    expect(query.get('b')).toBe('2')
    expect(query.get('a')).toBe('')
    expect(query.get('z')).toBeUndefined()
    expect(query.has('c')).toBe(true)
    expect(query.get('__proto__')).toBeUndefined()
  })

  it('read a plus as a space, and %2B as a plus', () => {
    expect(parseQuery('prefix=a+b%2Bc%20d&x%3Dy=%C3%A9').entries).toEqual([['prefix', 'a b+c d'], ['x=y', 'é']])
  })

  it.each(['a=%', 'a=%zz', 'a=%ff', 'a=%00', '%00', 'a=%ED%A0%80'])('%s is an InvalidURI',
    (raw) => expect(() => parseQuery(raw)).toThrowError(refused('InvalidURI')))
})
