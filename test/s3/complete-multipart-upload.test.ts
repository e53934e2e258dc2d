import { randomBytes } from 'node:crypto'
import { CompleteMultipartUploadCommand, CreateMultipartUploadCommand, GetObjectCommand, UploadPartCommand, type ChecksumAlgorithm } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { complete, completeDocument, createUpload, digest, md5, multipartEtag, partBytesMin, putPart, putParts, type UploadedPart } from '../support/multipart.ts'
import { xmlText, xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(client)
  send = bucketSender(server, bucket)
})

const big = [randomBytes(partBytesMin), randomBytes(partBytesMin + 1), randomBytes(77)] as const

/** An upload of one part that could be completed. */
async function ready(key: string, headers: Readonly<Record<string, string>> = {}, body = 'part'): Promise<{ uploadId: string; parts: UploadedPart[] }> {
  const uploadId = await createUpload(send, key, headers)
  return { uploadId, parts: await putParts(send, key, uploadId, [[1, body]]) }
}

const isOpen = async (key: string, uploadId: string): Promise<boolean> => (await send('GET', `${key}?uploadId=${uploadId}`)).status === 200

describe('parts become one object', () => {
  test('whatever the order of their upload and the gaps between their numbers', async () => {
    const uploadId = await createUpload(send, 'joined')
    const parts = await putParts(send, 'joined', uploadId, [[9000, big[2]], [3, big[0]], [40, big[1]]])
    const answer = await complete(send, 'joined', uploadId, parts.toSorted((a, b) => a.number - b.number))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/xml')
    expect(answer.text).toContain('<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
    expect([xmlText(answer.text, 'Bucket'), xmlText(answer.text, 'Key'), xmlText(answer.text, 'ETag')]).toEqual([bucket, 'joined', multipartEtag(big)])
    expect(xmlText(answer.text, 'Location')).toBe(`${server.url}/${bucket}/joined`)
    const got = await send('GET', 'joined')
    expect(got.headers['etag']).toBe(multipartEtag(big))
    expect(Buffer.compare(got.body, Buffer.concat(big))).toBe(0)
    expect(await isOpen('joined', uploadId)).toBe(false)
    const middle = await send('GET', 'joined', { headers: { range: `bytes=${partBytesMin - 3}-${partBytesMin + 2}` } })
    expect(Buffer.compare(middle.body, Buffer.concat(big).subarray(partBytesMin - 3, partBytesMin + 3))).toBe(0)
    const second = await send('GET', 'joined?partNumber=2')
    expect([second.status, second.headers['x-amz-mp-parts-count'], md5(second.body)]).toEqual([206, '3', md5(big[1])])
  })

  test('parts that the list leaves out are no part of it', async () => {
    const uploadId = await createUpload(send, 'chosen')
    const parts = await putParts(send, 'chosen', uploadId, [[1, 'one'], [2, 'two'], [3, 'three']])
    expect(outcome(await complete(send, 'chosen', uploadId, parts.slice(1, 2)))).toBe('200')
    expect((await send('GET', 'chosen')).text).toBe('two')
  })

  test('one empty part makes an empty object', async () => {
    const { uploadId, parts } = await ready('empty', {}, '')
    expect(outcome(await complete(send, 'empty', uploadId, parts))).toBe('200')
    const got = await send('GET', 'empty')
    expect([got.headers['content-length'], got.headers['etag']]).toEqual(['0', multipartEtag([''])])
  })

  test('ETags may come without quotes, or with quotes as entities', async () => {
    for (const quote of ['', '&quot;', '&#34;']) {
      const { uploadId, parts } = await ready('quotes')
      expect(outcome(await complete(send, 'quotes', uploadId, parts.map((part) => ({ ...part, etag: part.etag.replaceAll('"', quote) }))))).toBe('200')
    }
  })

  test('with a version of its own where versioning is enabled', async () => {
    const own = bucketSender(server, await newBucket(client, 'Enabled'))
    const uploadId = await createUpload(own, 'k')
    const answer = await complete(own, 'k', uploadId, await putParts(own, 'k', uploadId, [[1, 'x']]))
    const head = await own('HEAD', 'k')
    expect(answer.headers['x-amz-version-id']).toMatch(/^(?!null$)\S+$/)
    expect(head.headers['x-amz-version-id']).toBe(answer.headers['x-amz-version-id'])
  })
})

describe('what may not be completed is refused, and the upload stays open', () => {
  test('a Content-MD5 that is not the document\'s', async () => {
    const { uploadId, parts } = await ready('content-md5')
    const base64 = (text: string): string => Buffer.from(md5(text), 'hex').toString('base64')
    expect(outcome(await complete(send, 'content-md5', uploadId, parts, { 'content-md5': base64('another') }))).toBe('400 BadDigest')
    expect(await isOpen('content-md5', uploadId)).toBe(true)
    expect((await complete(send, 'content-md5', uploadId, parts, { 'content-md5': base64(completeDocument(parts)) })).status).toBe(200)
  })

  const cases: readonly (readonly [string, (parts: UploadedPart[]) => UploadedPart[], string])[] = [
    ['an order that descends', (parts) => parts.toReversed(), '400 InvalidPartOrder'],
    ['a part twice', ([first]) => (first === undefined ? [] : [first, first]), '400 InvalidPartOrder'],
    ['a part that was not uploaded', (parts) => [...parts, { number: 9, etag: `"${md5('x')}"` }], '400 InvalidPart'],
    ['another ETag', (parts) => parts.map((part) => ({ ...part, etag: `"${md5('other')}"` })), '400 InvalidPart'],
    ['an ETag that is none', (parts) => parts.map((part) => ({ ...part, etag: 'x' })), '400 InvalidPart'],
    ['part number 0', (parts) => parts.map((part) => ({ ...part, number: part.number - 1 })), '400 InvalidArgument'],
    ['part number 10001', (parts) => parts.map((part) => ({ ...part, number: part.number + 10_000 })), '400 InvalidArgument'],
    ['a middle part below 5 MiB', (parts) => parts, '400 EntityTooSmall'],
    ['no parts', () => [], '400 MalformedXML'],
  ]
  test.each(cases)('%s', async (_what, change, expected) => {
    const uploadId = await createUpload(send, 'refused')
    const parts = await putParts(send, 'refused', uploadId, [[1, 'one'], [2, 'two']])
    expect(outcome(await complete(send, 'refused', uploadId, change(parts)))).toBe(expected)
    expect(await isOpen('refused', uploadId)).toBe(true)
    expect(outcome(await send('GET', 'refused'))).toBe('404 NoSuchKey')
    expect(outcome(await complete(send, 'kept', uploadId, parts))).toBe('404 NoSuchUpload')
  })

  test.each([
    '', 'x', '<CompleteMultipartUpload', '<CompleteMultipartUpload/>', '<Other><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></Other>',
    '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>', '<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>',
    '<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>',
  ])('a body that is no list of parts (%j)', async (body) => {
    const { uploadId } = await ready('malformed')
    expect(outcome(await send('POST', `malformed?uploadId=${uploadId}`, { body }))).toMatch(/^400 (MalformedXML|MissingRequestBodyError)$/)
    expect(await isOpen('malformed', uploadId)).toBe(true)
  })

  test('the size that x-amz-mp-object-size says is checked', async () => {
    const { uploadId, parts } = await ready('sized')
    expect(outcome(await complete(send, 'sized', uploadId, parts, { 'x-amz-mp-object-size': '5' }))).toBe('400 InvalidRequest')
    expect(outcome(await complete(send, 'sized', uploadId, parts, { 'x-amz-mp-object-size': 'x' }))).toBe('400 InvalidArgument')
    expect(outcome(await complete(send, 'sized', uploadId, parts, { 'x-amz-mp-object-size': '4' }))).toBe('200')
  })

  test('an upload that never was, or is of another key or bucket', async () => {
    const { uploadId, parts } = await ready('mine')
    expect(outcome(await complete(send, 'mine', 'x', parts))).toBe('404 NoSuchUpload')
    expect(outcome(await complete(send, 'other', uploadId, parts))).toBe('404 NoSuchUpload')
    expect(outcome(await complete(bucketSender(server, bucketName()), 'mine', uploadId, parts))).toBe('404 NoSuchBucket')
    expect(await isOpen('mine', uploadId)).toBe(true)
  })
})

describe('complete happens once', () => {
  test('a repeated call gets the same answer, also when the object was overwritten or deleted since', async () => {
    const own = bucketSender(server, await newBucket(client, 'Enabled'))
    const uploadId = await createUpload(own, 'k')
    const parts = await putParts(own, 'k', uploadId, [[1, 'x']])
    const first = await complete(own, 'k', uploadId, parts)
    const facts = (answer: typeof first) => [answer.status, answer.headers['x-amz-version-id'], xmlText(answer.text, 'ETag'), xmlText(answer.text, 'ChecksumCRC64NVME'), xmlText(answer.text, 'Location')]
    expect(facts(await complete(own, 'k', uploadId, parts))).toEqual(facts(first))
    await own('PUT', 'k', { body: 'newer' })
    expect(facts(await complete(own, 'k', uploadId, parts))).toEqual(facts(first))
    await own('DELETE', 'k')
    expect(facts(await complete(own, 'k', uploadId, parts))).toEqual(facts(first))
    expect(outcome(await own('GET', 'k'))).toBe('404 NoSuchKey')
    expect(((await own('GET', '?versions')).text.match(/<Version>/g) ?? []).length).toBe(2)
  })

  test('a repeated call with another list is another call: 404 NoSuchUpload', async () => {
    const { uploadId, parts } = await ready('again')
    await complete(send, 'again', uploadId, parts)
    expect(outcome(await complete(send, 'again', uploadId, [{ number: 2, etag: parts[0]?.etag ?? '' }]))).toBe('404 NoSuchUpload')
  })

  test('many calls at once all get the one answer', async () => {
    const own = bucketSender(server, await newBucket(client, 'Enabled'))
    const uploadId = await createUpload(own, 'k')
    const parts = await putParts(own, 'k', uploadId, [[1, 'x']])
    const answers = await Promise.all(Array.from({ length: 16 }, () => complete(own, 'k', uploadId, parts)))
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200))
    expect(new Set(answers.map((answer) => answer.headers['x-amz-version-id'])).size).toBe(1)
    expect(((await own('GET', '?versions')).text.match(/<Version>/g) ?? []).length).toBe(1)
  })

  test('a part that is uploaded again while the upload is completed is in the object or refused, never half', async () => {
    for (let round = 0; round < 20; round++) {
      const { uploadId, parts } = await ready(`reput-${round}`, {}, 'old')
      const [completed, again] = await Promise.all([complete(send, `reput-${round}`, uploadId, parts), putPart(send, `reput-${round}`, uploadId, 1, 'new')])
      if (completed.status === 200) expect((await send('GET', `reput-${round}`)).text).toBe('old')
      else expect([outcome(completed), outcome(again)]).toEqual(['400 InvalidPart', '200'])
    }
  })
})

