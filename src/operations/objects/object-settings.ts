import { S3Error } from '../../domain/errors.ts'
import { ownerOnlyAcl } from '../buckets/bucket-basics.ts'
import { versionIdHeader, versionIdParam } from '../inputs.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'
import { readableVersion } from './versions.ts'

/** Settings of an object that only have their default so far. */

interface Asked {
  readonly key: string
  readonly versionId: string | undefined
}

const asked = (request: OperationRequest): Asked => ({ key: request.key, versionId: versionIdParam(request) })

async function open(input: Asked, context: BucketContext) {
  return readableVersion(await context.metadata.version(context.bucket.id, input.key, input.versionId), context, input)
}

export const getObjectAcl = bucketOperation({
  name: 'GetObjectAcl', route: 'GET object ?acl', action: 's3:GetObjectAcl', versionedAction: 's3:GetObjectVersionAcl', body: 'none',
  input: asked,
  async run(input, context) {
    const version = await open(input, context)
    return { status: 200, headers: versionIdHeader(context.bucket.versioning, version.versionId), body: await ownerOnlyAcl(version.ownerAccountId ?? context.bucket.accountId, context) }
  },
})

/** Without object lock on the bucket there is nothing to ask an object for. */
function withoutObjectLock(name: string, route: string) {
  return bucketOperation({
    name, route, action: `s3:${name}`, body: 'none',
    input: asked,
    async run(input, context) {
      await open(input, context)
      throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration')
    },
  })
}

export const getObjectLegalHold = withoutObjectLock('GetObjectLegalHold', 'GET object ?legal-hold')
export const getObjectRetention = withoutObjectLock('GetObjectRetention', 'GET object ?retention')
