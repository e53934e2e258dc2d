import { S3Error } from '../../domain/errors.ts'
import { copyBytesMax } from '../../domain/limits.ts'
import type { Checksum, ChecksumAlgorithm, ObjectMetadata, ObjectVersion, Tag } from '../../domain/model.ts'
import { checksumElements, copyChecksumAlgorithm, isoDate, objectMetadata, parseTaggingHeader, refuseUnsupported, writeConditions } from '../../protocol/headers.ts'
import type { Headers } from '../../protocol/request.ts'
import { element, renderXml } from '../../protocol/xml.ts'
import { parseCopySource, withSource, type CopySource } from '../copy-source.ts'
import { invalidArgument, refusal, refuseVersionAndPart, versionIdHeader } from '../inputs.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'

interface CopyInput {
  readonly key: string
  readonly source: CopySource
  /** Null: the source's. */
  readonly metadata: ObjectMetadata | null
  readonly tags: readonly Tag[] | null
  readonly redirect: string | undefined
  /** The storage class was given: that it is the same one does not matter, as S3 has it. */
  readonly namesClass: boolean
  readonly algorithm: ChecksumAlgorithm | null
  readonly when: ReturnType<typeof writeConditions>
}

/** A copy shares the source's blobs: no byte moves, whatever the size. */
export const copyObject = bucketOperation({
  name: 'CopyObject', route: 'PUT object +x-amz-copy-source', action: 's3:PutObject', body: 'none',
  input(request: OperationRequest): CopyInput {
    const { headers } = request.http
    refuseUnsupported(headers)
    refuseVersionAndPart(request)
    const replacesMetadata = directive(headers, 'x-amz-metadata-directive') === 'REPLACE'
    const replacesTags = directive(headers, 'x-amz-tagging-directive') === 'REPLACE'
    return {
      key: request.key, source: parseCopySource(headers),
      metadata: replacesMetadata ? objectMetadata(headers) : null,
      tags: replacesTags ? parseTaggingHeader(headers.get('x-amz-tagging')) : null,
      redirect: headers.get('x-amz-website-redirect-location'),
      namesClass: headers.has('x-amz-storage-class'), algorithm: copyChecksumAlgorithm(headers), when: writeConditions(headers),
    }
  },
  run: (input, context) => withSource(input.source, context, (opened) => copy(input, opened.version, opened.bucket, context)),
})

function directive(headers: Headers, name: string): 'COPY' | 'REPLACE' {
  const text = headers.get(name)
  if (text === undefined || text === 'COPY') return 'COPY'
  if (text === 'REPLACE') return 'REPLACE'
  throw invalidArgument(name, text, `Unknown ${name === 'x-amz-tagging-directive' ? 'tagging' : 'metadata'} directive.`)
}

async function copy(input: CopyInput, source: ObjectVersion, sourceBucket: { id: number; versioning: 'off' | 'enabled' | 'suspended' }, context: BucketContext) {
  const { bucket } = context
  checkCopy(input, source, sourceBucket.id === bucket.id)
  // Tags that travel are read there and written here: both need their right.
  if (input.tags === null && source.tags.length > 0) context.authorise(input.source.versionId === undefined ? 's3:GetObjectTagging' : 's3:GetObjectVersionTagging', input.source.bucket, source.key)
  if ((input.tags ?? source.tags).length > 0) context.authorise('s3:PutObjectTagging', bucket.name, input.key)
  const checksum = await copiedChecksum(input, source, context)
  const result = await context.metadata.commit({
    kind: 'put', bucketId: bucket.id, key: input.key, ownerAccountId: context.principal.account.id, when: input.when,
    sharedFrom: { bucketId: source.bucketId, key: source.key, seq: source.seq },
    content: {
      size: source.size, etag: source.etag, metadata: copiedMetadata(input, source), tags: input.tags ?? source.tags, checksum,
      parts: copiedParts(source, checksum), manifest: source.manifest, storageClass: 'STANDARD',
    },
  })
  if (!result.ok && result.code === 'SourceGone') return 'source-gone' as const
  if (!result.ok) throw refusal(result, { bucket, key: input.key })
  return {
    status: 200,
    headers: {
      ...versionIdHeader(result.versioning, result.version.versionId),
      'x-amz-copy-source-version-id': sourceBucket.versioning === 'off' ? undefined : source.versionId,
    },
    body: renderXml('CopyObjectResult', [
      element('LastModified', isoDate(result.version.lastModified)), element('ETag', `"${source.etag}"`), ...checksumElements(checksum),
    ]),
  }
}

function checkCopy(input: CopyInput, source: ObjectVersion, sameBucket: boolean): void {
  if (source.size > copyBytesMax) {
    throw new S3Error('InvalidRequest', `The specified copy source is larger than the maximum allowable size for a copy source: ${copyBytesMax}`)
  }
  const ontoItself = sameBucket && source.key === input.key && source.isLatest
  const changes = input.metadata !== null || input.tags !== null || input.redirect !== undefined || input.namesClass || input.algorithm !== null
  if (ontoItself && !changes) {
    throw new S3Error('InvalidRequest', "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, "
      + 'storage class, website redirect location or encryption attributes.')
  }
}

/** The website redirect is not copied: S3 takes it from the request in both directives. */
function copiedMetadata(input: CopyInput, source: ObjectVersion): ObjectMetadata {
  if (input.metadata !== null) return input.metadata
  const { 'x-amz-website-redirect-location': _dropped, ...system } = source.metadata.system
  return { user: source.metadata.user, system: input.redirect === undefined ? system : { ...system, 'x-amz-website-redirect-location': input.redirect } }
}

/** Where each part ends stays known; its checksum is of the source's algorithm and means nothing beside another one. */
function copiedParts(source: ObjectVersion, checksum: Checksum | null): ObjectVersion['parts'] {
  if (source.parts === null || source.checksum?.algorithm === checksum?.algorithm) return source.parts
  return source.parts.map((part) => ({ ...part, checksum: null }))
}

async function copiedChecksum(input: CopyInput, source: ObjectVersion, { blobs }: BucketContext): Promise<Checksum | null> {
  const { algorithm } = input
  if (algorithm === null || source.checksum?.algorithm === algorithm) return source.checksum
  const digests = await blobs.digest(source.manifest, [algorithm])
  return { algorithm, type: 'FULL_OBJECT', value: digests[algorithm] ?? '' }
}
