import { S3Error } from '../../domain/errors.ts'
import { partNumberMax } from '../../domain/limits.ts'
import type { ObjectVersion } from '../../domain/model.ts'
import { checksumElements, httpDate, refuseUnsupported } from '../../protocol/headers.ts'
import { element, optional, renderXml, type XmlElement } from '../../protocol/xml.ts'
import { invalidArgument, versionIdHeader, versionIdParam } from '../inputs.ts'
import { bucketOperation, type OperationRequest } from '../operation.ts'
import { checksumElementName } from '../../checksums/algorithms.ts'
import { readableVersion } from './versions.ts'

const attributeNames = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const
type Attribute = (typeof attributeNames)[number]

interface PartsPage {
  readonly after: number
  readonly limit: number
}

export const getObjectAttributes = bucketOperation({
  name: 'GetObjectAttributes', route: 'GET object ?attributes', action: 's3:GetObjectAttributes', versionedAction: 's3:GetObjectVersionAttributes', body: 'none',
  input(request) {
    refuseUnsupported(request.http.headers)
    return {
      key: request.key, versionId: versionIdParam(request), attributes: attributesOf(request),
      page: { after: integerHeader(request, 'x-amz-part-number-marker', 0), limit: Math.min(integerHeader(request, 'x-amz-max-parts', 1000), 1000) },
    }
  },
  async run(input, context) {
    const { bucket, metadata, authorise } = context
    authorise(input.versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion', bucket.name, input.key)
    const version = readableVersion(await metadata.version(bucket.id, input.key, input.versionId), context, input)
    const render: Record<Attribute, () => readonly XmlElement[]> = {
      ETag: () => [element('ETag', version.etag)],
      Checksum: () => (version.checksum === null ? [] : [element('Checksum', checksumElements(version.checksum))]),
      ObjectParts: () => objectParts(version, input.page),
      StorageClass: () => [element('StorageClass', version.storageClass)],
      ObjectSize: () => [element('ObjectSize', version.size)],
    }
    return {
      status: 200,
      headers: { 'last-modified': httpDate(version.lastModified), ...versionIdHeader(bucket.versioning, version.versionId) },
      body: renderXml('GetObjectAttributesResponse', attributeNames.filter((name) => input.attributes.has(name)).flatMap((name) => render[name]())),
    }
  },
})

function attributesOf(request: OperationRequest): ReadonlySet<Attribute> {
  const header = request.http.headers.get('x-amz-object-attributes')
  const names = (header ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '')
  if (names.length === 0) throw invalidArgument('x-amz-object-attributes', '', 'The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty')
  for (const name of names) {
    if (!(attributeNames as readonly string[]).includes(name)) throw invalidArgument('x-amz-object-attributes', name, 'Invalid attribute name specified.')
  }
  return new Set(names as Attribute[])
}

function integerHeader(request: OperationRequest, name: string, otherwise: number): number {
  const text = request.http.headers.get(name)
  if (text === undefined) return otherwise
  if (!/^\d{1,9}$/.test(text) || Number(text) > Math.max(partNumberMax, 2 ** 31)) throw new S3Error('InvalidArgument', `Provided ${name} not an integer or within integer range`)
  return Number(text)
}

/**
 * Parts are listed one by one only where the upload asked for checksums of them; the count is always given.
 * Source: Amazon S3 API reference, GetObjectAttributes, `ObjectParts`.
 */
function objectParts(version: ObjectVersion, page: PartsPage): readonly XmlElement[] {
  const { parts, checksum } = version
  if (parts === null) return []
  const count = element('PartsCount', parts.length)
  if (checksum === null || parts.every((part) => part.checksum === null)) return [element('ObjectParts', [count])]
  const following = parts.map((part, index) => ({ ...part, partNumber: index + 1 })).filter((part) => part.partNumber > page.after)
  const shown = following.slice(0, page.limit)
  return [element('ObjectParts', [
    element('IsTruncated', shown.length < following.length), element('MaxParts', page.limit),
    element('NextPartNumberMarker', shown.at(-1)?.partNumber ?? 0), element('PartNumberMarker', page.after),
    ...shown.map((part) => element('Part', [
      ...optional(checksumElementName(checksum.algorithm), part.checksum), element('PartNumber', part.partNumber), element('Size', part.size),
    ])),
    count,
  ])]
}