describe('conditions', () => {
  test('If-None-Match: * makes the object where there is none, and answers 412 where there is one', async () => {
    const first = await ready('none-match')
    expect(outcome(await complete(send, 'none-match', first.uploadId, first.parts, { 'if-none-match': '*' }))).toBe('200')
    const second = await ready('none-match', {}, 'second')
    expect(outcome(await complete(send, 'none-match', second.uploadId, second.parts, { 'if-none-match': '*' }))).toBe('412 PreconditionFailed')
    expect((await send('GET', 'none-match')).text).toBe('part')
    expect(await isOpen('none-match', second.uploadId)).toBe(true)
    await send('DELETE', 'none-match')
    expect(outcome(await complete(send, 'none-match', second.uploadId, second.parts, { 'if-none-match': '*' }))).toBe('200')
  })

  test('If-Match needs the ETag of the object that is there', async () => {
    const put = await send('PUT', 'match', { body: 'x' })
    const { uploadId, parts } = await ready('match')
    expect(outcome(await complete(send, 'match', uploadId, parts, { 'if-match': `"${md5('y')}"` }))).toBe('412 PreconditionFailed')
    expect(outcome(await complete(send, 'match', uploadId, parts, { 'if-match': put.headers['etag'] ?? '' }))).toBe('200')
    const missing = await ready('match-missing')
    expect(outcome(await complete(send, 'match-missing', missing.uploadId, missing.parts, { 'if-match': `"${md5('y')}"` }))).toBe('404 NoSuchKey')
  })

  test('of many uploads with If-None-Match: * at once one becomes the object', async () => {
    const uploads = await Promise.all(Array.from({ length: 8 }, (_, i) => ready('once', {}, `body ${i}`)))
    const answers = await Promise.all(uploads.map(({ uploadId, parts }) => complete(send, 'once', uploadId, parts, { 'if-none-match': '*' })))
    const won = answers.findIndex((answer) => answer.status === 200)
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1)
    for (const [index, answer] of answers.entries()) if (index !== won) expect(outcome(answer)).toMatch(/^(412 PreconditionFailed|409 ConditionalRequestConflict)$/)
    expect((await send('GET', 'once')).text).toBe(`body ${won}`)
  })
})

