import { createHash, createHmac, hash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { S3Error } from '../domain/errors.ts'
import { sameSignature } from './signing.ts'
import type { ChunkChain } from '../blobs/blobs.ts'

/**
 * Signatures of the chunks of one aws-chunked body: each covers its data and the signature before it, the first one the
 * request's. Holds all its state, so that it can live on a worker thread.
 * Source: Amazon S3 API reference, "Transferring payload in multiple chunks" and "Signature calculations for trailing headers".
 */
export interface ChunkVerifier {
  /** The next bytes of the current chunk's data. */
  update(bytes: Uint8Array): void
  /** Ends the chunk; the final one of no bytes has a signature too. Throws SignatureDoesNotMatch. */
  endChunk(signature: string | null): void
  /** `text` is one line `name:value\n` for each trailing header but the signature. Throws SignatureDoesNotMatch. */
  endTrailer(text: string, signature: string | null): void
}

const emptyHash = hash('sha256', '', 'hex')

/** Starts the chain at the request's own signature. */
export function createChunkVerifier(chain: ChunkChain): ChunkVerifier {
  let previous = chain.seedSignature
  let data: Hash | null = null

  function verify(toSign: string, signature: string | null): void {
    const expected = createHmac('sha256', chain.signingKey).update(toSign).digest('hex')
    if (signature === null || !sameSignature(expected, signature)) {
      throw new S3Error('SignatureDoesNotMatch', undefined, { fields: { StringToSign: toSign, SignatureProvided: signature ?? '' } })
    }
    previous = expected
  }

  return {
    update(bytes) {
      data ??= createHash('sha256')
      data.update(bytes)
    },
    endChunk(signature) {
      const dataHash = data === null ? emptyHash : data.digest('hex')
      data = null
      verify(`AWS4-HMAC-SHA256-PAYLOAD\n${chain.timestamp}\n${chain.scope}\n${previous}\n${emptyHash}\n${dataHash}`, signature)
    },
    endTrailer(text, signature) {
      verify(`AWS4-HMAC-SHA256-TRAILER\n${chain.timestamp}\n${chain.scope}\n${previous}\n${hash('sha256', text, 'hex')}`, signature)
    },
  }
}
