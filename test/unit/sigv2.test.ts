import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createAuth } from '../../src/auth/auth.ts'
import { accessKey, exampleKeyId, s3Request } from './fixtures/auth-request.ts'
import type { Target } from '../../src/protocol/request.ts'

/** Requests that botocore signed: another implementation of signature version 2. */
interface Vectors {
  readonly signedAt: number
  readonly expiresSeconds: number
  readonly cases: readonly {
    readonly form: 'header' | 'query'
    readonly method: string
    readonly url: string
    readonly bucket: string | null
    readonly virtualHost: boolean
    readonly headers: [string, string][]
  }[]
}
type Case = Vectors['cases'][number]

const vectors: Vectors = JSON.parse(readFileSync(new URL('./fixtures/sigv2-vectors.json', import.meta.url), 'utf8'))

function authAt(now: number, signatureV2: 'on' | 'off' = 'on') {
  return createAuth({
    region: 'us-east-1',
    signatureV2,
    publicHost: null,
    now: () => now,
    accessKey: async (id) => (id === exampleKeyId ? accessKey() : null),
  })
}
const auth = authAt(vectors.signedAt)

function targetOf(bucket: string | null, url: string, virtualHost: boolean): Target {
  if (bucket === null) return { scope: 'service' }
  const [path = ''] = url.split('?')
  const key = decodeURIComponent(virtualHost ? path.slice(1) : path.slice(bucket.length + 2))
  return key === '' ? { scope: 'bucket', bucket } : { scope: 'object', bucket, key }
}

function requestOf(one: Case, changed: Partial<Pick<Case, 'method' | 'url' | 'headers'>> = {}) {
  const { method, url, headers } = { ...one, ...changed }
  return s3Request(method, url, headers, targetOf(one.bucket, url, one.virtualHost))
}

const withHeader = (one: Case, wanted: string, value: string) =>
  requestOf(one, { headers: one.headers.map(([name, given]) => [name, name === wanted ? value : given]) })

for (const one of vectors.cases) {
  const presigned = one.form === 'query'
  const style = one.virtualHost ? 'virtual host' : 'path'
  test(`${one.method} ${one.url.replace(/[&?]AWSAccessKeyId.*/, '')} (${one.form}, ${style} style) is accepted and covers the method`, async () => {
    await expect(auth.authenticate(requestOf(one))).resolves.toMatchObject({ signatureVersion: 2, presigned, payload: { kind: 'unsigned' } })
    await expect(auth.authenticate(requestOf(one, { method: 'PATCH' }))).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' })
  })
}

const find = (form: Case['form'], pattern: RegExp): Case => {
  const one = vectors.cases.find((candidate) => candidate.form === form && pattern.test(candidate.url))
  if (one === undefined) throw new Error(String(pattern))
  return one
}
const header = find('header', /^\/bucket\/key$/)
const query = find('query', /^\/bucket\/key\?versionId/)
const code = (expected: string, more: Record<string, unknown> = {}) => expect.objectContaining({ code: expected, ...more })

describe('everything that is obeyed is signed', () => {
  test('an x-amz header that was added, changed or hoisted into the query', async () => {
    for (const one of [header, query]) {
      const headers: Case['headers'] = [...one.headers, ['x-amz-acl', 'public-read']]
      await expect(auth.authenticate(requestOf(one, { headers }))).rejects.toEqual(code('SignatureDoesNotMatch'))
    }
    await expect(auth.authenticate(requestOf(query, { url: `${query.url}&x-amz-acl=public-read` }))).rejects.toEqual(code('SignatureDoesNotMatch'))
    await expect(auth.authenticate(requestOf(query, { url: `${query.url}&X-AMZ-ACL=public-read` }))).rejects.toEqual(code('SignatureDoesNotMatch'))
    await expect(auth.authenticate(withHeader(header, 'x-amz-meta-a', 'other'))).rejects.toEqual(code('SignatureDoesNotMatch'))
  })

  test('a header that was signed and left out in the query form stays signed by its parameter', async () => {
    const one = find('query', /x-amz-storage-class/)
    const headers = one.headers.filter(([name]) => !name.startsWith('x-amz-'))
    await expect(auth.authenticate(requestOf(one, { headers }))).resolves.toMatchObject({ presigned: true })
    const other = headers.concat([['x-amz-storage-class', 'GLACIER']])
    await expect(auth.authenticate(requestOf(one, { headers: other }))).rejects.toEqual(code('SignatureDoesNotMatch'))
  })

  test('a parameter that makes another operation or other headers of it', async () => {
    for (const parameter of ['acl', 'attributes', 'tagging', 'legal-hold', 'response-content-type=text%2Fhtml', 'versionId=2']) {
      await expect(auth.authenticate(requestOf(query, { url: `${query.url}&${parameter}` }))).rejects.toEqual(code('SignatureDoesNotMatch'))
    }
  })

  test('another key, and the content type', async () => {
    await expect(auth.authenticate(requestOf(query, { url: query.url.replace('key', 'kez') }))).rejects.toEqual(code('SignatureDoesNotMatch'))
    await expect(auth.authenticate(withHeader(header, 'Content-Type', 'text/html'))).rejects.toEqual(code('SignatureDoesNotMatch'))
  })
})

