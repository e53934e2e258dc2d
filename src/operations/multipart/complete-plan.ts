import { checksumTypes, combineEtags, combineFullObject, compositeOf } from '../../checksums/algorithms.ts'
import { S3Error } from '../../domain/errors.ts'
import { objectBytesMax, partBytesMin } from '../../domain/limits.ts'
import { joinManifests } from '../../domain/manifest.ts'
import type { Checksum, ChecksumAlgorithm, ChecksumType, MultipartUpload, Part, VersionContent } from '../../domain/model.ts'

/** What the client's list says of one part. */
export interface NamedPart {
  readonly partNumber: number
  /** Without quotes. */
  readonly etag: string
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly value: string } | null
}

export interface CompleteRequest {
  readonly named: readonly NamedPart[]
  /** The x-amz-checksum-* header: the whole object's. */
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly value: string } | null
  readonly checksumType: ChecksumType | null
  /** x-amz-mp-object-size. */
  readonly size: number | null
}

/**
 * The content of the version that a CompleteMultipartUpload makes, or S3's error. Pure: runs under the upload's lock.
 * Source: Amazon S3 API reference, CompleteMultipartUpload, and the user guide on checksums of multipart uploads.
 */
export function planComplete(request: CompleteRequest, upload: MultipartUpload, stored: readonly Part[]): { content: VersionContent } | { error: S3Error } {
  try {
    return { content: content(request, upload, stored) }
  } catch (error) {
    if (error instanceof S3Error) return { error }
    throw error
  }
}

function content(request: CompleteRequest, upload: MultipartUpload, stored: readonly Part[]): VersionContent {
  checkOrder(request.named)
  const parts = chosenParts(request.named, upload, stored)
  checkSizes(parts)
  const size = parts.reduce((sum, part) => sum + part.size, 0)
  if (size > objectBytesMax) throw new S3Error('EntityTooLarge', undefined, { fields: { ProposedSize: String(size), MaxSizeAllowed: String(objectBytesMax) } })
  if (request.size !== null && request.size !== size) {
    throw new S3Error('InvalidRequest', `The provided 'x-amz-mp-object-size' header value ${request.size} does not match what was computed: ${size}.`)
  }
  const checksum = wholeChecksum(upload, parts)
  checkWhole(request, checksum)
  return {
    size, checksum, etag: combineEtags(parts.map((part) => part.etag)), metadata: upload.metadata, tags: upload.tags, storageClass: upload.storageClass,
    manifest: joinManifests(parts.map((part) => part.manifest)),
    parts: parts.map((part) => ({ partNumber: part.partNumber, size: part.size, checksum: upload.checksumAlgorithm === null ? null : (part.checksum?.value ?? null) })),
  }
}

function checkOrder(named: readonly NamedPart[]): void {
  for (let i = 1; i < named.length; i++) {
    if ((named[i]?.partNumber ?? 0) <= (named[i - 1]?.partNumber ?? 0)) throw new S3Error('InvalidPartOrder')
  }
}

function chosenParts(named: readonly NamedPart[], upload: MultipartUpload, stored: readonly Part[]): Part[] {
  const byNumber = new Map(stored.map((part) => [part.partNumber, part]))
  return named.map((one) => {
    const part = byNumber.get(one.partNumber)
    const fields = { UploadId: upload.uploadId, PartNumber: String(one.partNumber), ETag: one.etag }
    if (part === undefined || part.etag !== one.etag) throw new S3Error('InvalidPart', undefined, { fields })
    if (one.checksum !== null && part.checksum?.algorithm === one.checksum.algorithm && part.checksum.value !== one.checksum.value) throw new S3Error('InvalidPart', undefined, { fields })
    if (upload.checksumType === 'COMPOSITE' && one.checksum === null) {
      const algorithm = upload.checksumAlgorithm?.toLowerCase() ?? ''
      throw new S3Error('InvalidRequest', `The upload was created using a ${algorithm} checksum. The complete request must include the checksum for each part. `
        + `It was missing for part ${one.partNumber} in the request.`)
    }
    return part
  })
}

function checkSizes(parts: readonly Part[]): void {
  for (const part of parts.slice(0, -1)) {
    if (part.size < partBytesMin) {
      const fields = { ProposedSize: String(part.size), MinSizeAllowed: String(partBytesMin), PartNumber: String(part.partNumber), ETag: part.etag }
      throw new S3Error('EntityTooSmall', undefined, { fields })
    }
  }
}

/** Null when the parts were sent with different algorithms, or one that does not combine, and the upload named none. */
function wholeChecksum(upload: MultipartUpload, parts: readonly Part[]): Checksum | null {
  const algorithm = upload.checksumAlgorithm ?? parts[0]?.checksum?.algorithm
  if (algorithm === undefined || parts.some((part) => part.checksum?.algorithm !== algorithm)) return null
  const values = parts.map((part) => ({ value: part.checksum?.value ?? '', size: part.size }))
  // Without a wish of the client the whole object's is better: it can be checked against a local file.
  const wholeCombines = checksumTypes(algorithm).includes('FULL_OBJECT')
  const type = upload.checksumType ?? (wholeCombines ? 'FULL_OBJECT' : 'COMPOSITE')
  return type === 'FULL_OBJECT' ? combineFullObject(algorithm, values) : compositeOf(algorithm, values.map((part) => part.value))
}

function checkWhole(request: CompleteRequest, checksum: Checksum | null): void {
  if (request.checksumType !== null && checksum !== null && request.checksumType !== checksum.type) {
    throw new S3Error('InvalidRequest', `The upload was created using the ${checksum.type} checksum mode. The complete request must use the same checksum mode.`)
  }
  if (request.checksum === null) return
  // The client may leave away the `-N` of a composite value.
  const own = checksum?.algorithm === request.checksum.algorithm ? checksum.value : undefined
  if (own === undefined || (own !== request.checksum.value && own.replace(/-\d+$/, '') !== request.checksum.value)) throw new S3Error('BadDigest')
}
