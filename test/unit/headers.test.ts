import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { digestOf } from '../../src/checksums/algorithms.ts'
import type { ObjectVersion } from '../../src/domain/model.ts'
import {
  checksumElements, checksumRequest, copyChecksumAlgorithm, copySourceConditions, deleteConditions, entityTag, etagList, expectedDigests, httpDate,
    isoDate, makeHeaders,
  objectChecksum, objectHeaders, objectMetadata, parseHttpDate, parseTaggingHeader, readConditions, refuseUnsupported, versionHeaders,
    writeConditions,
} from '../../src/protocol/headers.ts'
import { decodeWords, encodeWords } from '../../src/protocol/rfc2047.ts'

const refused = (code: string) => expect.objectContaining({ code })
const headers = (fields: Readonly<Record<string, string | undefined>>) =>
  makeHeaders(Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [name, value]))
const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1')

describe('header fields', () => {
  it('have no case, keep their order and are joined by name', () => {
    const fields = makeHeaders(['X-A', '1', 'x-b', ' 2 ', 'X-a', '3'])
    expect(fields.entries).toEqual([['x-a', '1'], ['x-b', '2'], ['x-a', '3']])
    expect(fields.get('x-a')).toBe('1,3')
    expect(fields.has('x-b')).toBe(true)
    expect(fields.get('x-c')).toBeUndefined()
  })

  it('named like parts of objects are only headers', () => {
    expect(headers({}).get('constructor')).toBeUndefined()
    expect(makeHeaders(['__proto__', 'x']).get('__proto__')).toBe('x')
  })

  it('that are UTF-8 are read so, others as Latin-1', () => {
    expect(headers({ a: bytes('né') }).get('a')).toBe('né')
    expect(headers({ a: 'n\xe9' }).get('a')).toBe('n\xe9')
  })
})

describe('object metadata', () => {
  it('has the system headers that S3 keeps, as they were sent', () => {
    const { system, user } = objectMetadata(headers({
      'Content-Type': 'text/plain', 'Cache-Control': 'no-cache', 'Content-Disposition': 'inline', 'Content-Language': 'de', 'Expires': 'whenever',
        'Content-Length': '1',
      'x-amz-website-redirect-location': '/other', 'Content-Encoding': 'gzip',
    }))
    expect(system).toEqual({
      'content-type': 'text/plain', 'cache-control': 'no-cache', 'content-disposition': 'inline', 'content-language': 'de', 'expires': 'whenever',
      'x-amz-website-redirect-location': '/other', 'content-encoding': 'gzip',
    })
    expect(user).toEqual({})
  })

  it.each([['aws-chunked', undefined], ['aws-chunked,gzip', 'gzip'], ['gzip, AWS-Chunked', 'gzip'], ['gzip, br', 'gzip, br'], ['',
    undefined]])('content encoding %j is kept as %j', (sent, kept) => {
    expect(objectMetadata(headers({ 'content-encoding': sent })).system['content-encoding']).toBe(kept)
  })

  it('decodes words, joins duplicates, keeps odd names', () => {
    const { user } = objectMetadata(makeHeaders([
      'x-amz-meta-A', '=?UTF-8?B?w6k=?=', 'x-amz-meta-b', '1', 'X-Amz-Meta-B', '2', 'x-amz-meta-c', bytes('é'), 'x-amz-meta-__proto__', 'p',
        'x-amz-meta-', 'nameless',
    ]))
    expect(Object.entries(user)).toEqual([['a', 'é'], ['b', '1,2'], ['c', 'é'], ['__proto__', 'p'], ['', 'nameless']])
  })

  it('has 2 KB at most, counted in UTF-8 after decoding', () => {
    expect(objectMetadata(headers({ 'x-amz-meta-a': 'x'.repeat(2047) })).user).toHaveProperty('a')
    expect(() => objectMetadata(headers({ 'x-amz-meta-a': 'x'.repeat(2048) }))).toThrowError(expect.objectContaining({ code: 'MetadataTooLarge',
      fields: { Size: '2049', MaxSizeAllowed: '2048' } }))
    expect(() => objectMetadata(headers({ 'x-amz-meta-a': bytes('é'.repeat(1024)) }))).toThrowError(refused('MetadataTooLarge'))
  })

  it('refuses what PostgreSQL could not keep and redirects to nowhere', () => {
    expect(() => objectMetadata(headers({ 'x-amz-meta-a': '=?UTF-8?Q?=00?=' }))).toThrowError(refused('InvalidArgument'))
    expect(() => objectMetadata(headers({ 'x-amz-website-redirect-location': 'other' }))).toThrowError(refused('InvalidRedirectLocation'))
  })
})

