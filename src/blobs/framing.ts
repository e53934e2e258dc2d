import { checksumAlgorithms, checksumHeaderName } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import { createChunkedDecoder } from '../protocol/aws-chunked.ts'
import type { DigestEnd } from '../workers/digester.ts'
import type { ExpectedDigests, PayloadSignature, RequestBody } from './blobs.ts'
import type { Framed, Framing, Trailer } from './receive.ts'

/** How the body is framed inside HTTP's own framing: aws-chunked, or not at all (null). */
export function framingOf(body: RequestBody): ((sink: Framed) => Framing) | null {
  const { payload } = body
  if (payload.kind === 'sha256' || payload.kind === 'unsigned') return null
  return (sink) => {
    const decoder = createChunkedDecoder({
      signed: payload.kind === 'chunked-signed',
      trailer: payload.trailer,
      decodedLength: body.length ?? Number.MAX_SAFE_INTEGER,
      onData: (bytes) => sink.bytes(bytes),
      onChunkEnd: (signature) => {
        if (signature !== null) sink.mark(signature)
      },
    })
    return {
      push: (bytes) => decoder.push(bytes),
      finish() {
        const end = decoder.finish()
        return { fields: new Map(end.trailers), text: end.trailerText, signature: end.trailerSignature }
      },
    }
  }
}

/** One object for all bodies of which nothing was announced. */
const nothingAnnounced: DigestEnd = { checksums: [], trailer: null }

/**
 * What the digests must come to, from the headers and the trailer. Errors: MalformedTrailerError when the announced checksum
 * did not come, when one came that was not announced, or when a signed trailer has no signature.
 */
export function trailerEnd(expect: ExpectedDigests, payload: PayloadSignature, trailer: Trailer | null): DigestEnd {
  if (trailer === null && expect.checksum === undefined && expect.trailer === undefined && payload.kind !== 'chunked-signed') return nothingAnnounced
  const checksums = expect.checksum === undefined ? [] : [expect.checksum]
  for (const algorithm of checksumAlgorithms) {
    const value = trailer?.fields.get(checksumHeaderName(algorithm))
    if ((value !== undefined) !== (algorithm === expect.trailer)) throw new S3Error('MalformedTrailerError')
    if (value !== undefined) checksums.push({ algorithm, value })
  }
  if (payload.kind !== 'chunked-signed' || !payload.trailer) return { checksums, trailer: null }
  if (trailer === null || trailer.signature === null) throw new S3Error('MalformedTrailerError')
  return { checksums, trailer: { text: trailer.text, signature: trailer.signature } }
}
