import { createHmac } from 'node:crypto'
import { GetObjectCommand, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { beforeAll, describe, expect, test } from 'vitest'
import { createUpload } from '../support/multipart.ts'
import { sendRequest, xmlText, xmlTexts, type RawResponse } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'
import { presign, timestamp } from '../support/signing.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
  await send('PUT', 'k', { body: 'shared bytes' })
})

type Presigning = Partial<Parameters<typeof presign>[0]>

/** Presigns and sends; `more` headers are sent beside what was signed. */
function use(signing: Presigning & { body?: string } = {}, more: Readonly<Record<string, string>> = {}): Promise<RawResponse> {
  const { path, headers } = presign({ server, path: `/${bucket}/k`, expires: '60', ...signing })
  const body = signing.body === undefined ? undefined : Buffer.from(signing.body)
  return sendRequest({ server, method: signing.method ?? 'GET', path, headers: { ...headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }), ...more }, body })
}

describe('any method', () => {
  test('GET, HEAD, PUT, DELETE and a list', async () => {
    expect((await use()).text).toBe('shared bytes')
    expect((await use({ method: 'HEAD' })).headers['content-length']).toBe('12')
    expect((await use({ method: 'PUT', path: `/${bucket}/put`, body: 'by url' })).status).toBe(200)
    expect((await send('GET', 'put')).text).toBe('by url')
    expect(xmlTexts((await use({ path: `/${bucket}`, query: { 'list-type': '2', prefix: 'p' } })).text, 'Key')).toEqual(['put'])
    expect((await use({ method: 'DELETE', path: `/${bucket}/put` })).status).toBe(204)
    expect(outcome(await send('GET', 'put'))).toBe('404 NoSuchKey')
  })

  test('the URLs of the SDK work with a bare client', async () => {
    expect(await (await fetch(await getSignedUrl(client, new GetObjectCommand({ Bucket: bucket, Key: 'k' })))).text()).toBe('shared bytes')
    const url = await getSignedUrl(client, new PutObjectCommand({ Bucket: bucket, Key: 'sdk', ContentType: 'text/x-sdk', Metadata: { a: '1' } }))
    expect((await fetch(url, { method: 'PUT', body: 'sdk body', headers: { 'content-type': 'text/x-sdk' } })).status).toBe(200)
    expect((await send('GET', 'sdk')).text).toBe('sdk body')
    const UploadId = await createUpload(send, 'parts')
    const part = await getSignedUrl(client, new UploadPartCommand({ Bucket: bucket, Key: 'parts', UploadId, PartNumber: 1 }))
    expect((await fetch(part, { method: 'PUT', body: 'part' })).headers.get('etag')).toMatch(/^"[0-9a-f]{32}"$/)
  })

  test('a URL is for its method, path and query alone', async () => {
    const { path, headers } = presign({ server, path: `/${bucket}/k`, expires: '60' })
    for (const [method, target] of [['PUT', path], ['DELETE', path], ['GET', path.replace('/k?', '/k2?')], ['GET', `${path}&versionId=null`], ['GET', `${path}&acl`], ['GET', path.replace('Expires=60', 'Expires=600')]] as const) {
      expect(outcome(await sendRequest({ server, method, path: target, headers })), target).toBe('403 SignatureDoesNotMatch')
    }
    expect((await send('GET', 'k')).text).toBe('shared bytes')
  })
})