describe('encoded words', () => {
  it.each([
    ['=?UTF-8?B?w6k=?=', 'é'], ['=?utf-8?q?caf=C3=A9_au_lait?=', 'café au lait'], ['a =?UTF-8?Q?b?= c', 'a b c'], ['=?UTF-8?Q?a?= =?UTF-8?B?Yg==?=',
      'ab'],
    ['=?ISO-8859-1?Q?=E9?=', 'é'], ['plain', 'plain'], ['=?UTF-8?B?/w==?=', '=?UTF-8?B?/w==?='], ['=?UTF-8?X?a?=', '=?UTF-8?X?a?='],
      ['=?UTF-8?Q?=zz?=', '=?UTF-8?Q?=zz?='], ['=?', '=?'],
  ])('%j means %j', (sent, meant) => expect(decodeWords(sent)).toBe(meant))

  it('of any text are ASCII and come back', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => {
      const sent = encodeWords(text)
      expect(sent).toMatch(/^[\t\x20-\x7e]*$/)
      expect(decodeWords(sent)).toBe(text)
    }))
  })
})

describe('dates', () => {
  const at = Date.UTC(2026, 0, 2, 3, 4, 5)

  it('are written as HTTP and S3 want them', () => {
    expect(httpDate(at + 999)).toBe('Fri, 02 Jan 2026 03:04:05 GMT')
    expect(isoDate(at + 999)).toBe('2026-01-02T03:04:05.000Z')
  })

  it.each(['Fri, 02 Jan 2026 03:04:05 GMT', 'Friday, 02-Jan-26 03:04:05 GMT', 'Fri Jan  2 03:04:05 2026', '2026-01-02T03:04:05Z',
    '2026-01-02T04:04:05.000+01:00', ' Fri, 02 Jan 2026 03:04:05 UTC '])('%j is read', (text) => {
    expect(parseHttpDate(text)).toBe(at)
  })

  it.each(['', 'yesterday', '1767323045', 'Fri, 32 Jan 2026 03:04:05 GMT', 'Fri, 30 Feb 2026 03:04:05 GMT', 'Fri, 02 Foo 2026 03:04:05 GMT',
    'Fri, 02 Jan 2026 25:04:05 GMT', '2026-13-02T03:04:05Z', '2026-01-02'])('%j is none', (text) => {
    expect(parseHttpDate(text)).toBeUndefined()
  })

  it('come back', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), (seconds) => {
      expect(parseHttpDate(httpDate(seconds * 1000))).toBe(seconds * 1000)
      expect(parseHttpDate(isoDate(seconds * 1000))).toBe(seconds * 1000)
    }))
  })
})

