import { refusal } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'

export const abortMultipartUpload = bucketOperation({
  name: 'AbortMultipartUpload', route: 'DELETE object ?uploadId', action: 's3:AbortMultipartUpload', body: 'none',
  input: (request) => ({ key: request.key, uploadId: request.http.query.get('uploadId') ?? '' }),
  async run(input, { bucket, metadata }) {
    const result = await metadata.commit({ kind: 'abort', bucketId: bucket.id, ...input })
    if (!result.ok) throw refusal(result, { bucket, ...input })
    return { status: 204 }
  },
})