describe('time', () => {
  test.each([
    ['one second behind its expiry', { time: timestamp(-61), expires: '60' }], ['signed a week and a second ago', { time: timestamp(-604_801), expires: '604800' }], ['good for no time', { time: timestamp(-1), expires: '0' }],
  ])('%s: 403 AccessDenied, "Request has expired"', async (_what, signing) => {
    const answer = await use(signing)
    expect(outcome(answer)).toBe('403 AccessDenied')
    expect(xmlText(answer.text, 'Message')).toBe('Request has expired')
    expect(xmlText(answer.text, 'Expires')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  })

  test('dated 20 minutes ahead: 403 AccessDenied; 10 minutes pass, as clocks differ', async () => {
    const early = await use({ time: timestamp(20 * 60) })
    expect(outcome(early)).toBe('403 AccessDenied')
    expect(xmlText(early.text, 'Message')).toContain('not valid yet')
    expect((await use({ time: timestamp(10 * 60) })).status).toBe(200)
  })

  test('a week is the longest', async () => {
    expect((await use({ expires: '604800' })).status).toBe(200)
  })

  test.each(['604801', '-1', 'abc', '', '1e3', '60.5', '99999999999999999999', undefined])('X-Amz-Expires=%s: 400 AuthorizationQueryParametersError', async (expires) => {
    expect(outcome(await use({ expires }))).toBe('400 AuthorizationQueryParametersError')
  })
})

describe('parameters', () => {
  test.each([['region', 'eu-west-1'], ['service', 'ec2'], ['date', '20200101'], ['terminator', 'x']])('a scope with another %s: 400 AuthorizationQueryParametersError', async (piece, value) => {
    expect(outcome(await use({ scope: { [piece]: value } }))).toBe('400 AuthorizationQueryParametersError')
  })

  test.each(['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-SignedHeaders', 'X-Amz-Signature'])('without %s: 400 AuthorizationQueryParametersError', async (name) => {
    const { path, headers } = presign({ server, path: `/${bucket}/k`, expires: '60' })
    const without = path.replace(new RegExp(`[?&]${name}=[^&]*`), (found) => (found.startsWith('?') ? '?x=y' : ''))
    expect(outcome(await sendRequest({ server, method: 'GET', path: without, headers }))).toBe('400 AuthorizationQueryParametersError')
  })

  test('a parameter that stands twice is refused, so that no two readers see different ones', async () => {
    const { path, headers } = presign({ server, path: `/${bucket}/k`, expires: '60' })
    for (const extra of ['X-Amz-Expires=600000', 'X-Amz-Signature=00', 'X-Amz-Date=20300101T000000Z', 'X-Amz-SignedHeaders=host']) {
      expect(outcome(await sendRequest({ server, method: 'GET', path: `${path}&${extra}`, headers }))).toBe('400 AuthorizationQueryParametersError')
    }
  })

  test('wrong secret, unknown key, another algorithm, a date that is none', async () => {
    expect(outcome(await use({ secretAccessKey: 'wrong' }))).toBe('403 SignatureDoesNotMatch')
    expect(outcome(await use({ accessKeyId: 'NOBODY' }))).toBe('403 InvalidAccessKeyId')
    const { path, headers } = presign({ server, path: `/${bucket}/k`, expires: '60' })
    expect(outcome(await sendRequest({ server, method: 'GET', path: path.replace('AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA1'), headers }))).toBe('400 AuthorizationQueryParametersError')
    expect(outcome(await sendRequest({ server, method: 'GET', path: path.replace(/X-Amz-Date=[^&]*/, 'X-Amz-Date=yesterday'), headers }))).toBe('400 AuthorizationQueryParametersError')
  })
})

describe('headers', () => {
  test.each(['x-amz-copy-source', 'x-amz-tagging', 'x-amz-acl', 'x-amz-meta-a', 'x-amz-website-redirect-location', 'x-amz-storage-class', 'x-amz-content-sha256'])('a PUT with %s that the URL does not sign: 403 AccessDenied, nothing stored', async (name) => {
    const value = name === 'x-amz-copy-source' ? `${bucket}/k` : name === 'x-amz-content-sha256' ? 'UNSIGNED-PAYLOAD' : 'private'
    const answer = await use({ method: 'PUT', path: `/${bucket}/smuggled`, body: 'x' }, { [name]: value })
    expect(outcome(answer)).toBe('403 AccessDenied')
    expect(answer.text).toContain(name)
    expect(outcome(await send('GET', 'smuggled'))).toBe('404 NoSuchKey')
  })

  test('a header that the URL signs must be sent as it was signed', async () => {
    const signing = { method: 'PUT', path: `/${bucket}/typed`, headers: { 'content-type': 'text/plain', 'x-amz-meta-a': '1' }, body: 'x' }
    expect((await use(signing)).status).toBe(200)
    expect((await send('HEAD', 'typed')).headers).toMatchObject({ 'content-type': 'text/plain', 'x-amz-meta-a': '1' })
    expect(outcome(await use(signing, { 'content-type': 'text/html' }))).toBe('403 SignatureDoesNotMatch')
    expect(outcome(await use(signing, { 'x-amz-meta-a': '2' }))).toBe('403 SignatureDoesNotMatch')
  })

  test('x-amz-* parameters that the signature covers are obeyed like headers, or refused like them', async () => {
    expect((await use({ method: 'PUT', path: `/${bucket}/hoisted`, query: { 'x-amz-meta-a': 'from the query', 'x-amz-tagging': 'a=1' }, body: 'x' })).status).toBe(200)
    expect((await send('HEAD', 'hoisted')).headers).toMatchObject({ 'x-amz-meta-a': 'from the query', 'x-amz-tagging-count': '1' })
    expect(outcome(await use({ method: 'PUT', path: `/${bucket}/public`, query: { 'x-amz-acl': 'public-read' }, body: 'x' }))).toBe('501 NotImplemented')
    expect(outcome(await use({ query: { 'x-amz-expected-bucket-owner': '999988887777' } }))).toBe('403 AccessDenied')
    expect((await use({ method: 'PUT', path: `/${bucket}/copied`, query: { 'x-amz-copy-source': `/${bucket}/k` } })).status).toBe(200)
    expect((await send('GET', 'copied')).text).toBe('shared bytes')
  })

  test('response overrides of a signed URL are answered', async () => {
    const answer = await use({ query: { 'response-content-type': 'text/x-other', 'response-content-disposition': 'attachment; filename="ä.txt"', 'response-cache-control': 'no-store' } })
    expect(answer.headers).toMatchObject({ 'content-type': 'text/x-other', 'cache-control': 'no-store' })
    expect(answer.headers['content-disposition']).toContain('attachment')
  })

  test('response overrides with a line break never split the answer', async () => {
    const answer = await use({ query: { 'response-content-type': 'text/plain\r\nx-injected: 1' } })
    expect(answer.headers).not.toHaveProperty('x-injected')
    expect([200, 400]).toContain(answer.status)
  })
})

describe('signature version 2', () => {
  function useV2({ method = 'GET', resource = `/${bucket}/k`, expires = Math.floor(Date.now() / 1000) + 60, secret = server.secretAccessKey, extra = '' } = {}): Promise<RawResponse> {
    const signature = createHmac('sha1', secret).update(`${method}\n\n\n${expires}\n${resource}`).digest('base64')
    const path = `${resource}${resource.includes('?') ? '&' : '?'}AWSAccessKeyId=${server.accessKeyId}&Expires=${expires}&Signature=${encodeURIComponent(signature)}${extra}`
    return sendRequest({ server, method, path, headers: { host: new URL(server.url).host } })
  }

  test('a good URL works, with sub-resources and overrides that it signs', async () => {
    expect((await useV2()).text).toBe('shared bytes')
    expect((await useV2({ resource: `/${bucket}/k?tagging` })).text).toContain('<TagSet>')
    expect((await useV2({ resource: `/${bucket}/k?response-content-type=text/x-v2` })).headers['content-type']).toBe('text/x-v2')
  })

  test('expired, wrong, or with something added: 403', async () => {
    expect(outcome(await useV2({ expires: Math.floor(Date.now() / 1000) - 1 }))).toBe('403 AccessDenied')
    expect(outcome(await useV2({ secret: 'wrong' }))).toBe('403 SignatureDoesNotMatch')
    for (const extra of ['&acl', '&versionId=null', '&response-content-type=text/html', '&uploadId=x', '&x-amz-acl=public-read']) expect(outcome(await useV2({ extra })), extra).toBe('403 SignatureDoesNotMatch')
    expect((await useV2({ extra: '&Expires=9999999999' })).status).toBeGreaterThanOrEqual(400)
  })
})