describe('conditions', () => {
  it('ETags lose their quotes', () => {
    for (const [sent, meant] of [['"abc"', 'abc'], ['abc', 'abc'], [' "abc" ', 'abc'], ['*', '*'], ['W/"abc"', 'W/"abc"'], ['"',
      '"']] as const) expect(entityTag(sent)).toBe(meant)
    expect(etagList('"a", b ,,"c"')).toEqual(['a', 'b', 'c'])
    expect(etagList('*')).toBe('*')
  })

  it('of a write are an ETag or a star', () => {
    expect(writeConditions(headers({}))).toEqual({})
    expect(writeConditions(headers({ 'If-None-Match': '*' }))).toEqual({ ifNoneMatch: '*' })
    expect(writeConditions(headers({ 'If-Match': '"abc"' }))).toEqual({ ifMatch: 'abc' })
  })

  it.each([{ 'If-None-Match': '"abc"' }, { 'If-Match': '*' }, { 'If-Match': '"a","b"' }, { 'If-Match': '"a"', 'If-None-Match': '*' },
    { 'If-Modified-Since': 'x' }])('%j on a write is NotImplemented', (fields) => {
    expect(() => writeConditions(headers(fields))).toThrowError(refused('NotImplemented'))
  })

  it('of a delete', () => {
    expect(deleteConditions(headers({}))).toEqual({})
    expect(deleteConditions(headers({ 'if-match': '*' }))).toEqual({ ifMatch: '*' })
    expect(deleteConditions(headers({ 'if-match': '"a"', 'x-amz-if-match-size': '0',
      'x-amz-if-match-last-modified-time': 'Fri, 02 Jan 2026 03:04:05 GMT' })))
      .toEqual({ ifMatch: 'a', ifMatchSize: 0, ifMatchLastModified: Date.UTC(2026, 0, 2, 3, 4, 5) })
    expect(() => deleteConditions(headers({ 'x-amz-if-match-size': '-1' }))).toThrowError(refused('InvalidArgument'))
    expect(() => deleteConditions(headers({ 'x-amz-if-match-last-modified-time': 'soon' }))).toThrowError(refused('InvalidArgument'))
    expect(() => deleteConditions(headers({ 'if-match': '"a","b"' }))).toThrowError(refused('NotImplemented'))
  })

  it('of reads and copy sources ignore dates that are none', () => {
    const fields = { 'if-match': '"a"', 'if-none-match': '*', 'if-modified-since': 'Fri, 02 Jan 2026 03:04:05 GMT', 'if-unmodified-since': 'never' }
    const expected = { ifMatch: ['a'], ifNoneMatch: '*', ifModifiedSince: Date.UTC(2026, 0, 2, 3, 4, 5) }
    expect(readConditions(headers(fields))).toEqual(expected)
    const source = Object.fromEntries(Object.entries(fields).map(([name, value]) => [`x-amz-copy-source-${name}`, value]))
    expect(copySourceConditions(headers(source))).toEqual(expected)
    expect(readConditions(headers(source))).toEqual({})
  })
})

describe('announced digests', () => {
  const data = Buffer.from('hello')
  const crc = digestOf('CRC32', data)

  it('are an MD5, one checksum or one trailer', () => {
    const md5 = digestOf('MD5', data)
    expect(expectedDigests(headers({}))).toEqual({})
    expect(expectedDigests(headers({ 'Content-MD5': md5, 'x-amz-checksum-crc32': crc }))).toEqual({ md5, checksum: { algorithm: 'CRC32',
      value: crc } })
    expect(expectedDigests(headers({ 'x-amz-trailer': 'x-amz-checksum-CRC64NVME' }))).toEqual({ trailer: 'CRC64NVME' })
    expect(expectedDigests(headers({ 'x-amz-sdk-checksum-algorithm': 'SHA1',
      'x-amz-checksum-crc32': crc }))).toEqual({ checksum: { algorithm: 'CRC32', value: crc } })
  })

  it.each(['', 'abc', 'AAAA', digestOf('SHA1', data), digestOf('MD5', data).slice(0, -2)])('Content-MD5 %j is an InvalidDigest', (md5) => {
    expect(() => expectedDigests(headers({ 'content-md5': md5 }))).toThrowError(refused('InvalidDigest'))
  })

  it.each([
    { 'x-amz-checksum-crc32': 'AAAA' }, { 'x-amz-checksum-crc32': `${crc},${crc}` }, { 'x-amz-checksum-sha256': crc },
      { 'x-amz-checksum-crc32': `${crc}-2` },
    { 'x-amz-checksum-crc32': crc, 'x-amz-checksum-crc32c': crc }, { 'x-amz-checksum-crc32': crc, 'x-amz-trailer': 'x-amz-checksum-crc32' },
    { 'x-amz-trailer': 'x-amz-checksum-md5' }, { 'x-amz-trailer': 'x-amz-checksum-crc32,x-amz-checksum-sha1' },
      { 'x-amz-sdk-checksum-algorithm': 'CRC32' },
  ])('%j is an InvalidRequest', (fields) => expect(() => expectedDigests(headers(fields))).toThrowError(refused('InvalidRequest')))

  it('of a whole multipart object may count its parts', () => {
    expect(objectChecksum(headers({}))).toBeNull()
    expect(objectChecksum(headers({ 'x-amz-checksum-crc32': `${crc}-2` }))).toEqual({ algorithm: 'CRC32', value: `${crc}-2` })
    expect(() => objectChecksum(headers({ 'x-amz-checksum-crc32': `${crc}-0` }))).toThrowError(refused('InvalidRequest'))
  })
})