const algorithms = Object.keys(digest)
const element = (algorithm: string, value: string): string => `<Checksum${algorithm}>${value}</Checksum${algorithm}>`
const valueOf = (algorithm: string, body: Uint8Array): string => digest[algorithm]?.(body) ?? ''
const composite = (algorithm: string): string =>
  `${valueOf(algorithm, Buffer.concat(big.map((body) => Buffer.from(valueOf(algorithm, body), 'base64'))))}-${big.length}`

async function uploadWith(algorithm: string, type: string): Promise<{ key: string; uploadId: string; parts: UploadedPart[] }> {
  const key = `sum-${algorithm}-${type}`
  const uploadId = await createUpload(send, key, { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type })
  const parts = await Promise.all(big.map(async (body, index) => {
    const value = valueOf(algorithm, body)
    const { headers } = await putPart(send, key, uploadId, index + 1, body, { [`x-amz-checksum-${algorithm.toLowerCase()}`]: value })
    return { number: index + 1, etag: headers['etag'] ?? '', more: element(algorithm, value) }
  }))
  return { key, uploadId, parts }
}

describe('checksums', () => {
  const pairs = algorithms.flatMap((algorithm) => [
    ...(algorithm === 'CRC64NVME' ? [] : [[algorithm, 'COMPOSITE'] as const]), ...(algorithm.startsWith('SHA') ? [] : [[algorithm, 'FULL_OBJECT'] as const]),
  ])

  test.each(pairs)('%s %s is what the bytes have, in the answer and in reads', async (algorithm, type) => {
    const { key, uploadId, parts } = await uploadWith(algorithm, type)
    const expected = type === 'COMPOSITE' ? composite(algorithm) : valueOf(algorithm, Buffer.concat(big))
    const header = `x-amz-checksum-${algorithm.toLowerCase()}`
    const wrong = type === 'COMPOSITE' ? composite(algorithm).replace(/^./, (c) => (c === 'A' ? 'B' : 'A')) : valueOf(algorithm, Buffer.from('other'))
    expect(outcome(await complete(send, key, uploadId, parts, { [header]: wrong, 'x-amz-checksum-type': type }))).toBe('400 BadDigest')
    expect(await isOpen(key, uploadId)).toBe(true)
    const answer = await complete(send, key, uploadId, parts, { [header]: expected, 'x-amz-checksum-type': type })
    expect(outcome(answer)).toBe('200')
    expect([xmlText(answer.text, `Checksum${algorithm}`), xmlText(answer.text, 'ChecksumType')]).toEqual([expected, type])
    const head = await send('HEAD', key, { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
    expect(head.headers).toMatchObject({ [header]: expected, 'x-amz-checksum-type': type })
  })

  test.each(pairs)('%s %s: a part with the checksum of another answers 400 InvalidPart', async (algorithm, type) => {
    const uploadId = await createUpload(send, 'wrong-part', { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type })
    const body = Buffer.from('part')
    const { headers } = await putPart(send, 'wrong-part', uploadId, 1, body, { [`x-amz-checksum-${algorithm.toLowerCase()}`]: valueOf(algorithm, body) })
    const parts = [{ number: 1, etag: headers['etag'] ?? '', more: element(algorithm, valueOf(algorithm, Buffer.from('other'))) }]
    expect(outcome(await complete(send, 'wrong-part', uploadId, parts))).toBe('400 InvalidPart')
    expect(await isOpen('wrong-part', uploadId)).toBe(true)
  })

  test('another type than the upload was created with answers 400 InvalidRequest', async () => {
    const { uploadId, parts } = await ready('type', { 'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'FULL_OBJECT' })
    expect(outcome(await complete(send, 'type', uploadId, parts, { 'x-amz-checksum-type': 'COMPOSITE' }))).toBe('400 InvalidRequest')
  })

  test('a composite upload needs the checksum of each part in the list', async () => {
    const { uploadId, parts } = await ready('bare', { 'x-amz-checksum-algorithm': 'SHA256' })
    expect(outcome(await complete(send, 'bare', uploadId, parts))).toBe('400 InvalidRequest')
  })

  test('without a wish of the client the whole object has a CRC64NVME', async () => {
    const uploadId = await createUpload(send, 'default')
    const parts = await putParts(send, 'default', uploadId, [[1, big[0]], [2, big[2]]])
    const answer = await complete(send, 'default', uploadId, parts)
    expect(outcome(answer)).toBe('200')
    const head = await send('HEAD', 'default', { headers: { 'x-amz-checksum-mode': 'ENABLED' } })
    expect(head.headers).toMatchObject({ 'x-amz-checksum-crc64nvme': valueOf('CRC64NVME', Buffer.concat([big[0], big[2]])), 'x-amz-checksum-type': 'FULL_OBJECT' })
  })

  test.each(algorithms)('the SDK with %s: trailers on parts, its list of checksums, the bytes back', async (algorithm) => {
    const Key = `sdk-${algorithm}`
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key, ChecksumAlgorithm: algorithm as ChecksumAlgorithm }))
    const Parts = await Promise.all([big[0], big[2]].map(async (Body, index) => {
      const { $metadata: _, ...part } = await client.send(new UploadPartCommand({ Bucket: bucket, Key, UploadId, PartNumber: index + 1, Body, ChecksumAlgorithm: algorithm as ChecksumAlgorithm }))
      return { ...part, PartNumber: index + 1 }
    }))
    const done = await client.send(new CompleteMultipartUploadCommand({ Bucket: bucket, Key, UploadId, MultipartUpload: { Parts } }))
    expect(done.ChecksumType).toBe(algorithm === 'CRC64NVME' ? 'FULL_OBJECT' : 'COMPOSITE')
    const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key, ChecksumMode: 'ENABLED' }))
    expect(Buffer.compare(await got.Body?.transformToByteArray() ?? new Uint8Array(), Buffer.concat([big[0], big[2]]))).toBe(0)
  })
})

test('a list of 10,000 parts is read; what is not there is named', async () => {
  const { uploadId, parts } = await ready('many')
  const etag = parts[0]?.etag ?? ''
  const list = Array.from({ length: 10_000 }, (_, i) => ({ number: i + 1, etag }))
  const answer = await send('POST', `many?uploadId=${uploadId}`, { body: completeDocument(list) })
  expect(outcome(answer)).toBe('400 InvalidPart')
  expect(xmlTexts(answer.text, 'PartNumber')).toEqual(['2'])
})
