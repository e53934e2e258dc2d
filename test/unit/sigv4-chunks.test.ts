import { describe, expect, test } from 'vitest'
import { createAuth } from '../../src/auth/auth.ts'
import { createChunkVerifier } from '../../src/auth/chunk-signature.ts'
import { createChunkedDecoder } from '../../src/protocol/aws-chunked.ts'
import { accessKey, s3Request } from './fixtures/auth-request.ts'

/**
 * The examples of the Amazon S3 API reference, "Transferring payload in multiple chunks" and "Signature calculations for trailing
 * headers": 65 KiB of `a` in chunks of 64 KiB, 1 KiB and nothing.
 */
const date = Date.UTC(2013, 4, 24)
const auth = createAuth({ region: 'us-east-1', signatureV2: 'on', publicHost: null, now: () => date, accessKey: async () => accessKey() })
const credential = 'Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request'

const plain = {
  seed: '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
  chunks: [
    'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
    '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
    'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
  ],
  trailer: '',
}
const trailing = {
  seed: '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
  chunks: [
    'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
    '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
    '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
  ],
  trailer: 'd81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435',
}

const upload = (seed: string, withTrailer: boolean) => s3Request('PUT', '/examplebucket/chunkObject.txt', [
  ['Host', 's3.amazonaws.com'],
  ['x-amz-date', '20130524T000000Z'],
  ['x-amz-storage-class', 'REDUCED_REDUNDANCY'],
  ['Authorization', `AWS4-HMAC-SHA256 ${credential},SignedHeaders=content-encoding;${withTrailer ? '' : 'content-length;'}host;`
    + `x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class${withTrailer ? ';x-amz-trailer' : ''},Signature=${seed}`],
  ['x-amz-content-sha256', `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${withTrailer ? '-TRAILER' : ''}`],
  ['Content-Encoding', 'aws-chunked'],
  ['x-amz-decoded-content-length', '66560'],
  ...withTrailer ? [['x-amz-trailer', 'x-amz-checksum-crc32c'] as const] : [['Content-Length', '66824'] as const],
], { scope: 'object', bucket: 'examplebucket', key: 'chunkObject.txt' })

async function verifier(example: typeof plain) {
  const { payload } = await auth.authenticate(upload(example.seed, example.trailer !== ''))
  if (payload.kind !== 'chunked-signed') throw new Error(payload.kind)
  return createChunkVerifier(payload.chain)
}

const a = (length: number) => Buffer.alloc(length, 'a')

for (const [name, example] of Object.entries({ plain, trailing })) {
  describe(`the ${name} example`, () => {
    test('is accepted chunk by chunk', async () => {
      const chain = await verifier(example)
      chain.update(a(60_000))
      chain.update(a(5_536))
      chain.endChunk(example.chunks[0] ?? '')
      chain.update(a(1024))
      chain.endChunk(example.chunks[1] ?? '')
      chain.endChunk(example.chunks[2] ?? '')
      if (example.trailer !== '') chain.endTrailer('x-amz-checksum-crc32c:sOO8/Q==\n', example.trailer)
    })

    test('is refused with one byte changed', async () => {
      const chain = await verifier(example)
      chain.update(a(65_535))
      chain.update(Buffer.from('b'))
      expect(() => chain.endChunk(example.chunks[0] ?? '')).toThrow(expect.objectContaining({ code: 'SignatureDoesNotMatch' }))
    })
  })
}

test('chunks in another order, and a missing signature, are refused', async () => {
  const swapped = await verifier(plain)
  swapped.update(a(1024))
  expect(() => swapped.endChunk(plain.chunks[1] ?? '')).toThrow(expect.objectContaining({ code: 'SignatureDoesNotMatch' }))
  const bare = await verifier(plain)
  bare.update(a(65_536))
  expect(() => bare.endChunk(null)).toThrow(expect.objectContaining({ code: 'SignatureDoesNotMatch' }))
})

test('a changed trailer is refused', async () => {
  const chain = await verifier(trailing)
  chain.update(a(65_536))
  chain.endChunk(trailing.chunks[0] ?? '')
  chain.update(a(1024))
  chain.endChunk(trailing.chunks[1] ?? '')
  chain.endChunk(trailing.chunks[2] ?? '')
  const end = () => chain.endTrailer('x-amz-checksum-crc32c:sOO8/A==\n', trailing.trailer)
  expect(end).toThrow(expect.objectContaining({ code: 'SignatureDoesNotMatch' }))
})

test('a wrong seed signature never reaches the body', async () => {
  await expect(auth.authenticate(upload(plain.seed.replace('4', '5'), false))).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' })
})

test('decoder and verifier together take the framed example', async () => {
  const chain = await verifier(trailing)
  const header = (length: number, index: number) => `${length.toString(16)};chunk-signature=${trailing.chunks[index]}\r\n`
  const body = `${header(65_536, 0)}${'a'.repeat(65_536)}\r\n${header(1024, 1)}${'a'.repeat(1024)}\r\n${header(0, 2)}`
    + `x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:${trailing.trailer}\r\n\r\n`
  let length = 0
  const decoder = createChunkedDecoder({
    signed: true,
    trailer: true,
    decodedLength: 66_560,
    onData: (bytes) => {
      length += bytes.length
      chain.update(bytes)
    },
    onChunkEnd: (signature) => chain.endChunk(signature),
  })
  const bytes = Buffer.from(body)
  for (let at = 0; at < bytes.length; at += 1000) decoder.push(bytes.subarray(at, at + 1000))
  const end = decoder.finish()
  chain.endTrailer(end.trailerText, end.trailerSignature)
  expect(length).toBe(66_560)
})
