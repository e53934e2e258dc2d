import { checksumRequest, objectMetadata, parseTaggingHeader, refuseUnsupported } from '../../protocol/headers.ts'
import { element, renderXml } from '../../protocol/xml.ts'
import { refusal } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'

export const createMultipartUpload = bucketOperation({
  name: 'CreateMultipartUpload', route: 'POST object ?uploads', action: 's3:PutObject', body: 'none',
  input({ http: { headers }, key }) {
    refuseUnsupported(headers)
    return { key, metadata: objectMetadata(headers), tags: parseTaggingHeader(headers.get('x-amz-tagging')), checksum: checksumRequest(headers) }
  },
  async run(input, { bucket, metadata, principal, authorise }) {
    if (input.tags.length > 0) authorise('s3:PutObjectTagging', bucket.name, input.key)
    const { account, user } = principal
    const upload = await metadata.createUpload({
      bucketId: bucket.id, key: input.key, ownerAccountId: account.id, metadata: input.metadata, tags: input.tags,
      initiator: user === null ? { id: account.canonicalId, displayName: account.displayName } : { id: `arn:aws:iam::${account.id}:user${user.path}${user.name}`, displayName: user.name },
      checksumAlgorithm: input.checksum.algorithm, checksumType: input.checksum.type,
    })
    if (upload === null) throw refusal({ ok: false, code: 'NoSuchBucket' }, { bucket, key: input.key })
    return {
      status: 200,
      headers: { 'x-amz-checksum-algorithm': input.checksum.algorithm ?? undefined, 'x-amz-checksum-type': input.checksum.type ?? undefined },
      body: renderXml('InitiateMultipartUploadResult', [element('Bucket', bucket.name), element('Key', input.key), element('UploadId', upload.uploadId)]),
    }
  },
})
