import { checksumHeaderName } from '../../checksums/algorithms.ts'
import { S3Error } from '../../domain/errors.ts'
import { partBytesMax, partNumberMax } from '../../domain/limits.ts'
import type { ChecksumAlgorithm, MultipartUpload } from '../../domain/model.ts'
import { expectedDigests, refuseUnsupported } from '../../protocol/headers.ts'
import { integerParam, invalidArgument, refusal } from '../inputs.ts'
import { declaredLength, digestAlgorithm } from '../objects/body.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'

export const uploadPart = bucketOperation({
  name: 'UploadPart', route: 'PUT object ?partNumber&uploadId', action: 's3:PutObject', body: 'stream',
  input(request) {
    refuseUnsupported(request.http.headers)
    return { ...partTarget(request), expect: expectedDigests(request.http.headers) }
  },
  async run(input, context) {
    const { bucket, metadata, blobs, requestBody } = context
    declaredLength(requestBody, partBytesMax)
    const upload = await openUpload(input, context)
    const algorithm = digestAlgorithm(input.expect, upload.checksumAlgorithm)
    refuseOtherAlgorithm(upload, algorithm)
    const written = await blobs.write(requestBody, { expect: input.expect, algorithm, owner: { bucketId: bucket.id, key: input.key }, bytesMax: partBytesMax })
    const result = await metadata.commit({
      kind: 'put-part', bucketId: bucket.id, key: input.key, uploadId: input.uploadId,
      part: { partNumber: input.partNumber, size: written.size, etag: written.md5, checksum: written.checksum, manifest: written.manifest },
    })
    if (!result.ok) throw refusal(result, { bucket, key: input.key, uploadId: input.uploadId })
    return { status: 200, headers: { etag: `"${written.md5}"`, [checksumHeaderName(written.checksum.algorithm)]: written.checksum.value } }
  },
})

export interface PartTarget {
  readonly key: string
  readonly uploadId: string
  readonly partNumber: number
}

export function partTarget(request: OperationRequest): PartTarget {
  const text = request.http.query.get('partNumber') ?? ''
  const partNumber = integerParam(request, 'partNumber', 1, partNumberMax)
  if (partNumber === undefined) throw invalidArgument('partNumber', text, `Part number must be an integer between 1 and ${partNumberMax}, inclusive`)
  return { key: request.key, uploadId: request.http.query.get('uploadId') ?? '', partNumber }
}

export async function openUpload({ key, uploadId }: { key: string; uploadId: string }, { bucket, metadata }: BucketContext): Promise<MultipartUpload> {
  const upload = await metadata.upload(bucket.id, key, uploadId)
  if (upload === null) throw refusal({ ok: false, code: 'NoSuchUpload' }, { bucket, key, uploadId })
  return upload
}

/** Parts of one upload share the algorithm that the upload was created with. Source: Amazon S3 user guide, "Checking object integrity". */
function refuseOtherAlgorithm(upload: MultipartUpload, algorithm: ChecksumAlgorithm): void {
  if (upload.checksumAlgorithm === null || upload.checksumAlgorithm === algorithm) return
  throw new S3Error('InvalidRequest', `Checksum Type mismatch occurred, expected checksum Type: ${upload.checksumAlgorithm.toLowerCase()}, actual checksum Type: ${algorithm.toLowerCase()}`)
}
