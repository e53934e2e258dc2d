import { putBytesMax } from '../../domain/limits.ts'
import { checksumHeaders, expectedDigests, objectMetadata, parseTaggingHeader, refuseUnsupported, writeConditions } from '../../protocol/headers.ts'
import type { WrittenBlob } from '../../blobs/blobs.ts'
import type { PreparedPut, PutCommand } from '../../metadata/store.ts'
import { refusal, refuseVersionAndPart, versionIdHeader } from '../inputs.ts'
import { bucketOperation, type OperationRequest } from '../operation.ts'
import { declaredLength, digestAlgorithm } from './body.ts'

export const putObject = bucketOperation({
  name: 'PutObject', route: 'PUT object', action: 's3:PutObject', body: 'stream',
  input(request: OperationRequest) {
    const { headers } = request.http
    refuseUnsupported(headers)
    refuseVersionAndPart(request)
    const expect = expectedDigests(headers)
    return {
      key: request.key, metadata: objectMetadata(headers), tags: parseTaggingHeader(headers.get('x-amz-tagging')),
      when: writeConditions(headers), expect, algorithm: digestAlgorithm(expect),
    }
  },
  async run(input, context) {
    const { bucket, metadata, blobs, requestBody, principal } = context
    if (input.tags.length > 0) context.authorise('s3:PutObjectTagging', bucket.name, input.key)
    declaredLength(requestBody, putBytesMax)
    const owner = { bucketId: bucket.id, key: input.key }
    const commandOf = (stored: WrittenBlob): PutCommand => ({
      kind: 'put', bucketId: bucket.id, key: input.key, ownerAccountId: principal.account.id, when: input.when,
      content: {
        size: stored.size, etag: stored.md5, metadata: input.metadata, tags: input.tags, checksum: stored.checksum,
        parts: null, manifest: stored.manifest, storageClass: 'STANDARD',
      },
      carried: stored.carried,
    })
    let command: PutCommand | null = null
    let prepared: PreparedPut | null = null
    const written = await blobs.write(requestBody, {
      expect: input.expect, algorithm: input.algorithm, owner, bytesMax: putBytesMax, mayBeCarried: () => metadata.mayCarry(),
      writing(foreseen) {
        command = foreseen && commandOf(foreseen)
        prepared = metadata.prepare(command ?? owner)
      },
    }).catch((error: unknown) => {
      prepared?.cancel()
      throw error
    })
    const result = await (prepared ?? metadata).commit(command ?? commandOf(written))
    if (!result.ok) throw refusal(result, { bucket, key: input.key })
    return {
      status: 200,
      headers: { etag: `"${written.md5}"`, ...checksumHeaders(written.checksum), ...versionIdHeader(result.versioning, result.version.versionId) },
    }
  },
})
