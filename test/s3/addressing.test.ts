import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rawSocket, signedRequest, signRequest, sendRequest, xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer, startServer, type TestServer } from '../support/server.ts'

const domain = 's3.holdfast.test'
const publicHost = 'store.example.test:8443'
let server: TestServer
let bucket: string

beforeAll(async () => {
  server = await startServer({ env: { HOLDFAST_DOMAIN: domain, HOLDFAST_PUBLIC_URL: `https://${publicHost}` } })
  bucket = await newBucket(s3Client(server))
})
afterAll(() => server.remove())

describe('virtual-host style', () => {
  test.each([
    ['the domain', (name: string) => `${name}.${domain}`],
    ['the domain with a port', (name: string) => `${name}.${domain}:9000`],
    ['the domain in capitals', (name: string) => `${name}.${domain.toUpperCase()}`],
  ])('a bucket in front of %s is the bucket, and the whole path is the key', async (_what, hostOf) => {
    const host = hostOf(bucket)
    const put = await signedRequest({ server, host, method: 'PUT', path: '/folder/key', body: 'hello' })
    expect(outcome(put)).toBe('200')
    expect((await signedRequest({ server, host, path: '/folder/key' })).text).toBe('hello')
    expect((await signedRequest({ server, path: `/${bucket}/folder/key` })).text).toBe('hello')
    expect(xmlTexts((await signedRequest({ server, host, path: '/?list-type=2' })).text, 'Key')).toEqual(['folder/key'])
    expect((await signedRequest({ server, host, method: 'DELETE', path: '/folder/key' })).status).toBe(204)
  })

  test('a key that begins with the bucket\'s name or a slash is no path style', async () => {
    const host = `${bucket}.${domain}`
    for (const path of [`/${bucket}/key`, '//key', '/../key', '/.']) {
      await signedRequest({ server, host, method: 'PUT', path, body: path })
      expect((await signedRequest({ server, path: `/${bucket}${path}` })).text).toBe(path)
    }
  })

  test('buckets are made, looked at and deleted by their host; names may have dots', async () => {
    const name = `${bucketName()}.with.dots`
    const host = `${name}.${domain}`
    expect((await signedRequest({ server, host, method: 'PUT', path: '/' })).status).toBe(200)
    expect((await signedRequest({ server, host, method: 'HEAD', path: '/' })).status).toBe(200)
    expect((await signedRequest({ server, path: '/' })).text).toContain(`<Name>${name}</Name>`)
    expect((await signedRequest({ server, host, method: 'DELETE', path: '/' })).status).toBe(204)
    expect(outcome(await signedRequest({ server, host, path: '/' }))).toBe('404 NoSuchBucket')
  })

  test('presigned URLs work by the host', async () => {
    const host = `${bucket}.${domain}`
    expect((await signedRequest({ server, host, sign: 'presigned', method: 'PUT', path: '/presigned', body: 'x' })).status).toBe(200)
    expect((await signedRequest({ server, host, sign: 'presigned', path: '/presigned' })).text).toBe('x')
  })

  test('the domain itself is path style', async () => {
    const list = await signedRequest({ server, host: domain, path: '/' })
    expect(list.text).toContain('<ListAllMyBucketsResult')
    await signedRequest({ server, method: 'PUT', path: `/${bucket}/by-domain`, body: 'x' })
    expect((await signedRequest({ server, host: domain, path: `/${bucket}/by-domain` })).text).toBe('x')
  })

  test('a request that was signed for one bucket does not pass for another', async () => {
    const { path, headers } = signRequest({ server, host: `${bucket}.${domain}`, path: '/key' })
    const answer = await sendRequest({ server, method: 'GET', path, headers: { ...headers, host: `other.${domain}` } })
    expect(outcome(answer)).toBe('403 SignatureDoesNotMatch')
  })

  test('a host that is no bucket name answers 400 InvalidBucketName', async () => {
    expect(outcome(await signedRequest({ server, host: `UP_CASE.${domain}`, path: '/key' }))).toBe('400 InvalidBucketName')
  })
})

describe('behind a proxy with HOLDFAST_PUBLIC_URL', () => {
  test.each(['header', 'presigned'] as const)('a request signed in the %s for the public host passes with the Host that the proxy sends', async (sign) => {
    const wireHost = new URL(server.url).host
    const put = await signedRequest({ server, sign, host: publicHost, wireHost, method: 'PUT', path: `/${bucket}/proxied`, body: 'x' })
    expect(outcome(put)).toBe('200')
    expect((await signedRequest({ server, sign, host: publicHost, wireHost, path: `/${bucket}/proxied` })).text).toBe('x')
  })

  test('with the public Host left as it was it passes too', async () => {
    expect((await signedRequest({ server, host: publicHost, path: `/${bucket}?list-type=2` })).status).toBe(200)
  })

  test('a request signed for a third host does not pass', async () => {
    const wireHost = new URL(server.url).host
    expect(outcome(await signedRequest({ server, host: 'evil.example.test', wireHost, path: `/${bucket}?list-type=2` }))).toBe('403 SignatureDoesNotMatch')
  })

  test('a Location names the public URL', async () => {
    const created = await signedRequest({ server, method: 'POST', path: `/${bucket}/multi?uploads` })
    const uploadId = xmlText(created.text, 'UploadId') ?? ''
    const part = await signedRequest({ server, method: 'PUT', path: `/${bucket}/multi?partNumber=1&uploadId=${uploadId}`, body: 'part' })
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers['etag']}</ETag></Part></CompleteMultipartUpload>`
    const completed = await signedRequest({ server, method: 'POST', path: `/${bucket}/multi?uploadId=${uploadId}`, body })
    expect(xmlText(completed.text, 'Location')).toBe(`https://${publicHost}/${bucket}/multi`)
  })
})

describe('without a domain', () => {
  const plain = sharedServer()

  test('the path names the bucket whatever the Host says', async () => {
    const name = await newBucket(s3Client(plain))
    await signedRequest({ server: plain, method: 'PUT', path: `/${name}/k`, body: 'x' })
    for (const host of ['localhost:9000', 'anything.example.test', `${name}.s3.amazonaws.com`]) {
      expect((await signedRequest({ server: plain, host, path: `/${name}/k` })).text).toBe('x')
    }
  })

  test('a trailing slash behind the bucket is the bucket', async () => {
    const name = await newBucket(s3Client(plain))
    expect((await signedRequest({ server: plain, path: `/${name}/?list-type=2` })).text).toContain('<ListBucketResult')
    expect((await signedRequest({ server: plain, method: 'HEAD', path: `/${name}/` })).status).toBe(200)
  })

  test('the absolute form of a request target is read as its path', async () => {
    const name = await newBucket(s3Client(plain))
    await signedRequest({ server: plain, method: 'PUT', path: `/${name}/k`, body: 'absolute' })
    const { headers } = signRequest({ server: plain, path: `/${name}/k` })
    const lines = Object.entries(headers).map(([key, value]) => `${key}: ${value}\r\n`).join('')
    const { text } = await rawSocket(plain, `GET ${plain.url}/${name}/k HTTP/1.1\r\n${lines}connection: close\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(text.endsWith('absolute')).toBe(true)
  })
})
