import { S3Error } from '../../domain/errors.ts'
import { element, parseXml, renderXml } from '../../protocol/xml.ts'
import { refusal } from '../inputs.ts'
import { bucketOperation } from '../operation.ts'

export const getBucketVersioning = bucketOperation({
  name: 'GetBucketVersioning', route: 'GET bucket ?versioning', action: 's3:GetBucketVersioning', body: 'none',
  input: () => null,
  async run(_input, { bucket }) {
    const status = { off: [], enabled: [element('Status', 'Enabled')], suspended: [element('Status', 'Suspended')] }[bucket.versioning]
    return { status: 200, body: renderXml('VersioningConfiguration', status) }
  },
})

export const putBucketVersioning = bucketOperation({
  name: 'PutBucketVersioning', route: 'PUT bucket ?versioning', action: 's3:PutBucketVersioning', body: 'xml',
  input(request) {
    const root = parseXml(request.xml, 'VersioningConfiguration')
    const mfaDelete = root.text('MfaDelete')?.trim()
    if (mfaDelete !== undefined && mfaDelete !== 'Disabled') throw new S3Error('NotImplemented', 'MfaDelete is not available.')
    if (request.http.headers.has('x-amz-mfa')) throw new S3Error('NotImplemented', 'x-amz-mfa is not available.')
    const status = root.text('Status')?.trim()
    if (status === undefined) throw new S3Error('IllegalVersioningConfigurationException')
    if (status !== 'Enabled' && status !== 'Suspended') throw new S3Error('MalformedXML')
    return status === 'Enabled' ? ('enabled' as const) : ('suspended' as const)
  },
  async run(status, { bucket, metadata }) {
    if (!(await metadata.setVersioning(bucket.id, status))) throw refusal({ ok: false, code: 'NoSuchBucket' }, { bucket, key: '' })
    return { status: 200 }
  },
})
