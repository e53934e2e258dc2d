import type { Tag } from '../../domain/model.ts'
import { renderXml } from '../../protocol/xml.ts'
import { refusal, versionIdHeader, versionIdParam } from '../inputs.ts'
import { bucketOperation, type BucketContext } from '../operation.ts'
import { parseTagging, renderTags } from '../tagging.ts'
import { readableVersion } from './versions.ts'

export const getObjectTagging = bucketOperation({
  name: 'GetObjectTagging', route: 'GET object ?tagging', action: 's3:GetObjectTagging', versionedAction: 's3:GetObjectVersionTagging', body: 'none',
  input: (request) => ({ key: request.key, versionId: versionIdParam(request) }),
  async run(input, context) {
    const { bucket, metadata } = context
    const version = readableVersion(await metadata.version(bucket.id, input.key, input.versionId), context, input)
    return {
      status: 200,
      headers: versionIdHeader(bucket.versioning, version.versionId),
      body: renderXml('Tagging', [renderTags(version.tags)]),
    }
  },
})

export const putObjectTagging = bucketOperation({
  name: 'PutObjectTagging', route: 'PUT object ?tagging', action: 's3:PutObjectTagging', versionedAction: 's3:PutObjectVersionTagging', body: 'xml',
  input: (request) => ({ key: request.key, versionId: versionIdParam(request), tags: parseTagging(request.xml, 'object') }),
  run: (input, context) => replaceTags(input, input.tags, 200, context),
})

export const deleteObjectTagging = bucketOperation({
  name: 'DeleteObjectTagging', route: 'DELETE object ?tagging', action: 's3:DeleteObjectTagging', versionedAction: 's3:DeleteObjectVersionTagging', body: 'none',
  input: (request) => ({ key: request.key, versionId: versionIdParam(request) }),
  run: (input, context) => replaceTags(input, [], 204, context),
})

async function replaceTags(input: { key: string; versionId: string | undefined }, tags: readonly Tag[], status: number, { bucket, metadata }: BucketContext) {
  const result = await metadata.commit({
    kind: 'put-tags', bucketId: bucket.id, key: input.key, tags, ...(input.versionId === undefined ? {} : { versionId: input.versionId }),
  })
  if (!result.ok) throw refusal(result, { bucket, key: input.key, versionId: input.versionId ?? '' })
  return { status, headers: versionIdHeader(result.versioning, result.versionId) }
}
