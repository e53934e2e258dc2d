import type { ExpectedDigests, RequestBody } from '../../blobs/blobs.ts'
import { S3Error } from '../../domain/errors.ts'
import type { ChecksumAlgorithm } from '../../domain/model.ts'

/** The body's length, which S3 wants to know before it takes a byte: 411 without one, 400 above the limit. */
export function declaredLength(body: RequestBody, bytesMax: number): number {
  if (body.length === null) throw new S3Error('MissingContentLength')
  if (body.length > bytesMax) throw new S3Error('EntityTooLarge', undefined, { fields: { ProposedSize: String(body.length), MaxSizeAllowed: String(bytesMax) } })
  return body.length
}

/**
 * Which checksum to compute: the one that the client sent or announced, else CRC64NVME, as S3 does by default.
 * Source: Amazon S3 user guide, "Checking object integrity".
 */
export function digestAlgorithm(expect: ExpectedDigests, otherwise: ChecksumAlgorithm | null = null): ChecksumAlgorithm {
  return expect.checksum?.algorithm ?? expect.trailer ?? otherwise ?? 'CRC64NVME'
}
