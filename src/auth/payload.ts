import { S3Error } from '../domain/errors.ts'
import type { ChunkChain, PayloadSignature } from '../blobs/blobs.ts'

/** What `x-amz-content-sha256` may say. */

const sha256Hex = /^[0-9a-fA-F]{64}$/
export const unsignedPayload = 'UNSIGNED-PAYLOAD'

/** A payload's signature before it is known with which key its chunks are signed. */
export type AnnouncedPayload = Exclude<PayloadSignature, { kind: 'chunked-signed' }> | { readonly kind: 'chunked-signed'; readonly trailer: boolean }

/**
 * Reads x-amz-content-sha256. Errors: InvalidArgument for a value that S3 does not know, NotImplemented for signatures by elliptic
 * curves (SigV4A).
 */
export function announcedPayload(value: string): AnnouncedPayload {
  switch (value) {
    case unsignedPayload:
      return { kind: 'unsigned' }
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'chunked-unsigned', trailer: true }
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return { kind: 'chunked-signed', trailer: false }
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return { kind: 'chunked-signed', trailer: true }
    case 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD':
    case 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER':
      throw new S3Error('NotImplemented', 'AWS4-ECDSA-P256-SHA256 signatures are not implemented.')
  }
  if (value.length === 64 && sha256Hex.test(value)) return { kind: 'sha256', hex: value.toLowerCase() }
  throw new S3Error(
    'InvalidArgument',
    'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, '
      + 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.',
    { fields: { ArgumentName: 'x-amz-content-sha256', ArgumentValue: value } },
  )
}

/** Adds the chain of chunk signatures where the payload has one. */
export function chainedPayload(announced: AnnouncedPayload, chain: () => ChunkChain): PayloadSignature {
  return announced.kind === 'chunked-signed' ? { ...announced, chain: chain() } : announced
}
