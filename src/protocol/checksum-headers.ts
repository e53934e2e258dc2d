import type { ExpectedDigests } from '../blobs/blobs.ts'
import { algorithmByHeader, algorithmByName, checksumAlgorithms, checksumHeaderName, checksumTypes, isDigest } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import type { ChecksumAlgorithm, ChecksumType } from '../domain/model.ts'
import type { Headers } from './request.ts'

const invalid = (message: string): S3Error => new S3Error('InvalidRequest', message)

/**
 * The digests that a client announced for a body. Throws InvalidDigest for a Content-MD5 that is not base64 of 16 bytes;
 * InvalidRequest for more than one checksum, a value of the wrong length, an unknown trailer, or
 * x-amz-sdk-checksum-algorithm without the checksum it names. Source: Amazon S3 user guide, "Checking object integrity".
 */
export function expectedDigests(headers: Headers): ExpectedDigests {
  const md5 = headers.get('content-md5')
  if (md5 !== undefined && !isDigest('MD5', md5)) throw new S3Error('InvalidDigest', undefined, { fields: { 'Content-MD5': md5 } })
  const checksum = checksumHeader(headers)
  const trailer = trailerChecksum(headers)
  if (checksum && trailer) throw invalid('Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.')
  const named = headers.get('x-amz-sdk-checksum-algorithm')
  if (named !== undefined) checkNamed(named, checksum?.algorithm ?? trailer)
  return {
    ...md5 === undefined ? {} : { md5 },
    ...checksum === undefined ? {} : { checksum },
    ...trailer === undefined ? {} : { trailer },
  }
}

/** The one x-amz-checksum-* header with a digest. */
function checksumHeader(headers: Headers): ExpectedDigests['checksum'] {
  const present = checksumAlgorithms.filter((algorithm) => headers.has(checksumHeaderName(algorithm)))
  if (present.length > 1) throw invalid('Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.')
  const [algorithm] = present
  if (algorithm === undefined) return undefined
  const name = checksumHeaderName(algorithm)
  const value = headers.get(name) ?? ''
  if (!isDigest(algorithm, value)) throw invalid(`Value for ${name} header is invalid.`)
  return { algorithm, value }
}

function trailerChecksum(headers: Headers): ChecksumAlgorithm | undefined {
  const trailer = headers.get('x-amz-trailer')
  if (trailer === undefined) return undefined
  const algorithm = algorithmByHeader(trailer.trim().toLowerCase())
  if (algorithm === undefined) throw invalid('The value specified in the x-amz-trailer header is not supported')
  return algorithm
}

function checkNamed(named: string, sent: ChecksumAlgorithm | undefined): void {
  const algorithm = algorithmByName(named)
  if (algorithm === undefined) throw invalid('Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]')
  if (sent === undefined) throw invalid('x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.')
  if (sent !== algorithm) throw invalid('Value for x-amz-sdk-checksum-algorithm header is invalid.')
}

export interface ChecksumRequest {
  readonly algorithm: ChecksumAlgorithm | null
  readonly type: ChecksumType | null
}

/**
 * x-amz-checksum-algorithm and x-amz-checksum-type of CreateMultipartUpload; nulls when the client names none. Without a
 * type it is the algorithm's default. Throws InvalidRequest for an unknown name, a type alone, or a pair that S3 does not
 * have: CRC64NVME is FULL_OBJECT only, the SHA family COMPOSITE only.
 */
export function checksumRequest(headers: Headers): ChecksumRequest {
  const name = headers.get('x-amz-checksum-algorithm')
  const typeName = headers.get('x-amz-checksum-type')?.toUpperCase()
  if (name === undefined) {
    if (typeName !== undefined) throw invalid('The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.')
    return { algorithm: null, type: null }
  }
  const algorithm = algorithmByName(name)
  if (algorithm === undefined) throw invalid('Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]')
  const types = checksumTypes(algorithm)
  if (typeName === undefined) return { algorithm, type: types[0] ?? null }
  if (typeName !== 'FULL_OBJECT' && typeName !== 'COMPOSITE') throw invalid('Value for x-amz-checksum-type header is invalid.')
  if (!types.includes(typeName)) throw invalid(`The ${typeName} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`)
  return { algorithm, type: typeName }
}
