import { createHash, createHmac } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { digest } from '../support/multipart.ts'
import { sendRequest, signedRequest, xmlText, type RawResponse } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer, startServer } from '../support/server.ts'
import { signedChunks, signHeaders, timestamp, type Signing } from '../support/signing.ts'

const server = sharedServer()
let bucket: string
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  bucket = await newBucket(s3Client(server))
  send = bucketSender(server, bucket)
  await send('PUT', 'k', { body: 'secret bytes' })
})

const get = (signing: Partial<Signing> = {}, more: Readonly<Record<string, string>> = {}): Promise<RawResponse> => {
  const { path, headers } = signHeaders({ server, path: `/${bucket}/k`, ...signing })
  return sendRequest({ server, method: signing.method ?? 'GET', path, headers: { ...headers, ...more } })
}

describe('signature version 4 in the header', () => {
  test('a good one passes; the same by hand and by another signer', async () => {
    expect((await get()).text).toBe('secret bytes')
    expect((await send('GET', 'k')).text).toBe('secret bytes')
  })

  test('a wrong secret answers 403 SignatureDoesNotMatch with what the server computed', async () => {
    const answer = await get({ secretAccessKey: 'wrong' })
    expect(outcome(answer)).toBe('403 SignatureDoesNotMatch')
    expect(xmlText(answer.text, 'AWSAccessKeyId')).toBe(server.accessKeyId)
    expect(xmlText(answer.text, 'StringToSign')).toMatch(/^AWS4-HMAC-SHA256\n\d{8}T\d{6}Z\n\d{8}\/us-east-1\/s3\/aws4_request\n[0-9a-f]{64}$/)
    expect(xmlText(answer.text, 'CanonicalRequest')).toContain(`GET\n/${bucket}/k\n`)
    expect(xmlText(answer.text, 'SignatureProvided')).toMatch(/^[0-9a-f]{64}$/)
    expect(answer.text).not.toContain(server.secretAccessKey)
  })

  test('an unknown access key answers 403 InvalidAccessKeyId with the key', async () => {
    const answer = await get({ accessKeyId: 'AKIANOBODY' })
    expect(outcome(answer)).toBe('403 InvalidAccessKeyId')
    expect(xmlText(answer.text, 'AWSAccessKeyId')).toBe('AKIANOBODY')
  })

  test('whatever changes behind the signature makes it wrong: method, path, query, signed headers', async () => {
    const { path, headers } = signHeaders({ server, path: `/${bucket}/k`, headers: { 'x-amz-meta-a': '1', range: 'bytes=0-1' } })
    const changed = [
      { method: 'DELETE', path, headers }, { method: 'GET', path: `/${bucket}/k2`, headers }, { method: 'GET', path: `${path}?versionId=null`, headers },
      { method: 'GET', path, headers: { ...headers, 'x-amz-meta-a': '2' } }, { method: 'GET', path, headers: { ...headers, range: 'bytes=0-9' } }, { method: 'GET', path, headers: { ...headers, host: 'localhost' } },
    ]
    for (const request of changed) expect(outcome(await sendRequest({ server, ...request }))).toBe('403 SignatureDoesNotMatch')
    expect((await sendRequest({ server, method: 'GET', path, headers })).text).toBe('se')
  })

  test('spaces around and inside header values are folded as the signer folds them', async () => {
    const { path, headers } = signHeaders({ server, path: `/${bucket}/k`, headers: { 'x-amz-meta-a': 'a b c' } })
    expect((await sendRequest({ server, method: 'GET', path, headers: { ...headers, 'x-amz-meta-a': '  a   b  c ' } })).status).toBe(200)
  })

  test('an x-amz-* header that is not signed answers 403 AccessDenied', async () => {
    for (const name of ['x-amz-meta-late', 'x-amz-copy-source', 'x-amz-acl', 'x-amz-expected-bucket-owner', 'X-Amz-Tagging']) {
      expect(outcome(await get({}, { [name]: 'x' })), name).toBe('403 AccessDenied')
    }
  })

  test('a clock of a quarter of an hour is the limit: 16 minutes answer 403 RequestTimeTooSkewed, 14 pass', async () => {
    for (const minutes of [-16, 16, -60 * 24 * 400]) {
      const answer = await get({ time: timestamp(minutes * 60) })
      expect(outcome(answer)).toBe('403 RequestTimeTooSkewed')
      expect(xmlText(answer.text, 'MaxAllowedSkewMilliseconds')).toBe('900000')
    }
    for (const minutes of [-14, 14]) expect(outcome(await get({ time: timestamp(minutes * 60) }))).toBe('200')
  })

  test.each([['region', 'eu-west-1'], ['service', 'iam'], ['date', '20200101'], ['terminator', 'aws5_request']])('a scope with another %s answers 400 AuthorizationHeaderMalformed', async (piece, value) => {
    expect(outcome(await get({ scope: { [piece]: value } }))).toBe('400 AuthorizationHeaderMalformed')
  })

  test('a wrong region is told the right one', async () => {
    expect(xmlText((await get({ scope: { region: 'eu-west-1' } })).text, 'Region')).toBe('us-east-1')
  })

  test('the payload hash must be there and be one that S3 knows', async () => {
    for (const payload of ['hello', 'unsigned-payload', 'STREAMING', '0'.repeat(63)]) expect(outcome(await get({ payload }))).toBe('400 InvalidArgument')
    const { path, headers } = signHeaders({ server, path: `/${bucket}/k` })
    const { 'x-amz-content-sha256': _, ...without } = headers
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: without }))).toBe('400 InvalidRequest')
  })

  test.each([
    ['without a space', 'AWS4-HMAC-SHA256', '400 InvalidArgument'], ['of another scheme', 'Basic dXNlcjpwYXNz', '400 InvalidArgument'], ['of a bearer', 'Bearer x', '400 InvalidArgument'],
    ['empty', '', '400 InvalidArgument'], ['without fields', 'AWS4-HMAC-SHA256 ', '400 '], ['without SignedHeaders', 'AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, Signature=00', '400 AuthorizationHeaderMalformed'],
    ['without Credential', 'AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00', '400 AuthorizationHeaderMalformed'], ['with a short credential', 'AWS4-HMAC-SHA256 Credential=A/us-east-1, SignedHeaders=host, Signature=00', '400 AuthorizationHeaderMalformed'],
    ['with a field twice', 'AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, SignedHeaders=host, Signature=00', '400 AuthorizationHeaderMalformed'],
  ])('an Authorization %s answers %s', async (_what, authorization, expected) => {
    const answer = await get({}, { authorization })
    expect(outcome(answer)).toContain(expected)
  })

  test('host must be signed', async () => {
    const { path, headers } = signHeaders({ server, path: `/${bucket}/k` })
    const authorization = headers['authorization']?.replace('host;', '') ?? ''
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: { ...headers, authorization } }))).toBe('403 AccessDenied')
  })
})

