import { S3Error } from '../domain/errors.ts'
import { listPageMax } from '../domain/limits.ts'
import type { Bucket, VersioningStatus } from '../domain/model.ts'
import type { Refused } from '../metadata/store.ts'
import { versionHeaders } from '../protocol/headers.ts'
import { parseVersionId } from '../versioning/versions.ts'
import type { OperationRequest } from './operation.ts'

/** Pieces of `input` that several operations share. */

export function invalidArgument(name: string, value: string, message: string): S3Error {
  return new S3Error('InvalidArgument', message, { fields: { ArgumentName: name, ArgumentValue: value } })
}

/** A query parameter that is a whole number in [min, max]; undefined when absent or empty. */
export function integerParam(request: OperationRequest, name: string, min: number, max: number): number | undefined {
  const text = request.http.query.get(name)
  if (text === undefined || text === '') return undefined
  if (!/^\d{1,10}$/.test(text)) throw invalidArgument(name, text, `Provided ${name} not an integer or within integer range`)
  const value = Number(text)
  if (value < min || value > max) throw invalidArgument(name, text, `Argument ${name} must be an integer between ${min} and ${max}`)
  return value
}

/** max-keys and its kin: a client may ask for as many as it likes, a page never has more than 1000 entries. */
export function pageSize(request: OperationRequest, name: string): number {
  return Math.min(integerParam(request, name, 0, 2 ** 31 - 1) ?? listPageMax, listPageMax)
}

export function versionIdParam(request: OperationRequest): string | undefined {
  const text = request.http.query.get('versionId')
  return text === undefined ? undefined : checkedVersionId(text)
}

export function checkedVersionId(text: string): string {
  if (text === '') throw invalidArgument('versionId', text, 'Version id cannot be the empty string')
  if (parseVersionId(text) === undefined) throw invalidArgument('versionId', text, 'Invalid version id specified')
  return text
}

/**
 * A new object is never a version or a part that the client names: a request that does so meant another operation, and its body
 * must not become the object. Throws InvalidArgument.
 */
export function refuseVersionAndPart(request: OperationRequest): void {
  const { query, rawQuery } = request.http
  if (rawQuery === '') return
  const versionId = query.get('versionId')
  if (versionId !== undefined) throw invalidArgument('versionId', versionId, 'This operation does not accept a version-id.')
  const partNumber = query.get('partNumber')
  if (partNumber !== undefined) throw invalidArgument('partNumber', partNumber, 'This operation does not accept a part number without an upload id.')
}

/** Continuation tokens are opaque to clients: the last entry of the page before, so that they survive deletes. */
export function encodeToken(after: string): string {
  return Buffer.from(`1:${after}`, 'utf8').toString('base64url')
}

/** Throws InvalidArgument for a token that `encodeToken` did not make. */
export function decodeToken(token: string): string {
  const text = Buffer.from(token, 'base64url').toString('utf8')
  if (!text.startsWith('1:') || encodeToken(text.slice(2)) !== token) throw invalidToken(token)
  return text.slice(2)
}

export function invalidToken(token: string): S3Error {
  return invalidArgument('continuation-token', token, 'The continuation token provided is incorrect')
}

/** url or nothing. */
export function encodingTypeParam(request: OperationRequest): 'url' | undefined {
  const text = request.http.query.get('encoding-type')
  if (text === undefined || text === '') return undefined
  if (text !== 'url') throw invalidArgument('encoding-type', text, 'Invalid Encoding Method specified in Request')
  return 'url'
}

/** The header x-amz-version-id is sent for buckets that have, or had, versioning. */
export function versionIdHeader(versioning: VersioningStatus, versionId: string | null): Record<string, string | undefined> {
  return versionHeaders(versionId === null ? null : { versionId }, versioning)
}

/** The error of a command that the committer refused. */
export function refusal(refused: Refused<string>, context: { bucket: Bucket; key: string; versionId?: string; uploadId?: string }): S3Error {
  switch (refused.code) {
    case 'NoSuchBucket': return new S3Error('NoSuchBucket', undefined, { fields: { BucketName: context.bucket.name } })
    case 'NoSuchKey': return new S3Error('NoSuchKey', undefined, { fields: { Key: context.key } })
    case 'NoSuchVersion': return new S3Error('NoSuchVersion', undefined, { fields: { Key: context.key, VersionId: context.versionId ?? '' } })
    case 'NoSuchUpload': return new S3Error('NoSuchUpload', undefined, { fields: { UploadId: context.uploadId ?? '' } })
    case 'PreconditionFailed': return new S3Error('PreconditionFailed', undefined, { fields: { Condition: refused.condition ?? '' } })
    default: return new S3Error(refused.code)
  }
}
