import { S3Error } from '../../domain/errors.ts'
import type { Account, ListedObject, ListedVersion } from '../../domain/model.ts'
import type { ListedPage } from '../../metadata/store.ts'
import { isoDate } from '../../protocol/headers.ts'
import { objectContents } from '../../protocol/xml-listing.ts'
import { element, encodeKey, optional, renderXml, type XmlElement } from '../../protocol/xml.ts'
import { checkedVersionId, decodeToken, encodeToken, encodingTypeParam, invalidArgument, pageSize } from '../inputs.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'

interface ListInput {
  readonly prefix: string
  readonly delimiter: string
  readonly limit: number
  readonly encodingType: 'url' | undefined
}

const emptyPage = { rows: [], commonPrefixes: [], truncated: false, next: '', nextVersionId: null }

export const listObjects = bucketOperation({
  name: 'ListObjects', route: 'GET bucket', action: 's3:ListBucket', body: 'none',
  input: (request) => ({ ...listInput(request), marker: request.http.query.get('marker') ?? '' }),
  async run(input, context) {
    const page = await pageOf(input, input.marker, context)
    const encode = (key: string): string => encodeKey(key, input.encodingType)
    return {
      status: 200,
      headers: { 'x-amz-bucket-region': context.bucket.region },
      body: renderXml('ListBucketResult', [
        element('Name', context.bucket.name), element('Prefix', encode(input.prefix)), element('Marker', encode(input.marker)),
        // Without a delimiter clients continue after the last key.
        ...(page.truncated && input.delimiter !== '' ? [element('NextMarker', encode(page.next))] : []),
        ...commonHead(input, page, encode),
        objectContents(page.rows, encode, [ownerOf(context.principal.account)]), ...renderPrefixes(page, encode),
      ]),
    }
  },
})

export const listObjectsV2 = bucketOperation({
  name: 'ListObjectsV2', route: 'GET bucket ?list-type=2', action: 's3:ListBucket', body: 'none',
  input(request) {
    const { query } = request.http
    const token = query.get('continuation-token')
    return {
      ...listInput(request), token, after: token === undefined ? undefined : decodeToken(token),
      startAfter: query.get('start-after') ?? '', fetchOwner: query.get('fetch-owner')?.toLowerCase() === 'true',
    }
  },
  async run(input, context) {
    const page = await pageOf(input, input.after ?? input.startAfter, context)
    const encode = (key: string): string => encodeKey(key, input.encodingType)
    return {
      status: 200,
      headers: { 'x-amz-bucket-region': context.bucket.region },
      body: renderXml('ListBucketResult', [
        element('Name', context.bucket.name), element('Prefix', encode(input.prefix)),
        ...optional('StartAfter', input.startAfter === '' ? undefined : encode(input.startAfter)),
        ...optional('ContinuationToken', input.token), ...(page.truncated ? [element('NextContinuationToken', encodeToken(page.next))] : []),
        element('KeyCount', page.rows.length + page.commonPrefixes.length), ...commonHead(input, page, encode),
        objectContents(page.rows, encode, input.fetchOwner ? [ownerOf(context.principal.account)] : []), ...renderPrefixes(page, encode),
      ]),
    }
  },
})

export const listObjectVersions = bucketOperation({
  name: 'ListObjectVersions', route: 'GET bucket ?versions', action: 's3:ListBucketVersions', body: 'none',
  input(request) {
    const { query } = request.http
    const keyMarker = query.get('key-marker') ?? ''
    const versionIdMarker = query.get('version-id-marker')
    if (versionIdMarker !== undefined && keyMarker === '') {
      throw invalidArgument('version-id-marker', versionIdMarker, 'A version-id marker cannot be specified without a key marker.')
    }
    if (versionIdMarker === '') throw invalidArgument('version-id-marker', '', 'A version-id marker cannot be empty.')
    return { ...listInput(request), keyMarker, versionIdMarker: versionIdMarker === undefined ? undefined : checkedVersionId(versionIdMarker) }
  },
  async run(input, context) {
    const { bucket, metadata, principal } = context
    const page = input.limit === 0 ? emptyPage : await metadata.listVersions(bucket.id, {
      ...input, after: input.keyMarker, ...(input.versionIdMarker === undefined ? {} : { afterVersionId: input.versionIdMarker }),
    })
    const encode = (key: string): string => encodeKey(key, input.encodingType)
    return {
      status: 200,
      body: renderXml('ListVersionsResult', [
        element('Name', bucket.name), element('Prefix', encode(input.prefix)), element('KeyMarker', encode(input.keyMarker)),
        element('VersionIdMarker', input.versionIdMarker ?? ''),
        ...(page.truncated ? [element('NextKeyMarker', encode(page.next)), ...optional('NextVersionIdMarker', page.nextVersionId)] : []),
        ...commonHead(input, page, encode),
        ...page.rows.map((version) => renderVersion(version, encode, principal.account)), ...renderPrefixes(page, encode),
      ]),
    }
  },
})

function listInput(request: OperationRequest): ListInput {
  const { query } = request.http
  const prefix = query.get('prefix') ?? ''
  const delimiter = query.get('delimiter') ?? ''
  for (const [name, value] of query.entries) {
    if (value.includes('\0')) throw new S3Error('InvalidArgument', `${name} has a NUL character, which no key has.`, { fields: { ArgumentName: name } })
  }
  return { prefix, delimiter, limit: pageSize(request, 'max-keys'), encodingType: encodingTypeParam(request) }
}

async function pageOf(input: ListInput, after: string, { bucket, metadata }: BucketContext): Promise<ListedPage<ListedObject>> {
  return input.limit === 0 ? emptyPage : metadata.listObjects(bucket.id, { prefix: input.prefix, delimiter: input.delimiter, after, limit: input.limit })
}

function commonHead(input: ListInput, page: ListedPage<unknown>, encode: (key: string) => string): readonly XmlElement[] {
  return [
    element('MaxKeys', input.limit),
    ...(input.delimiter === '' ? [] : [element('Delimiter', encode(input.delimiter))]),
    ...optional('EncodingType', input.encodingType), element('IsTruncated', page.truncated),
  ]
}

function renderPrefixes(page: ListedPage<unknown>, encode: (key: string) => string): readonly XmlElement[] {
  return page.commonPrefixes.map((prefix) => element('CommonPrefixes', [element('Prefix', encode(prefix))]))
}

function renderVersion(version: ListedVersion, encode: (key: string) => string, owner: Account): XmlElement {
  const head = [element('Key', encode(version.key)), element('VersionId', version.versionId), element('IsLatest', version.isLatest), element('LastModified', isoDate(version.lastModified))]
  if (version.isDeleteMarker) return element('DeleteMarker', [...head, ownerOf(owner)])
  return element('Version', [
    ...head, element('ETag', `"${version.etag}"`), ...checksumFields(version), element('Size', version.size), ownerOf(owner), element('StorageClass', version.storageClass),
  ])
}

function checksumFields(version: ListedVersion): readonly XmlElement[] {
  return [...optional('ChecksumAlgorithm', version.checksumAlgorithm), ...optional('ChecksumType', version.checksumType)]
}

function ownerOf(account: Account): XmlElement {
  return element('Owner', [element('ID', account.canonicalId), element('DisplayName', account.displayName)])
}
