import type { ExpectedDigests } from '../blobs/blobs.ts'
import { algorithmByHeader, algorithmByName, checksumAlgorithms, checksumHeaderName, checksumTypes, isDigest } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import type { ChecksumAlgorithm, ChecksumType } from '../domain/model.ts'
import type { Headers } from './request.ts'

const invalid = (message: string): S3Error => new S3Error('InvalidRequest', message)

/** Content-MD5 as base64; undefined without one. Throws InvalidDigest when it is not base64 of 16 bytes. */
export function contentMd5(headers: Headers): string | undefined {
  const md5 = headers.get('content-md5')
  if (md5 !== undefined && !isDigest('MD5', md5)) throw new S3Error('InvalidDigest', undefined, { fields: { 'Content-MD5': md5 } })
  return md5
}

/**
 * The digests that a client announced for a body. Throws InvalidDigest for a Content-MD5 that is not base64 of 16 bytes;
 * InvalidRequest for more than one checksum, a value of the wrong length, an unknown trailer, or
 * x-amz-sdk-checksum-algorithm without the checksum it names. Source: Amazon S3 user guide, "Checking object integrity".
 */
export function expectedDigests(headers: Headers): ExpectedDigests {
  const md5 = contentMd5(headers)
  const checksum = checksumHeader(headers)
  const trailer = trailerChecksum(headers)
  if (checksum && trailer) throw invalid('Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.')
  const named = headers.get('x-amz-sdk-checksum-algorithm')
  // Beside a checksum or a trailer the name says nothing more, and S3 ignores it.
  if (named !== undefined && !checksum && !trailer) {
    throw invalid('x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.')
  }
  return {
    ...md5 === undefined ? {} : { md5 },
    ...checksum === undefined ? {} : { checksum },
    ...trailer === undefined ? {} : { trailer },
  }
}

/** The one x-amz-checksum-* header with a digest; `suffix` is what may stand behind the digest. */
function checksumHeader(headers: Headers, suffix?: RegExp): ExpectedDigests['checksum'] {
  const present = checksumAlgorithms.filter((algorithm) => headers.has(checksumHeaderName(algorithm)))
  if (present.length > 1) throw invalid('Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.')
  const [algorithm] = present
  if (algorithm === undefined) return undefined
  const name = checksumHeaderName(algorithm)
  const value = headers.get(name) ?? ''
  if (!isDigest(algorithm, suffix ? value.replace(suffix, '') : value)) throw invalid(`Value for ${name} header is invalid.`)
  return { algorithm, value }
}

function trailerChecksum(headers: Headers): ChecksumAlgorithm | undefined {
  const trailer = headers.get('x-amz-trailer')
  if (trailer === undefined) return undefined
  const algorithm = algorithmByHeader(trailer.trim().toLowerCase())
  if (algorithm === undefined) throw invalid('The value specified in the x-amz-trailer header is not supported')
  return algorithm
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
  if (name === undefined) {
    if (headers.has('x-amz-checksum-type')) throw invalid('The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.')
    return { algorithm: null, type: null }
  }
  const algorithm = knownAlgorithm(name)
  const types = checksumTypes(algorithm)
  const type = checksumTypeHeader(headers)
  if (type === null) return { algorithm, type: types[0] ?? null }
  if (!types.includes(type)) throw invalid(`The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`)
  return { algorithm, type }
}

/** x-amz-checksum-type, null without it. Throws InvalidRequest for a type that S3 does not have. */
export function checksumTypeHeader(headers: Headers): ChecksumType | null {
  const value = headers.get('x-amz-checksum-type')
  if (value === undefined) return null
  const type = value.toUpperCase()
  if (type !== 'FULL_OBJECT' && type !== 'COMPOSITE') throw invalid('Value for x-amz-checksum-type header is invalid.')
  return type
}

/** x-amz-checksum-algorithm of CopyObject: what to compute for the copy; null keeps the source's checksum. */
export function copyChecksumAlgorithm(headers: Headers): ChecksumAlgorithm | null {
  const name = headers.get('x-amz-checksum-algorithm')
  return name === undefined ? null : knownAlgorithm(name)
}

/**
 * The x-amz-checksum-* header of CompleteMultipartUpload: the whole object's, which may be a composite value with `-N`;
 * null without one. Throws InvalidRequest for more than one or a value of the wrong form.
 */
export function objectChecksum(headers: Headers): { readonly algorithm: ChecksumAlgorithm; readonly value: string } | null {
  return checksumHeader(headers, /-[1-9]\d{0,4}$/) ?? null
}

function knownAlgorithm(name: string): ChecksumAlgorithm {
  const algorithm = algorithmByName(name)
  if (algorithm === undefined) {
    throw invalid(`Checksum algorithm provided is unsupported. Please try again with any of the valid types: [${checksumAlgorithms.join(', ')}]`)
  }
  return algorithm
}
