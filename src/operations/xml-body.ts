import { createHash, timingSafeEqual } from 'node:crypto'
import type { Readable } from 'node:stream'
import { createChunkVerifier } from '../auth/chunk-signature.ts'
import type { RequestBody } from '../blobs/blobs.ts'
import { checksumAlgorithms, checksumHeaderName, digestOf } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import { xmlBytesMax } from '../domain/limits.ts'
import { createChunkedDecoder } from '../protocol/aws-chunked.ts'
import { contentMd5, expectedDigests } from '../protocol/headers.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Reads a small document body whole and verifies every digest and signature that the request gives of it.
 * `checksumOf`: what an x-amz-checksum-* header is about; one that is about an object is left to the operation.
 * Throws MaxMessageLengthExceeded, IncompleteBody, XAmzContentSHA256Mismatch, BadDigest, SignatureDoesNotMatch, MalformedXML (not UTF-8).
 */
export async function readXml(request: S3Request, body: RequestBody, checksumOf: 'document' | 'object'): Promise<string> {
  const wire = await readWhole(request, body)
  const document = decode(wire, body, request.headers.get('x-amz-trailer')?.trim().toLowerCase())
  checkSha256(body, document)
  checkDigests(request, document, checksumOf)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(document)
  } catch (cause) {
    throw new S3Error('MalformedXML', undefined, { cause })
  }
}

/**
 * Reads the body to its end, as it came. Also that of an operation that takes none: what HTTP cannot parse is refused while the body
 * comes, and a refused request must have done nothing. Throws MaxMessageLengthExceeded, IncompleteBody.
 */
export async function readWhole(request: S3Request, { wireLength }: RequestBody): Promise<Buffer> {
  if ((wireLength ?? 0) > xmlBytesMax) throw new S3Error('MaxMessageLengthExceeded', undefined, { fields: { MaxMessageLengthBytes: String(xmlBytesMax) } })
  request.sendContinue()
  const wire = await collect(request.stream, xmlBytesMax)
  if (wireLength !== null && wire.length !== wireLength) throw new S3Error('IncompleteBody')
  return wire
}

function collect(stream: Readable, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > bytesMax) {
        stream.removeAllListeners('data')
        reject(new S3Error('MaxMessageLengthExceeded', undefined, { fields: { MaxMessageLengthBytes: String(bytesMax) } }))
      } else chunks.push(chunk)
    })
    stream.once('end', () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)))
    stream.once('error', () => reject(new S3Error('IncompleteBody')))
    stream.once('close', () => reject(new S3Error('IncompleteBody')))
  })
}

/** Takes off aws-chunked framing and verifies the chunks' signatures; the trailing checksum becomes an expected digest of its own. */
function decode(wire: Buffer, { payload, length }: RequestBody, announced: string | undefined): Buffer {
  if (payload.kind !== 'chunked-signed' && payload.kind !== 'chunked-unsigned') return wire
  if (length === null) throw new S3Error('MissingContentLength')
  const pieces: Uint8Array[] = []
  const verifier = payload.kind === 'chunked-signed' ? createChunkVerifier(payload.chain) : null
  let signature: string | null = null
  const decoder = createChunkedDecoder({
    signed: verifier !== null, trailer: payload.trailer, decodedLength: length,
    onChunkStart: (chunkSignature) => { signature = chunkSignature },
    onData: (bytes) => { pieces.push(bytes); verifier?.update(bytes) },
    onChunkEnd: () => verifier?.endChunk(signature ?? ''),
  })
  decoder.push(wire)
  const end = decoder.finish()
  if (verifier !== null && payload.trailer) verifier.endTrailer(end.trailerText, end.trailerSignature ?? '')
  const document = Buffer.concat(pieces)
  checkTrailers(new Map(end.trailers), announced, document)
  return document
}

/** The same rule as for object bodies: the checksum that was announced has to come, and no other. */
function checkTrailers(trailers: ReadonlyMap<string, string>, announced: string | undefined, document: Buffer): void {
  for (const algorithm of checksumAlgorithms) {
    const value = trailers.get(checksumHeaderName(algorithm))
    if ((value !== undefined) !== (checksumHeaderName(algorithm) === announced)) throw new S3Error('MalformedTrailerError')
    if (value !== undefined && digestOf(algorithm, document) !== value) throw new S3Error('BadDigest')
  }
}

function checkSha256({ payload }: RequestBody, document: Buffer): void {
  if (payload.kind === 'sha256' && !timingSafeEqual(createHash('sha256').update(document).digest(), Buffer.from(payload.hex, 'hex'))) {
    throw new S3Error('XAmzContentSHA256Mismatch', undefined, { fields: { ClientComputedContentSHA256: payload.hex } })
  }
}

function checkDigests({ headers }: S3Request, document: Buffer, checksumOf: 'document' | 'object'): void {
  const md5 = contentMd5(headers)
  if (md5 !== undefined && digestOf('MD5', document) !== md5) throw new S3Error('BadDigest')
  const checksum = checksumOf === 'document' ? expectedDigests(headers).checksum : undefined
  if (checksum !== undefined && digestOf(checksum.algorithm, document) !== checksum.value) throw new S3Error('BadDigest')
}