test('without any signature each request is refused: anonymous access does not exist', async () => {
  for (const [method, path] of [['GET', '/'], ['GET', `/${bucket}`], ['GET', `/${bucket}/k`], ['PUT', `/${bucket}/new`], ['DELETE', `/${bucket}/k`], ['PUT', '/new-bucket'], ['GET', '/no-such-bucket/k']] as const) {
    expect(outcome(await signedRequest({ server, method, path, sign: 'none' })), `${method} ${path}`).toBe('403 AccessDenied')
  }
  expect((await send('GET', 'k')).text).toBe('secret bytes')
})

test('two forms of authentication at once answer 400 InvalidArgument', async () => {
  const { path, headers } = signHeaders({ server, path: `/${bucket}/k` })
  for (const query of ['X-Amz-Signature=00', 'X-Amz-Algorithm=AWS4-HMAC-SHA256', `AWSAccessKeyId=${server.accessKeyId}&Signature=x&Expires=9999999999`]) {
    expect(outcome(await sendRequest({ server, method: 'GET', path: `${path}?${query}`, headers }))).toBe('400 InvalidArgument')
  }
})

test('a session token is nobody\'s here: 400 InvalidToken', async () => {
  expect(outcome(await get({ headers: { 'x-amz-security-token': 'FwoGZXIvYXdzE' } }))).toBe('400 InvalidToken')
})