describe('checksum of a multipart upload', () => {
  const request = (algorithm?: string, type?: string) =>
    checksumRequest(headers({ ...algorithm === undefined ? {} : { 'x-amz-checksum-algorithm': algorithm },
      ...type === undefined ? {} : { 'x-amz-checksum-type': type } }))

  it.each([
    ['CRC32', undefined, 'COMPOSITE'], ['CRC32C', undefined, 'COMPOSITE'], ['CRC64NVME', undefined, 'FULL_OBJECT'], ['SHA1', undefined,
      'COMPOSITE'], ['SHA256', undefined, 'COMPOSITE'],
    ['crc32', 'full_object', 'FULL_OBJECT'], ['CRC32C', 'COMPOSITE', 'COMPOSITE'],
  ])('%s with type %s is %s', (algorithm, type, expected) => expect(request(algorithm, type)).toEqual({ algorithm: algorithm.toUpperCase(),
    type: expected }))

  it('is none when none is named', () => expect(request()).toEqual({ algorithm: null, type: null }))

  it.each([['MD5', undefined], ['CRC64NVME', 'COMPOSITE'], ['SHA1', 'FULL_OBJECT'], ['SHA256', 'FULL_OBJECT'], ['CRC32', 'HALF'], [undefined,
    'COMPOSITE']])('%s with %s is an InvalidRequest', (algorithm, type) => {
    expect(() => request(algorithm, type)).toThrowError(refused('InvalidRequest'))
  })

  it('of a copy is what it names', () => {
    expect(copyChecksumAlgorithm(headers({ 'x-amz-checksum-algorithm': 'sha1' }))).toBe('SHA1')
    expect(copyChecksumAlgorithm(headers({}))).toBeNull()
  })
})

describe('x-amz-tagging', () => {
  it('is URL-encoded pairs', () => {
    expect(parseTaggingHeader(undefined)).toEqual([])
    expect(parseTaggingHeader('a=1&b+c=%C3%A9&d=&e')).toEqual([{ key: 'a', value: '1' }, { key: 'b c', value: 'é' }, { key: 'd', value: '' },
      { key: 'e', value: '' }])
  })

  it('has its errors', () => {
    expect(() => parseTaggingHeader('a=1&a=2')).toThrowError(refused('InvalidTag'))
    expect(() => parseTaggingHeader('aws:a=1')).toThrowError(refused('InvalidTag'))
    expect(() => parseTaggingHeader('=1')).toThrowError(refused('InvalidTag'))
    expect(() => parseTaggingHeader('a=%zz')).toThrowError(refused('InvalidArgument'))
    expect(() => parseTaggingHeader(Array.from({ length: 11 }, (_, i) => `k${i}=v`).join('&'))).toThrowError(refused('BadRequest'))
  })
})

