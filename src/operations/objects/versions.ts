import { S3Error } from '../../domain/errors.ts'
import type { AnyVersion, Bucket, ObjectVersion } from '../../domain/model.ts'
import { httpDate } from '../../protocol/headers.ts'
import type { Context } from '../operation.ts'

/**
 * The object version that a read means, or S3's error: NoSuchKey, NoSuchVersion, and for delete markers 404 when it is the
 * current version, 405 when it was asked for by its id. AccessDenied in place of NoSuchKey for who may not list the bucket: they
 * would learn which keys it has.
 * Source: Amazon S3 user guide, "Working with delete markers"; GetObject's API reference, "Permissions".
 */
export function readableVersion(
  found: AnyVersion | null, { bucket, authorise }: { readonly bucket: Bucket } & Pick<Context, 'authorise'>, asked: { key: string; versionId?: string | undefined },
): ObjectVersion {
  if (asked.versionId === undefined && (found === null || found.isDeleteMarker)) authorise('s3:ListBucket', bucket.name, '')
  if (found === null) {
    if (asked.versionId === undefined) throw new S3Error('NoSuchKey', undefined, { fields: { Key: asked.key } })
    throw new S3Error('NoSuchVersion', undefined, { fields: { Key: asked.key, VersionId: asked.versionId } })
  }
  if (!found.isDeleteMarker) return found
  const headers: Record<string, string> = { 'x-amz-delete-marker': 'true' }
  if (bucket.versioning !== 'off') headers['x-amz-version-id'] = found.versionId
  if (asked.versionId === undefined) throw new S3Error('NoSuchKey', undefined, { fields: { Key: asked.key }, headers })
  throw new S3Error('MethodNotAllowed', undefined, {
    fields: { Method: 'GET', ResourceType: 'DeleteMarker' },
    headers: { ...headers, allow: 'DELETE', 'last-modified': httpDate(found.lastModified) },
  })
}