describe('signature version 2 in the header', () => {
  const signV2 = (method: string, resource: string, headers: Readonly<Record<string, string>> = {}, secret = server.secretAccessKey): Record<string, string> => {
    const date = headers['date'] ?? new Date().toUTCString()
    const amz = Object.keys(headers).filter((name) => name.startsWith('x-amz-')).sort().map((name) => `${name}:${headers[name]}\n`).join('')
    const text = `${method}\n${headers['content-md5'] ?? ''}\n${headers['content-type'] ?? ''}\n${date}\n${amz}${resource}`
    return { host: new URL(server.url).host, date, ...headers, authorization: `AWS ${server.accessKeyId}:${createHmac('sha1', secret).update(text).digest('base64')}` }
  }

  test('a good one reads and writes', async () => {
    expect((await sendRequest({ server, method: 'GET', path: `/${bucket}/k`, headers: signV2('GET', `/${bucket}/k`) })).text).toBe('secret bytes')
    const body = Buffer.from('v2')
    const headers = { 'content-type': 'text/plain', 'x-amz-meta-a': '1' }
    expect((await sendRequest({ server, method: 'PUT', path: `/${bucket}/v2`, headers: { ...signV2('PUT', `/${bucket}/v2`, headers), 'content-length': '2' }, body })).status).toBe(200)
    expect((await send('GET', 'v2')).headers).toMatchObject({ 'x-amz-meta-a': '1', 'content-type': 'text/plain' })
    expect((await sendRequest({ server, method: 'GET', path: `/${bucket}/?versioning`, headers: signV2('GET', `/${bucket}/?versioning`) })).status).toBe(200)
  })

  test('a wrong secret, an added sub-resource, an unsigned x-amz-* header and an old date are refused', async () => {
    const path = `/${bucket}/k`
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: signV2('GET', path, {}, 'wrong') }))).toBe('403 SignatureDoesNotMatch')
    expect(outcome(await sendRequest({ server, method: 'GET', path: `${path}?acl`, headers: signV2('GET', path) }))).toBe('403 SignatureDoesNotMatch')
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: { ...signV2('GET', path), 'x-amz-copy-source': 'a/b' } }))).toBe('403 SignatureDoesNotMatch')
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: signV2('GET', path, { date: new Date(Date.now() - 16 * 60_000).toUTCString() }) }))).toBe('403 RequestTimeTooSkewed')
    expect(outcome(await sendRequest({ server, method: 'GET', path, headers: { ...signV2('GET', path), authorization: 'AWS x' } }))).toBe('400 InvalidArgument')
  })

  test('is refused as a whole where it is switched off', async () => {
    const other = await startServer({ env: { HOLDFAST_SIGNATURE_V2: 'off', HOLDFAST_ROOT_ACCESS_KEY: server.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: server.secretAccessKey } })
    try {
      const headers = { ...signV2('GET', '/'), host: new URL(other.url).host }
      expect(outcome(await sendRequest({ server: other, method: 'GET', path: '/', headers }))).toBe('400 InvalidRequest')
      expect((await signedRequest({ server: other, path: '/' })).status).toBe(200)
    } finally {
      await other.remove()
    }
  })
})