describe('headers that we cannot honour', () => {
  it.each([
    'x-amz-server-side-encryption', 'x-amz-server-side-encryption-customer-algorithm', 'x-amz-server-side-encryption-aws-kms-key-id',
      'x-amz-server-side-encryption-bucket-key-enabled',
    'x-amz-copy-source-server-side-encryption-customer-key', 'x-amz-object-lock-mode', 'x-amz-object-lock-legal-hold', 'x-amz-grant-read',
      'x-amz-mfa', 'x-amz-bypass-governance-retention',
  ])('%s is NotImplemented by its name', (name) => {
    expect(() => refuseUnsupported(headers({ [name]: 'x' }))).toThrowError(expect.objectContaining({ code: 'NotImplemented',
      message: expect.stringContaining(name), fields: { Header: name } }))
  })

  it('depend on the value where S3 has one that we honour', () => {
    for (const fields of [
      { 'x-amz-acl': 'private' }, { 'x-amz-acl': 'bucket-owner-full-control' }, { 'x-amz-object-ownership': 'BucketOwnerEnforced' },
        { 'x-amz-bucket-object-lock-enabled': 'false' },
      { 'x-amz-storage-class': 'STANDARD' }, { 'x-amz-request-payer': 'requester' }, { 'x-amz-meta-x': '1' }, { 'x-amz-date': 'x' },
    ]) expect(() => refuseUnsupported(headers(fields))).not.toThrow()
    for (const fields of [{ 'x-amz-acl': 'public-read' }, { 'x-amz-object-ownership': 'ObjectWriter' },
      { 'x-amz-bucket-object-lock-enabled': 'true' }]) {
      expect(() => refuseUnsupported(headers(fields))).toThrowError(refused('NotImplemented'))
    }
    expect(() => refuseUnsupported(headers({ 'x-amz-storage-class': 'GLACIER' }))).toThrowError(refused('InvalidStorageClass'))
  })
})

describe('headers of an answer', () => {
  const version: ObjectVersion = {
    bucketId: 1, key: 'k', seq: 1, versionId: 'null', isLatest: true, isDeleteMarker: false, lastModified: Date.UTC(2026, 0, 2, 3, 4, 5),
      ownerAccountId: '1', size: 3, etag: 'abc',
    metadata: { system: {}, user: {} }, tags: [], checksum: { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'AAAAAA==' }, parts: null,
      manifest: [], storageClass: 'STANDARD',
  }

  it('of a plain object', () => {
    expect(objectHeaders(version, { checksumMode: false })).toEqual({
      'etag': '"abc"', 'last-modified': 'Fri, 02 Jan 2026 03:04:05 GMT', 'accept-ranges': 'bytes', 'content-type': 'binary/octet-stream',
    })
  })

  it('of one with everything', () => {
    const full = {
      ...version, tags: [{ key: 'a', value: '' }],
      metadata: { system: { 'content-type': 'text/plain', 'content-disposition': 'attachment; filename=é' }, user: { a: 'é', b: 'x' } },
    }
    expect(objectHeaders(full, { checksumMode: true, versioning: 'suspended' })).toMatchObject({
      'content-type': 'text/plain', 'content-disposition': bytes('attachment; filename=é'), 'x-amz-meta-a': '=?UTF-8?B?w6k=?=', 'x-amz-meta-b': 'x',
        'x-amz-tagging-count': '1',
      'x-amz-checksum-crc32': 'AAAAAA==', 'x-amz-checksum-type': 'FULL_OBJECT', 'x-amz-version-id': 'null',
    })
  })

  it('version ids and checksums are shown where they mean something', () => {
    expect(versionHeaders(version, 'off')).toEqual({})
    expect(versionHeaders(version, 'enabled')).toEqual({ 'x-amz-version-id': 'null' })
    expect(checksumElements(version.checksum).map((one) => one.xml)).toEqual(['<ChecksumCRC32>AAAAAA==</ChecksumCRC32>',
      '<ChecksumType>FULL_OBJECT</ChecksumType>'])
    expect(checksumElements(version.checksum, { typed: false })).toHaveLength(1)
    expect(checksumElements(null)).toEqual([])
  })
})
