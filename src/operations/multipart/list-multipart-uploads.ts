import type { MultipartUpload } from '../../domain/model.ts'
import { isoDate } from '../../protocol/headers.ts'
import { element, encodeKey, optional, renderXml, type XmlElement } from '../../protocol/xml.ts'
import { encodingTypeParam, pageSize } from '../inputs.ts'
import { renderOwner } from '../owner.ts'
import { bucketOperation, type BucketContext } from '../operation.ts'

export const listMultipartUploads = bucketOperation({
  name: 'ListMultipartUploads', route: 'GET bucket ?uploads', action: 's3:ListBucketMultipartUploads', body: 'none',
  input(request) {
    const { query } = request.http
    return {
      prefix: query.get('prefix') ?? '', delimiter: query.get('delimiter') ?? '', keyMarker: query.get('key-marker') ?? '',
      // An upload-id-marker without a key-marker is ignored. Source: API reference, ListMultipartUploads.
      uploadIdMarker: query.get('key-marker') ? (query.get('upload-id-marker') ?? '') : '',
      limit: pageSize(request, 'max-uploads'), encodingType: encodingTypeParam(request),
    }
  },
  async run(input, context) {
    const page = input.limit === 0
      ? { uploads: [], commonPrefixes: [], truncated: false, next: '', nextUploadId: null }
      : await context.metadata.listUploads(context.bucket.id, { ...input, after: input.keyMarker, ...(input.uploadIdMarker === '' ? {} : { afterUploadId: input.uploadIdMarker }) })
    const encode = (key: string): string => encodeKey(key, input.encodingType)
    const uploads = await Promise.all(page.uploads.map((upload) => renderUpload(upload, encode, context)))
    return {
      status: 200,
      body: renderXml('ListMultipartUploadsResult', [
        element('Bucket', context.bucket.name), element('KeyMarker', encode(input.keyMarker)), element('UploadIdMarker', input.uploadIdMarker),
        ...(page.truncated ? [element('NextKeyMarker', encode(page.next)), element('NextUploadIdMarker', page.nextUploadId ?? '')] : []),
        ...(input.prefix === '' ? [] : [element('Prefix', encode(input.prefix))]),
        ...(input.delimiter === '' ? [] : [element('Delimiter', encode(input.delimiter))]),
        ...optional('EncodingType', input.encodingType), element('MaxUploads', input.limit), element('IsTruncated', page.truncated),
        ...uploads, ...page.commonPrefixes.map((prefix) => element('CommonPrefixes', [element('Prefix', encode(prefix))])),
      ]),
    }
  },
})

async function renderUpload(upload: MultipartUpload, encode: (key: string) => string, context: BucketContext): Promise<XmlElement> {
  return element('Upload', [
    element('Key', encode(upload.key)), element('UploadId', upload.uploadId),
    element('Initiator', [element('ID', upload.initiator.id), element('DisplayName', upload.initiator.displayName)]),
    await renderOwner('Owner', upload.ownerAccountId, context),
    element('StorageClass', upload.storageClass), element('Initiated', isoDate(upload.initiatedAt)),
    ...optional('ChecksumAlgorithm', upload.checksumAlgorithm), ...optional('ChecksumType', upload.checksumType),
  ])
}
