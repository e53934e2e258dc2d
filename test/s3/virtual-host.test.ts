import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, putParts } from '../support/multipart.ts'
import { signedRequest, xmlText, xmlTexts, type RawRequest, type RawResponse } from '../support/raw.ts'
import { bucketName, bucketSender, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'

describe('HOLDFAST_DOMAIN', () => {
  let server: TestServer
  const bucket = `v.${bucketName()}`
  const hosted = (method: string, path: string, more: Partial<RawRequest> = {}): Promise<RawResponse> => signedRequest({ server, method, path, host: `${bucket}.s3.test:${server.port}`, ...more })

  beforeAll(async () => {
    server = await startServer({ env: { HOLDFAST_DOMAIN: 's3.test' } })
    expect((await hosted('PUT', '/')).status).toBe(200)
  })
  afterAll(() => server.remove())

  test('the bucket comes from the host, the whole path is the key', async () => {
    expect((await hosted('PUT', '/dir/k%20%C3%A9', { body: 'hosted' })).status).toBe(200)
    expect((await hosted('GET', '/dir/k%20%C3%A9')).text).toBe('hosted')
    expect((await signedRequest({ server, path: `/${bucket}/dir/k%20%C3%A9` })).text).toBe('hosted')
    expect(xmlTexts((await hosted('GET', '/?list-type=2')).text, 'Key')).toEqual(['dir/k é'])
    expect((await hosted('HEAD', '/')).status).toBe(200)
  })

  test('keys that begin with a slash or look like the bucket are keys', async () => {
    for (const path of ['//k', `/${bucket}/k`, '/..', '/./a']) {
      expect((await hosted('PUT', path, { body: path })).status).toBe(200)
      expect((await hosted('GET', path)).text).toBe(path)
    }
    expect(xmlTexts((await hosted('GET', '/?list-type=2&prefix=%2F')).text, 'Key')).toEqual(['/k'])
  })

  test('host names have no case and may end in a dot or have another port', async () => {
    await hosted('PUT', '/case', { body: 'x' })
    for (const host of [`${bucket.toUpperCase()}.S3.TEST:${server.port}`, `${bucket}.s3.test`, `${bucket}.s3.test.`]) expect((await hosted('GET', '/case', { host })).text, host).toBe('x')
  })

  test('the domain itself, and hosts that are not below it, are path style', async () => {
    await hosted('PUT', '/style', { body: 'x' })
    for (const host of [`s3.test:${server.port}`, `127.0.0.1:${server.port}`, 'other.example', `${bucket}.s3.test.example`, `${bucket}xs3.test`]) {
      expect((await hosted('GET', `/${bucket}/style`, { host })).text, host).toBe('x')
    }
  })

  test('a bucket that is not there, and a name that cannot be one, are refused', async () => {
    expect(outcome(await hosted('GET', '/k', { host: `missing-${bucketName()}.s3.test` }))).toBe('404 NoSuchBucket')
    expect(outcome(await hosted('GET', '/k', { host: 'a_b.s3.test' }))).toMatch(/^400 (InvalidBucketName|BadRequest)$/)
  })

  test('presigned URLs work in this style, and a host changed behind the signature does not', async () => {
    await hosted('PUT', '/signed', { body: 'x' })
    expect((await hosted('GET', '/signed', { sign: 'presigned' })).text).toBe('x')
    expect(outcome(await hosted('GET', '/signed', { wireHost: `other.s3.test:${server.port}` }))).toBe('403 SignatureDoesNotMatch')
  })

  test('the Location of a completed upload is in the style of the request', async () => {
    const send: ReturnType<typeof bucketSender> = (method, target, options = {}) => hosted(method, `/${target}`, options)
    const uploadId = await createUpload(send, 'parts')
    const answer = await complete(send, 'parts', uploadId, await putParts(send, 'parts', uploadId, [[1, 'x']]))
    expect(xmlText(answer.text, 'Location')).toBe(`http://${bucket}.s3.test:${server.port}/parts`)
  })
})

describe('HOLDFAST_PUBLIC_URL', () => {
  let server: TestServer
  const bucket = bucketName()
  beforeAll(async () => {
    server = await startServer({ env: { HOLDFAST_PUBLIC_URL: 'https://files.example.com' } })
    expect((await signedRequest({ server, method: 'PUT', path: `/${bucket}` })).status).toBe(200)
  })
  afterAll(() => server.remove())

  test('a signature for the public host passes behind a proxy that changed the Host header', async () => {
    const proxied = { server, host: 'files.example.com', wireHost: `127.0.0.1:${server.port}` }
    expect((await signedRequest({ ...proxied, method: 'PUT', path: `/${bucket}/k`, body: 'x' })).status).toBe(200)
    expect((await signedRequest({ ...proxied, path: `/${bucket}/k` })).text).toBe('x')
    expect((await signedRequest({ ...proxied, path: `/${bucket}/k`, sign: 'presigned' })).text).toBe('x')
    expect((await signedRequest({ server, path: `/${bucket}/k` })).text).toBe('x')
  })

  test('a signature for any other host does not', async () => {
    expect(outcome(await signedRequest({ server, host: 'evil.example.com', wireHost: `127.0.0.1:${server.port}`, path: `/${bucket}/k` }))).toBe('403 SignatureDoesNotMatch')
  })

  test('Location elements are on the public URL', async () => {
    const send = bucketSender(server, bucket)
    const uploadId = await createUpload(send, 'a%20b')
    const answer = await complete(send, 'a%20b', uploadId, await putParts(send, 'a%20b', uploadId, [[1, 'x']]))
    expect(xmlText(answer.text, 'Location')).toBe(`https://files.example.com/${bucket}/a%20b`)
  })
})
