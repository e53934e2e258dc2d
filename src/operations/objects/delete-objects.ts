import { S3Error } from '../../domain/errors.ts'
import { deleteKeysMax, keyBytesMax } from '../../domain/limits.ts'
import type { DeleteConditions } from '../../domain/model.ts'
import type { DeleteCommand, DeleteResult } from '../../metadata/store.ts'
import { messageOf } from '../../protocol/errors.ts'
import { entityTag, expectedDigests, parseHttpDate, refuseUnsupported } from '../../protocol/headers.ts'
import { element, parseXml, renderXml, type XmlElement, type XmlNode } from '../../protocol/xml.ts'
import { parseVersionId } from '../../versioning/versions.ts'
import { refusal } from '../inputs.ts'
import { bucketOperation, type BucketContext } from '../operation.ts'

interface Deletion {
  readonly key: string
  readonly versionId: string | undefined
  readonly when: DeleteConditions
}

/** Each key is a delete of its own, in the order of the document, with a right of its own; one that fails does not stop the others. */
export const deleteObjects = bucketOperation({
  name: 'DeleteObjects', route: 'POST bucket ?delete', action: 's3:DeleteObject', authorises: 'itself', body: 'xml',
  input(request) {
    refuseUnsupported(request.http.headers)
    const root = parseXml(request.xml, 'Delete')
    const objects = root.children('Object')
    if (objects.length === 0 || objects.length > deleteKeysMax) throw new S3Error('MalformedXML')
    const digested = Object.keys(expectedDigests(request.http.headers)).length > 0
    return { quiet: root.text('Quiet')?.toLowerCase() === 'true', deletions: objects.map(deletion), digested }
  },
  async run({ quiet, deletions, digested }, context) {
    // A bit that fell over on the way would name another key. A signature that covers the document shows it as well as a digest does.
    if (!digested && context.requestBody.payload.kind === 'unsigned') {
      throw new S3Error('InvalidRequest', 'Missing required header for this request: Content-MD5 OR x-amz-checksum-*')
    }
    const errors = deletions.map((one) => errorOf(() => refuseDeletion(one, context)))
    const allowed = deletions.filter((_, index) => errors[index] === null)
    const results = (await context.metadata.commitAll(allowed.map((one) => commandOf(one, context)))).values()
    const said = deletions.map((one, index) => {
      const error = errors[index] ?? null
      return error === null ? outcome(one, results.next().value as PromiseSettledResult<DeleteResult>, quiet, context) : failed(one, error)
    })
    return { status: 200, body: renderXml('DeleteResult', said.filter((each) => each !== null)) }
  },
})

function deletion(object: XmlNode): Deletion {
  const key = object.text('Key')
  if (key === undefined || key === '') throw new S3Error('MalformedXML')
  return { key, versionId: object.text('VersionId') || undefined, when: conditions(object) }
}

function conditions(object: XmlNode): DeleteConditions {
  const when: { -readonly [Name in keyof DeleteConditions]: DeleteConditions[Name] } = {}
  const etag = object.text('ETag')
  if (etag !== undefined) when.ifMatch = entityTag(etag)
  const modified = object.text('LastModifiedTime')
  if (modified !== undefined) {
    const time = parseHttpDate(modified) ?? Date.parse(modified)
    if (Number.isNaN(time)) throw new S3Error('MalformedXML')
    when.ifMatchLastModified = Math.floor(time / 1000) * 1000
  }
  const size = object.text('Size')
  if (size !== undefined) {
    if (!/^\d{1,16}$/.test(size)) throw new S3Error('MalformedXML')
    when.ifMatchSize = Number(size)
  }
  return when
}

/** Of whoever throws for this key alone; null: nobody. */
function errorOf(check: () => void): S3Error | null {
  try {
    check()
    return null
  } catch (error) {
    if (error instanceof S3Error) return error
    throw error
  }
}

function refuseDeletion({ key, versionId }: Deletion, { bucket, authorise }: BucketContext): void {
  authorise(versionId === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion', bucket.name, key)
  if (Buffer.byteLength(key) > keyBytesMax) throw new S3Error('KeyTooLongError')
  if (key.includes('\0')) throw new S3Error('InvalidArgument', 'A key has no NUL character.')
  if (versionId !== undefined && parseVersionId(versionId) === undefined) throw new S3Error('NoSuchVersion')
}

function commandOf({ key, versionId, when }: Deletion, { bucket, principal }: BucketContext): DeleteCommand {
  const command = { kind: 'delete' as const, bucketId: bucket.id, key, ownerAccountId: principal.account.id, when }
  return versionId === undefined ? command : { ...command, versionId }
}

/** What the answer says of one key; null: nothing. */
function outcome(one: Deletion, settled: PromiseSettledResult<DeleteResult>, quiet: boolean, { bucket }: BucketContext): XmlElement | null {
  if (settled.status === 'rejected') {
    if (settled.reason instanceof S3Error) return failed(one, settled.reason)
    throw settled.reason
  }
  const { value } = settled
  if (!value.ok && !(value.code === 'NoSuchVersion' && Object.keys(one.when).length === 0)) return failed(one, refusal(value, { bucket, key: one.key, versionId: one.versionId ?? '' }))
  return quiet ? null : element('Deleted', deleted(one, value))
}

function failed({ key, versionId }: Deletion, error: S3Error): XmlElement {
  const version = versionId === undefined ? [] : [element('VersionId', versionId)]
  return element('Error', [element('Key', key), ...version, element('Code', error.code), element('Message', messageOf(error))])
}

function deleted({ key, versionId }: Deletion, result: DeleteResult): XmlElement[] {
  const children = [element('Key', key)]
  if (versionId !== undefined) children.push(element('VersionId', versionId))
  if (result.ok && result.deleteMarker) {
    children.push(element('DeleteMarker', 'true'))
    if (result.versionId !== null) children.push(element('DeleteMarkerVersionId', result.versionId))
  }
  return children
}
