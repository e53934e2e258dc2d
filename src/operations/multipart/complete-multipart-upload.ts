import { createHash } from 'node:crypto'
import { checksumAlgorithms, checksumElementName } from '../../checksums/algorithms.ts'
import { S3Error } from '../../domain/errors.ts'
import { partNumberMax } from '../../domain/limits.ts'
import { checksumElements, checksumTypeHeader, entityTag, objectChecksum, refuseUnsupported, writeConditions } from '../../protocol/headers.ts'
import { element, parseXml, renderXml, type XmlNode } from '../../protocol/xml.ts'
import { invalidArgument, refusal, versionIdHeader } from '../inputs.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'
import { planComplete, type CompleteRequest, type NamedPart } from './complete-plan.ts'

interface CompleteInput {
  readonly key: string
  readonly uploadId: string
  readonly when: ReturnType<typeof writeConditions>
  readonly request: CompleteRequest
}

/** Joins manifests and moves no bytes; happens once, and a repeated call gets the same answer. */
export const completeMultipartUpload = bucketOperation({
  name: 'CompleteMultipartUpload', route: 'POST object ?uploadId', action: 's3:PutObject', body: 'xml', checksumOf: 'object',
  input(request): CompleteInput {
    const { headers } = request.http
    refuseUnsupported(headers)
    const parts = parseXml(request.xml, 'CompleteMultipartUpload').children('Part')
    if (parts.length === 0 || parts.length > partNumberMax) throw new S3Error('MalformedXML')
    return {
      key: request.key, uploadId: request.http.query.get('uploadId') ?? '', when: writeConditions(headers),
      request: { named: parts.map(namedPart), checksum: objectChecksum(headers), checksumType: checksumTypeHeader(headers), size: declaredSize(request) },
    }
  },
  async run(input, context) {
    return { status: 200, body: { kind: 'keep-alive' as const, result: complete(input, context) } }
  },
})

function namedPart(node: XmlNode): NamedPart {
  const number = node.text('PartNumber')?.trim() ?? ''
  const etag = node.text('ETag')
  if (!/^\d{1,9}$/.test(number) || etag === undefined) throw new S3Error('MalformedXML')
  const partNumber = Number(number)
  if (partNumber < 1 || partNumber > partNumberMax) throw invalidArgument('PartNumber', number, `PartNumber must be >= 1 and <= ${partNumberMax}`)
  for (const algorithm of checksumAlgorithms) {
    const value = node.text(checksumElementName(algorithm))
    if (value !== undefined) return { partNumber, etag: entityTag(etag), checksum: { algorithm, value: value.trim() } }
  }
  return { partNumber, etag: entityTag(etag), checksum: null }
}

function declaredSize(request: OperationRequest): number | null {
  const text = request.http.headers.get('x-amz-mp-object-size')
  if (text === undefined) return null
  if (!/^\d{1,16}$/.test(text)) throw invalidArgument('x-amz-mp-object-size', text, 'The object size must be a number of bytes.')
  return Number(text)
}

async function complete(input: CompleteInput, { bucket, metadata, http, objectUrl }: BucketContext) {
  const requestHash = createHash('sha256').update(JSON.stringify(input.request.named)).digest('hex')
  const result = await metadata.commit({
    kind: 'complete', bucketId: bucket.id, key: input.key, uploadId: input.uploadId, when: input.when, requestHash,
    plan: (upload, parts) => planComplete(input.request, upload, parts),
  })
  if (!result.ok) {
    if (result.code === 'Planned') throw result.error
    throw refusal(result, { bucket, key: input.key, uploadId: input.uploadId })
  }
  const { version } = result
  return {
    headers: versionIdHeader(result.versioning, version.versionId),
    body: renderXml('CompleteMultipartUploadResult', [
      element('Location', objectUrl(http, bucket.name, input.key)), element('Bucket', bucket.name), element('Key', input.key), element('ETag', `"${version.etag}"`),
      ...(version.checksum === null ? [] : checksumElements(version.checksum)),
    ]),
  }
}
