import { checksumElements, isoDate } from '../../protocol/headers.ts'
import { element, optional, renderXml } from '../../protocol/xml.ts'
import { integerParam, pageSize } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'
import { renderOwner } from '../owner.ts'
import { openUpload } from './upload-part.ts'

export const listParts = bucketOperation({
  name: 'ListParts', route: 'GET object ?uploadId', action: 's3:ListMultipartUploadParts', body: 'none',
  input: (request) => ({
    key: request.key, uploadId: request.http.query.get('uploadId') ?? '',
    after: integerParam(request, 'part-number-marker', 0, 2 ** 31 - 1) ?? 0, limit: pageSize(request, 'max-parts'),
  }),
  async run(input, context) {
    const upload = await openUpload(input, context)
    const { parts, truncated } = input.limit === 0 ? { parts: [], truncated: false } : await context.metadata.parts(input.uploadId, input)
    return {
      status: 200,
      body: renderXml('ListPartsResult', [
        element('Bucket', context.bucket.name), element('Key', input.key), element('UploadId', input.uploadId),
        element('PartNumberMarker', input.after), element('NextPartNumberMarker', parts.at(-1)?.partNumber ?? 0),
        element('MaxParts', input.limit), element('IsTruncated', truncated),
        ...parts.map((part) => element('Part', [
          element('PartNumber', part.partNumber), element('LastModified', isoDate(part.lastModified)), element('ETag', `"${part.etag}"`), element('Size', part.size),
          ...(upload.checksumAlgorithm === null || part.checksum === null ? [] : checksumElements(part.checksum, { typed: false })),
        ])),
        element('Initiator', [element('ID', upload.initiator.id), element('DisplayName', upload.initiator.displayName)]),
        await renderOwner('Owner', upload.ownerAccountId, context),
        element('StorageClass', upload.storageClass),
        ...optional('ChecksumAlgorithm', upload.checksumAlgorithm), ...optional('ChecksumType', upload.checksumType),
      ]),
    }
  },
})
