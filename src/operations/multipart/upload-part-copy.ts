import { S3Error } from '../../domain/errors.ts'
import { partBytesMax } from '../../domain/limits.ts'
import { sliceManifest } from '../../domain/manifest.ts'
import type { Checksum, Extent, ObjectVersion } from '../../domain/model.ts'
import { parseCopySourceRange } from '../../domain/ranges.ts'
import { checksumElements, isoDate, refuseUnsupported } from '../../protocol/headers.ts'
import { element, renderXml } from '../../protocol/xml.ts'
import { parseCopySource, withSource, type CopySource } from '../copy-source.ts'
import { refusal } from '../inputs.ts'
import { bucketOperation, type BucketContext } from '../operation.ts'
import { openUpload, partTarget, type PartTarget } from './upload-part.ts'

interface PartCopyInput extends PartTarget {
  readonly source: CopySource
  readonly range: string | undefined
}

/** The part shares the source's blobs; its bytes are read once for the MD5 where that is not known yet. */
export const uploadPartCopy = bucketOperation({
  name: 'UploadPartCopy', route: 'PUT object ?partNumber&uploadId +x-amz-copy-source', action: 's3:PutObject', body: 'none',
  input(request): PartCopyInput {
    const { headers } = request.http
    refuseUnsupported(headers)
    return { ...partTarget(request), source: parseCopySource(headers), range: headers.get('x-amz-copy-source-range') }
  },
  async run(input, context) {
    return { status: 200, body: { kind: 'keep-alive' as const, result: withSource(input.source, context, (opened) => copyPart(input, opened, context)) } }
  },
})

async function copyPart(input: PartCopyInput, { bucket: sourceBucket, version }: Awaited<Parameters<Parameters<typeof withSource>[2]>[0]>, context: BucketContext) {
  const { bucket, metadata } = context
  const upload = await openUpload(input, context)
  const range = input.range === undefined ? { start: 0, end: version.size } : parseCopySourceRange(input.range, version.size)
  const size = range.end - range.start
  if (size > partBytesMax) throw new S3Error('InvalidRequest', `The specified copy source is larger than the maximum allowable size for a copy source: ${partBytesMax}`)
  const manifest = sliceManifest(version.manifest, range.start, range.end)
  const { etag, checksum } = await digests(version, manifest, size, upload.checksumAlgorithm ?? 'CRC64NVME', context)
  const result = await metadata.commit({
    kind: 'put-part', bucketId: bucket.id, key: input.key, uploadId: input.uploadId,
    part: { partNumber: input.partNumber, size, etag, checksum, manifest },
    sharedFrom: { bucketId: version.bucketId, key: version.key, seq: version.seq },
  })
  if (!result.ok && result.code === 'SourceGone') return 'source-gone' as const
  if (!result.ok) throw refusal(result, { bucket, key: input.key, uploadId: input.uploadId })
  return {
    headers: { 'x-amz-copy-source-version-id': sourceBucket.versioning === 'off' ? undefined : version.versionId },
    body: renderXml('CopyPartResult', [
      element('LastModified', isoDate(result.lastModified)), element('ETag', `"${etag}"`),
      ...(upload.checksumAlgorithm === null ? [] : checksumElements(checksum, { typed: false })),
    ]),
  }
}

async function digests(
  version: ObjectVersion, manifest: readonly Extent[], size: number, algorithm: Checksum['algorithm'], { blobs }: BucketContext,
): Promise<{ etag: string; checksum: Checksum }> {
  const whole = size === version.size && version.parts === null && !version.etag.includes('-')
  if (whole && version.checksum?.algorithm === algorithm && version.checksum.type === 'FULL_OBJECT') return { etag: version.etag, checksum: version.checksum }
  const found = await blobs.digest(manifest, ['MD5', algorithm])
  // Digests come in base64; an ETag is hex.
  return { etag: Buffer.from(found['MD5'] ?? '', 'base64').toString('hex'), checksum: { algorithm, type: 'FULL_OBJECT', value: found[algorithm] ?? '' } }
}
