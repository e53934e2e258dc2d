import { deleteConditions, refuseUnsupported } from '../../protocol/headers.ts'
import { refusal, versionIdHeader, versionIdParam } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'

export const deleteObject = bucketOperation({
  name: 'DeleteObject', route: 'DELETE object', action: 's3:DeleteObject', versionedAction: 's3:DeleteObjectVersion', body: 'none',
  input(request) {
    refuseUnsupported(request.http.headers)
    return { key: request.key, versionId: versionIdParam(request), when: deleteConditions(request.http.headers) }
  },
  async run(input, { bucket, metadata, principal }) {
    const result = await metadata.commit({
      kind: 'delete', bucketId: bucket.id, key: input.key, ownerAccountId: principal.account.id, when: input.when,
      ...(input.versionId === undefined ? {} : { versionId: input.versionId }),
    })
    if (!result.ok) {
      // Deleting what is not there succeeds; only a condition makes absence an error.
      const conditional = Object.keys(input.when).length > 0
      if (result.code === 'NoSuchVersion' && !conditional) return { status: 204, headers: versionIdHeader(bucket.versioning, input.versionId ?? null) }
      throw refusal(result, { bucket, key: input.key, versionId: input.versionId ?? '' })
    }
    return {
      status: 204,
      headers: { ...versionIdHeader(result.versioning, result.versionId), 'x-amz-delete-marker': result.deleteMarker ? 'true' : undefined },
    }
  },
})
