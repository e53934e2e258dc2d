import { element, renderXml } from '../../protocol/xml.ts'
import { refusal } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'
import { renderOwner } from '../owner.ts'

export const headBucket = bucketOperation({
  name: 'HeadBucket', route: 'HEAD bucket', action: 's3:ListBucket', body: 'none',
  input: () => null,
  async run(_input, { bucket }) {
    return { status: 200, headers: { 'x-amz-bucket-region': bucket.region, 'x-amz-access-point-alias': 'false', 'content-type': 'application/xml' } }
  },
})

export const deleteBucket = bucketOperation({
  name: 'DeleteBucket', route: 'DELETE bucket', action: 's3:DeleteBucket', body: 'none',
  input: () => null,
  async run(_input, { bucket, metadata }) {
    const result = await metadata.deleteBucket(bucket.id)
    if (!result.ok) throw refusal(result, { bucket, key: '' })
    return { status: 204 }
  },
})

export const getBucketLocation = bucketOperation({
  name: 'GetBucketLocation', route: 'GET bucket ?location', action: 's3:GetBucketLocation', body: 'none',
  input: () => null,
  async run(_input, { bucket }) {
    // us-east-1 has always been written as an empty constraint.
    return { status: 200, body: renderXml('LocationConstraint', bucket.region === 'us-east-1' ? '' : bucket.region) }
  },
})

/** Buckets are BucketOwnerEnforced: the list has the owner's full control and nothing else. */
export const getBucketAcl = bucketOperation({
  name: 'GetBucketAcl', route: 'GET bucket ?acl', action: 's3:GetBucketAcl', body: 'none',
  input: () => null,
  async run(_input, context) {
    return { status: 200, body: await ownerOnlyAcl(context.bucket.accountId, context) }
  },
})

export async function ownerOnlyAcl(accountId: string, context: Parameters<typeof renderOwner>[2]): Promise<string> {
  const account = context.principal.account.id === accountId ? context.principal.account : await context.metadata.account(accountId)
  const grantee = element('Grantee', [element('ID', account?.canonicalId ?? ''), element('DisplayName', account?.displayName ?? '')], {
    'xmlns:xsi': 'http://www.w3.org/2001/XMLSchema-instance', 'xsi:type': 'CanonicalUser',
  })
  return renderXml('AccessControlPolicy', [
    await renderOwner('Owner', accountId, context),
    element('AccessControlList', [element('Grant', [grantee, element('Permission', 'FULL_CONTROL')])]),
  ])
}
