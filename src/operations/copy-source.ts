import { setTimeout as sleep } from 'node:timers/promises'
import { evaluateCopySource } from '../domain/conditions.ts'
import { S3Error } from '../domain/errors.ts'
import type { Bucket, ObjectVersion } from '../domain/model.ts'
import { copySourceConditions, type ReadConditions } from '../protocol/headers.ts'
import type { Headers } from '../protocol/request.ts'
import { checkedVersionId, invalidArgument } from './inputs.ts'
import { readableVersion } from './objects/versions.ts'
import type { BucketContext } from './operation.ts'

export interface CopySource {
  readonly bucket: string
  readonly key: string
  readonly versionId: string | undefined
  readonly expectedOwner: string | undefined
  readonly conditions: ReadConditions
}

/** x-amz-copy-source: `[/]bucket/key[?versionId=...]`, percent-encoded. Throws InvalidArgument. */
export function parseCopySource(headers: Headers): CopySource {
  const header = headers.get('x-amz-copy-source') ?? ''
  const malformed = (why: string): S3Error => invalidArgument('x-amz-copy-source', header, why)
  const question = header.lastIndexOf('?versionId=')
  const path = decode(question < 0 ? header : header.slice(0, question)) ?? ''
  const bare = path.startsWith('/') ? path.slice(1) : path
  const slash = bare.indexOf('/')
  if (slash <= 0 || slash === bare.length - 1) throw malformed('Copy Source must mention the source bucket and key: sourcebucket/sourcekey')
  if (bare.includes('\0')) throw malformed('Invalid copy source encoding.')
  const key = bare.slice(slash + 1)
  // A key may hold dots, but a path that would climb out of its bucket is never what a client means.
  if (climbs(key)) throw malformed('Invalid copy source object key')
  return {
    bucket: bare.slice(0, slash),
    key,
    versionId: question < 0 ? undefined : checkedVersionId(header.slice(question + '?versionId='.length)),
    expectedOwner: headers.get('x-amz-source-expected-bucket-owner'),
    conditions: copySourceConditions(headers),
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function climbs(key: string): boolean {
  let depth = 0
  for (const segment of key.split('/')) {
    if (segment === '..') depth -= 1
    else if (segment !== '.') depth += 1
    if (depth < 0) return true
  }
  return false
}

/** The source's version after the checks of access, existence and conditions. Throws NoSuchKey, AccessDenied, PreconditionFailed ... */
export async function openCopySource(source: CopySource, context: BucketContext): Promise<{ bucket: Bucket; version: ObjectVersion }> {
  context.authorise(source.versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion', source.bucket, source.key)
  const bucket = await context.openBucket(source.bucket, source.expectedOwner)
  const found = await context.metadata.version(bucket.id, source.key, source.versionId)
  if (found?.isDeleteMarker === true && source.versionId !== undefined) {
    throw new S3Error('InvalidRequest', 'The source of a copy request may not specifically refer to a delete marker by version id.')
  }
  const version = readableVersion(found, { bucket, authorise: context.authorise }, source)
  if (evaluateCopySource(source.conditions, version) !== 'ok') throw new S3Error('PreconditionFailed', undefined, { fields: { Condition: 'x-amz-copy-source-If-' } })
  return { bucket, version }
}

/** About two seconds, all in all. */
const copyTriesMax = 30

/**
 * Runs a copy whose commit may find that the source went away between the read and the lock: the source is then read again, so
 * that the answer is the one of a copy that came a moment later.
 */
export async function withSource<Result>(
  source: CopySource,
  context: BucketContext,
  attempt: (opened: { bucket: Bucket; version: ObjectVersion }) => Promise<Result | 'source-gone'>,
): Promise<Result> {
  for (let tries = 1; tries <= copyTriesMax; tries++) {
    const result = await attempt(await openCopySource(source, context))
    if (result !== 'source-gone') return result
    // At random, so that copies of one source that is written all the time do not come back in one group.
    if (tries > 2) await sleep(Math.random() * 4 * tries)
  }
  throw new S3Error('ConditionalRequestConflict', 'The copy source kept changing while it was copied. Try again.')
}