describe('bodies in signed chunks', () => {
  const chunks = [Buffer.alloc(70_000, 1), Buffer.alloc(8192, 2), Buffer.alloc(100_000, 3), Buffer.from('end')]
  const whole = Buffer.concat(chunks)
  const put = (key: string, { path, headers, pieces }: ReturnType<typeof signedChunks>): Promise<RawResponse> =>
    sendRequest({ server, method: 'PUT', path: path.replace('KEY', key), headers, body: Buffer.concat(pieces) })
  const sign = (key: string, ...more: Parameters<typeof signedChunks> extends [unknown, ...infer Rest] ? Rest : never) => signedChunks({ server, method: 'PUT', path: `/${bucket}/${key}` }, ...more)

  test('come back whole, without their framing', async () => {
    expect(outcome(await put('chunked', sign('chunked', chunks)))).toBe('200')
    const got = await send('GET', 'chunked')
    expect(Buffer.compare(got.body, whole)).toBe(0)
    expect(got.headers).not.toHaveProperty('content-encoding')
  })

  test('with a signed trailer, whose checksum is verified and kept', async () => {
    const value = digest['CRC32']?.(whole) ?? ''
    expect(outcome(await put('trailed', sign('trailed', chunks, ['x-amz-checksum-crc32', value])))).toBe('200')
    expect((await send('HEAD', 'trailed', { headers: { 'x-amz-checksum-mode': 'ENABLED' } })).headers['x-amz-checksum-crc32']).toBe(value)
    expect(outcome(await put('trailed-wrong', sign('trailed-wrong', chunks, ['x-amz-checksum-crc32', 'AAAAAA=='])))).toBe('400 BadDigest')
    expect(outcome(await send('GET', 'trailed-wrong'))).toBe('404 NoSuchKey')
  })

  test('an empty body is the final chunk alone', async () => {
    expect(outcome(await put('chunked-empty', sign('chunked-empty', [])))).toBe('200')
    expect((await send('GET', 'chunked-empty')).headers['content-length']).toBe('0')
  })

  test('a changed byte, swapped chunks, a changed signature of a chunk or of the trailer answer 403 and store nothing', async () => {
    const flip = (piece: Buffer | undefined, at: number): Buffer => Buffer.from(piece ?? []).fill((piece?.at(at) ?? 0) ^ 1, at < 0 ? (piece?.length ?? 0) + at : at, at < 0 ? (piece?.length ?? 0) + at + 1 : at + 1)
    const good = sign('tampered', chunks)
    const [a, b, c, d, end] = good.pieces as [Buffer, Buffer, Buffer, Buffer, Buffer]
    const sameSize = sign('tampered', [Buffer.alloc(9000, 1), Buffer.alloc(9000, 2)])
    const trailed = sign('tampered', chunks, ['x-amz-checksum-crc32', digest['CRC32']?.(whole) ?? ''])
    const hexFlip = (piece: Buffer): Buffer => Buffer.from(piece.toString('latin1').replace(/(signature[=:])(.)/, (_all, name: string, digit: string) => name + (digit === '0' ? '1' : '0')), 'latin1')
    const tampered = [
      { ...good, pieces: [flip(a, 500), b, c, d, end] }, { ...good, pieces: [a, b, c, flip(d, -3), end] }, { ...sameSize, pieces: [sameSize.pieces[1] as Buffer, sameSize.pieces[0] as Buffer, sameSize.pieces[2] as Buffer] },
      { ...good, pieces: [hexFlip(a), b, c, d, end] }, { ...good, pieces: [a, b, c, d, hexFlip(end)] }, { ...trailed, pieces: [...trailed.pieces.slice(0, -1), hexFlip(trailed.pieces.at(-1) as Buffer)] },
    ]
    for (const request of tampered) {
      expect(outcome(await put('tampered', request))).toBe('403 SignatureDoesNotMatch')
      expect(outcome(await send('GET', 'tampered'))).toBe('404 NoSuchKey')
    }
  })

  test('a middle chunk below 8 KiB answers 400 InvalidChunkSizeError', async () => {
    expect(outcome(await put('small-chunks', sign('small-chunks', [Buffer.alloc(100, 1), Buffer.alloc(9000, 2)])))).toBe('400 InvalidChunkSizeError')
    expect(outcome(await send('GET', 'small-chunks'))).toBe('404 NoSuchKey')
  })

  test('a signature of the request that is wrong is refused whatever the chunks are, also with unsigned chunks', async () => {
    expect(outcome(await put('seed', signedChunks({ server, method: 'PUT', path: `/${bucket}/seed`, secretAccessKey: 'wrong' }, chunks)))).toBe('403 SignatureDoesNotMatch')
    const body = Buffer.from('5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n')
    const headers = { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '5', 'x-amz-trailer': 'x-amz-checksum-crc32', 'content-length': String(body.length) }
    for (const secretAccessKey of ['wrong', server.secretAccessKey]) {
      const signed = signHeaders({ server, method: 'PUT', path: `/${bucket}/seed`, payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', headers, secretAccessKey })
      const answer = await sendRequest({ server, method: 'PUT', path: signed.path, headers: signed.headers, body })
      expect(outcome(answer)).toBe(secretAccessKey === 'wrong' ? '403 SignatureDoesNotMatch' : '200')
      expect((await send('GET', 'seed')).status).toBe(secretAccessKey === 'wrong' ? 404 : 200)
    }
  })
})

test('a hash of the body in place of UNSIGNED-PAYLOAD is verified on every method that has a body', async () => {
  const payload = createHash('sha256').update('other').digest('hex')
  for (const [method, target, body] of [['PUT', 'k', 'x'], ['PUT', '?tagging', '<Tagging><TagSet/></Tagging>'], ['POST', '?delete', '<Delete><Object><Key>k</Key></Object></Delete>']] as const) {
    expect(outcome(await send(method, target, { body, headers: { 'x-amz-content-sha256': payload } })), `${method} ${target}`).toBe('400 XAmzContentSHA256Mismatch')
  }
  expect((await send('GET', 'k')).text).toBe('secret bytes')
})
