import { randomBytes } from 'node:crypto'
import { CopyObjectCommand, GetObjectCommand } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { signedRequest, xmlText, type RawResponse } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let other: string
let versioned: string
let send: ReturnType<typeof bucketSender>
let etag: string

beforeAll(async () => {
  [bucket, other, versioned] = await Promise.all([newBucket(client), newBucket(client), newBucket(client, 'Enabled')])
  send = bucketSender(server, bucket)
  const put = await send('PUT', 'source', {
    body: 'hello',
    headers: {
      'content-type': 'text/plain', 'cache-control': 'max-age=9', 'content-language': 'de', 'expires': 'never', 'content-disposition': 'inline', 'content-encoding': 'x-own',
      'x-amz-meta-color': 'red', 'x-amz-tagging': 'k=v', 'x-amz-website-redirect-location': '/elsewhere',
    },
  })
  etag = put.headers['etag'] ?? ''
})

function copy(target: string, headers: Record<string, string> = {}, from = `${bucket}/source`): Promise<RawResponse> {
  return send('PUT', target, { headers: { 'x-amz-copy-source': from, ...headers } })
}

test('answers ETag, time and checksum in XML, and the copy has bytes, metadata and tags of the source', async () => {
  const answer = await copy('plain')
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('application/xml')
  expect(answer.text).toContain('<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
  expect(xmlText(answer.text, 'ETag')).toBe(etag)
  expect(xmlText(answer.text, 'LastModified')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/)
  expect(xmlText(answer.text, 'ChecksumCRC64NVME')).toBeDefined()
  expect(xmlText(answer.text, 'ChecksumType')).toBe('FULL_OBJECT')
  const got = await send('GET', 'plain')
  expect(got.text).toBe('hello')
  expect(got.headers).toMatchObject({
    'content-type': 'text/plain', 'cache-control': 'max-age=9', 'content-language': 'de', 'expires': 'never', 'content-disposition': 'inline', 'content-encoding': 'x-own',
    'x-amz-meta-color': 'red', 'x-amz-tagging-count': '1', 'etag': etag,
  })
})

test('the website redirect is not copied, but taken from the request', async () => {
  await copy('no-redirect')
  expect((await send('HEAD', 'no-redirect')).headers).not.toHaveProperty('x-amz-website-redirect-location')
  await copy('redirect', { 'x-amz-website-redirect-location': '/new' })
  expect((await send('HEAD', 'redirect')).headers).toMatchObject({ 'x-amz-website-redirect-location': '/new', 'x-amz-meta-color': 'red' })
})

test('large objects and empty ones are copied too, also into another bucket, and live on when the source goes', async () => {
  const body = randomBytes(2_500_000)
  for (const [key, bytes] of [['big', body], ['empty', Buffer.alloc(0)]] as const) {
    await send('PUT', key, { body: bytes })
    await client.send(new CopyObjectCommand({ Bucket: other, Key: key, CopySource: `${bucket}/${key}` }))
    await send('DELETE', key)
    const got = await client.send(new GetObjectCommand({ Bucket: other, Key: key }))
    expect(Buffer.compare(await got.Body?.transformToByteArray() ?? new Uint8Array(), bytes)).toBe(0)
  }
})

describe('directives', () => {
  test('REPLACE of metadata takes the request\'s and nothing of the source\'s; tags are still copied', async () => {
    await copy('replaced', { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-size': 'xl', 'content-type': 'text/html' })
    const { headers } = await send('HEAD', 'replaced')
    expect(headers).toMatchObject({ 'x-amz-meta-size': 'xl', 'content-type': 'text/html', 'x-amz-tagging-count': '1' })
    for (const name of ['x-amz-meta-color', 'cache-control', 'content-language', 'expires', 'content-disposition', 'content-encoding']) expect(headers).not.toHaveProperty(name)
    await copy('bare', { 'x-amz-metadata-directive': 'REPLACE' })
    expect((await send('HEAD', 'bare')).headers['content-type']).toBe('binary/octet-stream')
  })

  test('COPY of metadata, said or not, ignores the metadata of the request', async () => {
    for (const directive of [{}, { 'x-amz-metadata-directive': 'COPY' }]) {
      await copy('copied', { ...directive, 'x-amz-meta-size': 'xl', 'content-type': 'text/html' } as Record<string, string>)
      const { headers } = await send('HEAD', 'copied')
      expect(headers).toMatchObject({ 'content-type': 'text/plain', 'x-amz-meta-color': 'red' })
      expect(headers).not.toHaveProperty('x-amz-meta-size')
    }
  })

  test('REPLACE of tags takes the request\'s, none when it has none; the metadata is still copied', async () => {
    await copy('tags', { 'x-amz-tagging-directive': 'REPLACE', 'x-amz-tagging': 'a=1&b=2' })
    expect((await send('HEAD', 'tags')).headers).toMatchObject({ 'x-amz-tagging-count': '2', 'x-amz-meta-color': 'red' })
    await copy('tags', { 'x-amz-tagging-directive': 'REPLACE' })
    expect((await send('HEAD', 'tags')).headers).not.toHaveProperty('x-amz-tagging-count')
  })

  test.each(['x-amz-metadata-directive', 'x-amz-tagging-directive'])('an unknown %s answers 400 InvalidArgument', async (name) => {
    expect(outcome(await copy('unknown', { [name]: 'MERGE' }))).toBe('400 InvalidArgument')
    expect(outcome(await send('GET', 'unknown'))).toBe('404 NoSuchKey')
  })
})

describe('onto itself', () => {
  test('without a change it answers 400 InvalidRequest', async () => {
    await copy('self')
    expect(outcome(await copy('self', {}, `${bucket}/self`))).toBe('400 InvalidRequest')
  })

  test('with a storage class it is a change, though it is the same class', async () => {
    await copy('self')
    expect((await copy('self', { 'x-amz-storage-class': 'STANDARD' }, `${bucket}/self`)).status).toBe(200)
    expect((await send('GET', 'self')).headers['x-amz-meta-color']).toBe('red')
  })

  test('with new metadata it changes the metadata and keeps the bytes', async () => {
    await copy('self')
    expect((await copy('self', { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-color': 'blue', 'content-type': 'text/css' }, `${bucket}/self`)).status).toBe(200)
    const got = await send('GET', 'self')
    expect(got.text).toBe('hello')
    expect(got.headers).toMatchObject({ 'x-amz-meta-color': 'blue', 'content-type': 'text/css', 'etag': etag })
  })

  test('over and over, also at once, the bytes stay readable', async () => {
    const body = randomBytes(200_000)
    await send('PUT', 'again', { body })
    for (let round = 0; round < 4; round++) {
      await Promise.all([0, 1, 2].map((i) => copy('again', { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-n': `${i}` }, `${bucket}/again`)))
    }
    expect(Buffer.compare((await send('GET', 'again')).body, body)).toBe(0)
  })
})

describe('the source', () => {
  test.each([
    ['a leading slash', (name: string) => `/${name}/source`],
    ['encoded slashes', (name: string) => `${name}%2Fsource`],
    ['an encoded key', (name: string) => `${name}/%73ource`],
  ])('may have %s', async (_what, from) => {
    expect((await copy('forms', {}, from(bucket))).status).toBe(200)
  })

  test('with spaces, plus signs, percent signs, question marks and emoji is found when encoded', async () => {
    const key = 'a b+c%20d?versionId=1&é😀'
    await send('PUT', encodeURIComponent(key), { body: 'odd' })
    expect((await copy('odd', {}, `${bucket}/${encodeURIComponent(key)}`)).status).toBe(200)
    expect((await send('GET', 'odd')).text).toBe('odd')
  })

  test.each([
    ['a missing key', () => `${bucket}/missing`, '404 NoSuchKey'],
    ['a missing bucket', () => `${bucketName()}/source`, '404 NoSuchBucket'],
    ['no key', () => bucket, '400 InvalidArgument'],
    ['an empty key', () => `${bucket}/`, '400 InvalidArgument'],
    ['nothing', () => '', '400 InvalidArgument'],
    ['a path that climbs', () => `${bucket}/../${other}/k`, '400 InvalidArgument'],
    ['a broken escape', () => `${bucket}/%zz`, '400 InvalidArgument'],
    ['a malformed version id', () => `${bucket}/source?versionId=x`, '400 InvalidArgument'],
    ['an empty version id', () => `${bucket}/source?versionId=`, '400 InvalidArgument'],
  ])('that is %s is refused', async (_what, from, expected) => {
    expect(outcome(await copy('refused', {}, from()))).toBe(expected)
    expect(outcome(await send('GET', 'refused'))).toBe('404 NoSuchKey')
  })

  test('owner and target owner are checked against the expected ones', async () => {
    expect(outcome(await copy('owners', { 'x-amz-source-expected-bucket-owner': '999988887777' }))).toBe('403 AccessDenied')
    expect(outcome(await copy('owners', { 'x-amz-expected-bucket-owner': '999988887777' }))).toBe('403 AccessDenied')
    expect(outcome(await send('GET', 'owners'))).toBe('404 NoSuchKey')
  })

  test('a target bucket that does not exist answers 404 NoSuchBucket', async () => {
    const answer = await signedRequest({ server, method: 'PUT', path: `/${bucketName()}/k`, headers: { 'x-amz-copy-source': `${bucket}/source` } })
    expect(outcome(answer)).toBe('404 NoSuchBucket')
  })
})

describe('conditions on the source', () => {
  const past = 'Sat, 01 Jan 2000 00:00:00 GMT'
  const future = 'Fri, 01 Jan 2100 00:00:00 GMT'
  test.each<[string, () => Record<string, string>, string]>([
    ['if-match that holds', () => ({ 'if-match': etag }), '200'],
    ['if-match that fails', () => ({ 'if-match': '"x"' }), '412 PreconditionFailed'],
    ['if-none-match that holds', () => ({ 'if-none-match': '"x"' }), '200'],
    ['if-none-match that fails', () => ({ 'if-none-match': etag }), '412 PreconditionFailed'],
    ['if-modified-since that holds', () => ({ 'if-modified-since': past }), '200'],
    ['if-modified-since that fails', () => ({ 'if-modified-since': future }), '412 PreconditionFailed'],
    ['if-unmodified-since that holds', () => ({ 'if-unmodified-since': future }), '200'],
    ['if-unmodified-since that fails', () => ({ 'if-unmodified-since': past }), '412 PreconditionFailed'],
    // The two pairs that CopyObject's API reference spells out.
    ['if-match that holds beside if-unmodified-since that fails', () => ({ 'if-match': etag, 'if-unmodified-since': past }), '200'],
    ['if-none-match that fails beside if-modified-since that holds', () => ({ 'if-none-match': etag, 'if-modified-since': past }), '412 PreconditionFailed'],
  ])('%s', async (_what, conditions, expected) => {
    const headers = Object.fromEntries(Object.entries(conditions()).map(([name, value]) => [`x-amz-copy-source-${name}`, value]))
    await send('DELETE', 'conditional')
    expect(outcome(await copy('conditional', headers))).toBe(expected)
    expect((await send('GET', 'conditional')).status).toBe(expected === '200' ? 200 : 404)
  })
})

describe('conditions on the target', () => {
  test('If-None-Match: * copies once', async () => {
    expect((await copy('once', { 'if-none-match': '*' })).status).toBe(200)
    expect(outcome(await copy('once', { 'if-none-match': '*' }))).toBe('412 PreconditionFailed')
  })

  test('If-Match wants the target\'s ETag, and a target', async () => {
    await send('PUT', 'target', { body: 'old' })
    expect(outcome(await copy('target', { 'if-match': etag }))).toBe('412 PreconditionFailed')
    const { headers } = await send('HEAD', 'target')
    expect((await copy('target', { 'if-match': headers['etag'] ?? '' })).status).toBe(200)
    expect((await send('GET', 'target')).text).toBe('hello')
    expect(outcome(await copy('no-target', { 'if-match': etag }))).toBe('404 NoSuchKey')
  })
})

describe('versions', () => {
  let old: string
  let marker: string
  let sendVersioned: ReturnType<typeof bucketSender>

  beforeAll(async () => {
    sendVersioned = bucketSender(server, versioned)
    old = (await sendVersioned('PUT', 'v', { body: 'old' })).headers['x-amz-version-id'] ?? ''
    await sendVersioned('PUT', 'v', { body: 'new' })
    await sendVersioned('PUT', 'deleted', { body: 'x' })
    marker = (await sendVersioned('DELETE', 'deleted')).headers['x-amz-version-id'] ?? ''
  })

  test('the current version is the source unless one is named, and both ids are answered', async () => {
    const current = await sendVersioned('PUT', 'copy', { headers: { 'x-amz-copy-source': `${versioned}/v` } })
    expect(current.headers['x-amz-version-id']).toMatch(/^\S+$/)
    expect(current.headers['x-amz-copy-source-version-id']).toMatch(/^\S+$/)
    expect((await sendVersioned('GET', 'copy')).text).toBe('new')
    const named = await sendVersioned('PUT', 'copy', { headers: { 'x-amz-copy-source': `${versioned}/v?versionId=${old}` } })
    expect(named.headers['x-amz-copy-source-version-id']).toBe(old)
    expect((await sendVersioned('GET', 'copy')).text).toBe('old')
  })

  test('an old version copied onto its own key is restored', async () => {
    const restored = await sendVersioned('PUT', 'v', { headers: { 'x-amz-copy-source': `${versioned}/v?versionId=${old}` } })
    expect(restored.status).toBe(200)
    expect(restored.headers['x-amz-version-id']).not.toBe(old)
    expect((await sendVersioned('GET', 'v')).text).toBe('old')
    expect((await sendVersioned('GET', `v?versionId=${old}`)).text).toBe('old')
  })

  test('a delete marker as source answers 404 when current and 400 when named', async () => {
    expect(outcome(await sendVersioned('PUT', 'copy', { headers: { 'x-amz-copy-source': `${versioned}/deleted` } }))).toBe('404 NoSuchKey')
    expect(outcome(await sendVersioned('PUT', 'copy', { headers: { 'x-amz-copy-source': `${versioned}/deleted?versionId=${marker}` } }))).toBe('400 InvalidRequest')
  })

  test('an unknown version answers 404 NoSuchVersion', async () => {
    await sendVersioned('PUT', 'short', { body: 'x' })
    const gone = (await sendVersioned('PUT', 'short', { body: 'y' })).headers['x-amz-version-id'] ?? ''
    await sendVersioned('DELETE', `short?versionId=${gone}`)
    expect(outcome(await sendVersioned('PUT', 'copy', { headers: { 'x-amz-copy-source': `${versioned}/short?versionId=${gone}` } }))).toBe('404 NoSuchVersion')
  })
})

test('while the source is overwritten and deleted, a copy has one of its states, whole', async () => {
  const bodies = ['a', 'b', 'c'].map((letter) => letter.repeat(150_000))
  await send('PUT', 'busy', { body: bodies[0] ?? '' })
  const writes = Promise.all(Array.from({ length: 24 }, (_, i) => (i % 6 === 5 ? send('DELETE', 'busy') : send('PUT', 'busy', { body: bodies[i % 3] ?? '' }))))
  const copies = await Promise.all(Array.from({ length: 24 }, (_, i) => copy(`busy-${i}`, {}, `${bucket}/busy`)))
  await writes
  await send('DELETE', 'busy')
  for (const [i, answer] of copies.entries()) {
    expect(outcome(answer)).toBeOneOf(['200', '404 NoSuchKey'])
    if (answer.status !== 200) continue
    const got = await send('GET', `busy-${i}`)
    expect(bodies).toContain(got.text)
    expect(got.headers['etag']).toBe(xmlText(answer.text, 'ETag'))
  }
})

test('x-amz-checksum-algorithm computes another checksum for the copy', async () => {
  const answer = await copy('sum', { 'x-amz-checksum-algorithm': 'SHA256' })
  expect(xmlText(answer.text, 'ChecksumSHA256')).toBe('LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=')
  expect((await send('HEAD', 'sum', { headers: { 'x-amz-checksum-mode': 'ENABLED' } })).headers['x-amz-checksum-sha256']).toBe('LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=')
  expect(outcome(await copy('sum', { 'x-amz-checksum-algorithm': 'MD4' }))).toBe('400 InvalidRequest')
})

test('a storage class other than STANDARD is refused', async () => {
  expect(outcome(await copy('class', { 'x-amz-storage-class': 'GLACIER' }))).toBe('400 InvalidStorageClass')
  expect((await copy('class', { 'x-amz-storage-class': 'STANDARD' })).status).toBe(200)
})
