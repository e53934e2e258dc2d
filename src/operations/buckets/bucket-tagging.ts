import { S3Error } from '../../domain/errors.ts'
import type { Tag } from '../../domain/model.ts'
import { renderXml } from '../../protocol/xml.ts'
import { bucketOperation } from '../operation.ts'
import { parseTagging, renderTags } from '../tagging.ts'

const kind = 'tagging'

export const getBucketTagging = bucketOperation({
  name: 'GetBucketTagging', route: 'GET bucket ?tagging', action: 's3:GetBucketTagging', body: 'none',
  input: () => null,
  async run(_input, { bucket, metadata }) {
    const setting = await metadata.setting(bucket.id, kind)
    if (setting === null) throw new S3Error('NoSuchTagSet', undefined, { fields: { BucketName: bucket.name } })
    return { status: 200, body: renderXml('Tagging', [renderTags(setting.compiled as readonly Tag[])]) }
  },
})

export const putBucketTagging = bucketOperation({
  name: 'PutBucketTagging', route: 'PUT bucket ?tagging', action: 's3:PutBucketTagging', body: 'xml',
  input: (request) => ({ document: request.xml, compiled: parseTagging(request.xml, 'bucket') }),
  async run(input, { bucket, metadata }) {
    await metadata.putSetting(bucket.id, kind, input)
    return { status: 204 }
  },
})

export const deleteBucketTagging = bucketOperation({
  name: 'DeleteBucketTagging', route: 'DELETE bucket ?tagging', action: 's3:PutBucketTagging', body: 'none',
  input: () => null,
  async run(_input, { bucket, metadata }) {
    await metadata.deleteSetting(bucket.id, kind)
    return { status: 204 }
  },
})
