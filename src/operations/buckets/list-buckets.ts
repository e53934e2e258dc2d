import { bucketsPageMax } from '../../domain/limits.ts'
import { isoDate } from '../../protocol/headers.ts'
import { element, optional, renderXml } from '../../protocol/xml.ts'
import { decodeToken, encodeToken, integerParam, invalidToken } from '../inputs.ts'
import { serviceOperation } from '../operation.ts'

export const listBuckets = serviceOperation({
  name: 'ListBuckets', route: 'GET service', action: 's3:ListAllMyBuckets', body: 'none',
  input(request) {
    const { query } = request.http
    const token = query.get('continuation-token')
    return {
      limit: integerParam(request, 'max-buckets', 1, bucketsPageMax) ?? bucketsPageMax, prefix: query.get('prefix') ?? '',
      after: token === undefined ? '' : bucketOf(token), region: query.get('bucket-region') || undefined,
    }
  },
  async run(input, { principal, metadata }) {
    const { account } = principal
    const { buckets, truncated } = await metadata.listBuckets(account.id, { prefix: input.prefix, after: input.after, limit: input.limit, ...(input.region === undefined ? {} : { region: input.region }) })
    const last = buckets.at(-1)
    return {
      status: 200,
      body: renderXml('ListAllMyBucketsResult', [
        element('Owner', [element('ID', account.canonicalId), element('DisplayName', account.displayName)]),
        element('Buckets', buckets.map((bucket) => element('Bucket', [
          element('Name', bucket.name), element('CreationDate', isoDate(bucket.createdAt)), element('BucketRegion', bucket.region),
        ]))),
        ...(truncated && last !== undefined ? [element('ContinuationToken', encodeToken(last.name))] : []),
        ...optional('Prefix', input.prefix === '' ? undefined : input.prefix),
      ]),
    }
  },
})

/** The name of the last bucket of the page before. */
function bucketOf(token: string): string {
  const name = decodeToken(token)
  if (!/^[a-z0-9.-]{1,63}$/.test(name)) throw invalidToken(token)
  return name
}