test('spaces inside a value are signed as they are: only version 4 folds them', async () => {
  const date = new Date(vectors.signedAt).toUTCString()
  const signed = (value: string): string => createHmac('sha1', accessKey().secretAccessKey).update(`PUT\n\n${value}\n${date}\nx-amz-meta-a:${value}\n/bucket/key`).digest('base64')
  const request = (sent: string, value: string) => s3Request('PUT', '/bucket/key', [['Date', date], ['Content-Type', sent], ['x-amz-meta-a', sent], ['Authorization', `AWS ${exampleKeyId}:${signed(value)}`]], targetOf('bucket', '/bucket/key', false))
  await expect(auth.authenticate(request('one  two   three', 'one  two   three'))).resolves.toMatchObject({ signatureVersion: 2 })
  await expect(auth.authenticate(request('one  two   three', 'one two three'))).rejects.toEqual(code('SignatureDoesNotMatch'))
})

describe('time', () => {
  test('a header is good for 15 minutes', async () => {
    await expect(authAt(vectors.signedAt + 14 * 60_000).authenticate(requestOf(header))).resolves.toBeDefined()
    for (const minutes of [-16, 16]) {
      await expect(authAt(vectors.signedAt + minutes * 60_000).authenticate(requestOf(header))).rejects.toEqual(code('RequestTimeTooSkewed'))
    }
  })

  test('a URL until Expires', async () => {
    const last = vectors.signedAt + vectors.expiresSeconds * 1000
    await expect(authAt(last).authenticate(requestOf(query))).resolves.toBeDefined()
    await expect(authAt(last + 1000).authenticate(requestOf(query))).rejects.toEqual(code('AccessDenied', { message: 'Request has expired' }))
    const endless = query.url.replace(/Expires=\d+/, 'Expires=abc')
    await expect(auth.authenticate(requestOf(query, { url: endless }))).rejects.toEqual(code('AccessDenied'))
  })

  test('a header without any date is refused', async () => {
    const headers = header.headers.filter(([name]) => name !== 'Date')
    await expect(auth.authenticate(requestOf(header, { headers }))).rejects.toEqual(code('AccessDenied'))
  })
})

test('missing and doubled parameters are refused', async () => {
  for (const name of ['AWSAccessKeyId', 'Signature', 'Expires']) {
    const less = query.url.replace(new RegExp(`&${name}=[^&]*`), '')
    await expect(auth.authenticate(requestOf(query, { url: less }))).rejects.toEqual(code('AccessDenied'))
    await expect(auth.authenticate(requestOf(query, { url: `${query.url}&${name}=1` }))).rejects.toEqual(code('InvalidArgument'))
  }
})

test('malformed headers are refused', async () => {
  for (const value of ['AWS', 'AWS ', 'AWS key', 'AWS key:', 'AWS :sig', 'AWS a:b c', 'AWS a:b,AWS a:b']) {
    await expect(auth.authenticate(withHeader(header, 'Authorization', value)), value).rejects.toEqual(code('InvalidArgument'))
  }
})

test('a parameter without a value may be signed with its equals sign or without, however it stands on the wire', async () => {
  const date = new Date(vectors.signedAt).toUTCString()
  const signed = (url: string, resource: string) => s3Request('GET', url, [
    ['Host', 'localhost'], ['Date', date],
    ['Authorization', `AWS ${exampleKeyId}:${createHmac('sha1', accessKey().secretAccessKey).update(`GET\n\n\n${date}\n${resource}`).digest('base64')}`],
  ], { scope: 'object', bucket: 'bucket', key: 'key' })
  for (const url of ['/bucket/key?tagging', '/bucket/key?tagging=']) {
    for (const resource of ['/bucket/key?tagging', '/bucket/key?tagging=']) await expect(auth.authenticate(signed(url, resource))).resolves.toMatchObject({ signatureVersion: 2 })
    await expect(auth.authenticate(signed(url, '/bucket/key'))).rejects.toEqual(code('SignatureDoesNotMatch'))
  }
})

test('a wrong signature tells what was to be signed', async () => {
  const wrong = withHeader(header, 'Authorization', `AWS ${exampleKeyId}:AAAAAAAAAAAAAAAAAAAAAAAAAAA=`)
  await expect(auth.authenticate(wrong)).rejects.toMatchObject({
    code: 'SignatureDoesNotMatch',
    fields: {
      AWSAccessKeyId: exampleKeyId,
      SignatureProvided: 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=',
      StringToSign: 'PUT\n1B2M2Y8AsgTpgAmY7PhCfg==\ntext/plain\nFri, 02 Jan 2026 03:00:00 GMT\n'
        + 'x-amz-meta-a:one\nx-amz-meta-b:two\nx-amz-storage-class:STANDARD\n/bucket/key',
    },
  })
})

test('an unknown key is refused', async () => {
  const url = query.url.replace(exampleKeyId, 'AKIAOTHER')
  await expect(auth.authenticate(requestOf(query, { url }))).rejects.toEqual(code('InvalidAccessKeyId', { fields: { AWSAccessKeyId: 'AKIAOTHER' } }))
})

test('both forms are refused when version 2 is off', async () => {
  for (const one of [header, query]) {
    await expect(authAt(vectors.signedAt, 'off').authenticate(requestOf(one))).rejects.toEqual(code('InvalidRequest'))
  }
})
