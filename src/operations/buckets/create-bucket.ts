import { S3Error } from '../../domain/errors.ts'
import type { Tag } from '../../domain/model.ts'
import { isBucketName } from '../../domain/names.ts'
import { refuseUnsupported } from '../../protocol/headers.ts'
import { parseXml } from '../../protocol/xml.ts'
import { serviceOperation } from '../operation.ts'
import { tagsOf } from '../tagging.ts'

interface BucketConfiguration {
  readonly location: string | null
  readonly tags: readonly Tag[]
}

export const createBucket = serviceOperation({
  name: 'CreateBucket', route: 'PUT bucket', action: 's3:CreateBucket', body: 'xml',
  input(request) {
    refuseUnsupported(request.http.headers)
    if (!isBucketName(request.bucket)) throw new S3Error('InvalidBucketName', undefined, { fields: { BucketName: request.bucket } })
    return { name: request.bucket, ...configuration(request.xml) }
  },
  async run({ name, location, tags }, { principal, metadata, region }) {
    if (location !== null && location !== region) throw wrongLocation(location, region)
    const result = await metadata.createBucket({ name, accountId: principal.account.id, region, tags })
    if (!result.ok) {
      const own = result.owner === principal.account.id
      throw new S3Error(own ? 'BucketAlreadyOwnedByYou' : 'BucketAlreadyExists', undefined, { fields: { BucketName: name } })
    }
    return { status: 200, headers: { location: `/${name}` } }
  },
})

function configuration(xml: string): BucketConfiguration {
  if (xml.trim() === '') return { location: null, tags: [] }
  const root = parseXml(xml, 'CreateBucketConfiguration')
  for (const kind of ['Location', 'Bucket']) {
    if (root.child(kind) !== undefined) throw new S3Error('NotImplemented', `Directory buckets (${kind} in CreateBucketConfiguration) are not available.`)
  }
  const tags = root.child('Tags')
  return { location: root.text('LocationConstraint')?.trim() || null, tags: tags === undefined ? [] : tagsOf(tags, 'bucket') }
}

/** A region that exists elsewhere is incompatible with this endpoint; anything else is not a region. */
function wrongLocation(location: string, region: string): S3Error {
  if (/^[a-z]{2}(-[a-z]+)+-\d$/.test(location) || location === 'EU') {
    return new S3Error('IllegalLocationConstraintException', `The ${location} location constraint is incompatible for the region specific endpoint this request was sent to. Use ${region}.`)
  }
  return new S3Error('InvalidLocationConstraint', undefined, { fields: { LocationConstraint: location } })
}
