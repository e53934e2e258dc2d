import type { BlobReader } from '../../blobs/blobs.ts'
import { evaluateRead, rangeHolds } from '../../domain/conditions.ts'
import { S3Error } from '../../domain/errors.ts'
import { partNumberMax } from '../../domain/limits.ts'
import type { Bucket, ObjectVersion } from '../../domain/model.ts'
import { parseRange } from '../../domain/ranges.ts'
import { entityTag, objectHeaders, parseHttpDate, readConditions, type ReadConditions } from '../../protocol/headers.ts'
import type { Reply } from '../../protocol/request.ts'
import { integerParam, versionIdParam } from '../inputs.ts'
import { bucketOperation, type BucketContext, type OperationRequest } from '../operation.ts'
import { readableVersion } from './versions.ts'

interface ReadInput {
  readonly key: string
  readonly versionId: string | undefined
  readonly range: string | undefined
  readonly ifRange: Parameters<typeof rangeHolds>[0]
  readonly partNumber: number | undefined
  readonly conditions: ReadConditions
  readonly checksumMode: boolean
  /** The client gave a key of its own to decrypt with. */
  readonly customerKey: boolean
  readonly overrides: Readonly<Record<string, string>>
}

interface Selection {
  readonly start: number
  readonly end: number
  readonly partial: boolean
}

export const getObject = bucketOperation({
  name: 'GetObject', route: 'GET object', action: 's3:GetObject', versionedAction: 's3:GetObjectVersion', body: 'none',
  input: readInput,
  async run(input, context) {
    const { version, selection, headers } = await select(input, context)
    const length = selection.end - selection.start
    const reader = length === 0 ? emptyReader : await context.blobs.read(version.manifest, selection.start, selection.end)
    return { status: selection.partial ? 206 : 200, headers, body: { kind: 'stream', length, reader } }
  },
})

export const headObject = bucketOperation({
  name: 'HeadObject', route: 'HEAD object', action: 's3:GetObject', versionedAction: 's3:GetObjectVersion', body: 'none',
  input: readInput,
  async run(input, context): Promise<Reply> {
    const { selection, headers } = await select(input, context)
    headers['content-length'] = String(selection.end - selection.start)
    return { status: selection.partial ? 206 : 200, headers }
  },
})

const emptyReader: BlobReader = { next: async () => null, whole: new Uint8Array(0), close: () => undefined }

function readInput(request: OperationRequest): ReadInput {
  const range = request.http.headers.get('range')
  const partNumber = integerParam(request, 'partNumber', 1, partNumberMax)
  if (range !== undefined && partNumber !== undefined) throw new S3Error('InvalidRequest', 'Cannot specify both Range header and partNumber query parameter')
  return {
    key: request.key,
    versionId: versionIdParam(request),
    range,
    ifRange: ifRangeOf(request.http.headers.get('if-range')),
    partNumber,
    conditions: readConditions(request.http.headers),
    checksumMode: request.http.headers.get('x-amz-checksum-mode')?.toUpperCase() === 'ENABLED',
    customerKey: request.http.headers.has('x-amz-server-side-encryption-customer-algorithm'),
    overrides: responseOverrides(request),
  }
}

function ifRangeOf(header: string | undefined): ReadInput['ifRange'] {
  if (header === undefined) return undefined
  const lastModified = parseHttpDate(header)
  return lastModified === undefined ? { etag: entityTag(header) } : { lastModified }
}

const overridable = ['content-type', 'content-language', 'expires', 'cache-control', 'content-disposition', 'content-encoding'] as const

/** `response-*` parameters replace headers of the answer; a value that could split the header is refused. */
function responseOverrides(request: OperationRequest): Record<string, string> {
  const overrides: Record<string, string> = {}
  if (request.http.rawQuery === '') return overrides
  for (const name of overridable) {
    const value = request.http.query.get(`response-${name}`)
    if (value === undefined || value === '') continue
    if (/[^\t\x20-\x7e\x80-\u{10ffff}]/u.test(value)) throw new S3Error('InvalidRequest', `response-${name} has a character that no header may have.`)
    overrides[name] = Buffer.from(value, 'utf8').toString('latin1')
  }
  return overrides
}

async function select(input: ReadInput, context: BucketContext): Promise<{ version: ObjectVersion; selection: Selection; headers: Record<string, string | undefined> }> {
  const { metadata, bucket } = context
  const version = readableVersion(await metadata.version(bucket.id, input.key, input.versionId), context, input)
  // No object rests encrypted by a client's key: who gives one takes this object for another.
  if (input.customerKey) throw new S3Error('InvalidRequest', 'The encryption parameters are not applicable to this object.')
  checkConditions(input.conditions, version, bucket)
  const selection = selected(input, version)
  const whole = selection.start === 0 && selection.end === version.size
  const headers = objectHeaders(version, { checksumMode: input.checksumMode && whole, versioning: bucket.versioning })
  Object.assign(headers, input.overrides)
  if (selection.partial) headers['content-range'] = `bytes ${selection.start}-${selection.end - 1}/${version.size}`
  if (input.partNumber !== undefined && version.parts !== null) headers['x-amz-mp-parts-count'] = String(version.parts.length)
  return { version, selection, headers }
}

function checkConditions(conditions: ReadConditions, version: ObjectVersion, bucket: Bucket): void {
  const outcome = evaluateRead(conditions, version)
  if (outcome === 'ok') return
  if (outcome === 'precondition-failed') throw new S3Error('PreconditionFailed', undefined, { fields: { Condition: conditions.ifMatch === undefined ? 'If-Unmodified-Since' : 'If-Match' } })
  // RFC 9110, 15.4.5: what a 200 would have said of the cache and of the version.
  const whole = objectHeaders(version, { checksumMode: false, versioning: bucket.versioning })
  const headers: Record<string, string> = {}
  for (const name of ['etag', 'last-modified', 'cache-control', 'expires', 'x-amz-version-id']) {
    const value = whole[name]
    if (value !== undefined) headers[name] = value
  }
  throw new S3Error('NotModified', undefined, { headers })
}

function selected(input: ReadInput, version: ObjectVersion): Selection {
  if (input.partNumber !== undefined) return partSelection(input.partNumber, version)
  if (input.range === undefined || !rangeHolds(input.ifRange, version)) return { start: 0, end: version.size, partial: false }
  const range = parseRange(input.range, version.size)
  if (range === 'whole') return { start: 0, end: version.size, partial: false }
  if (range === 'unsatisfiable') {
    throw new S3Error('InvalidRange', undefined, {
      fields: { RangeRequested: input.range, ActualObjectSize: String(version.size) },
      headers: { 'content-range': `bytes */${version.size}` },
    })
  }
  return { start: range.start, end: range.end, partial: true }
}

/** An object that was not uploaded in parts has one part: itself. */
function partSelection(partNumber: number, version: ObjectVersion): Selection {
  const parts = version.parts ?? [{ partNumber: 1, size: version.size, checksum: null }]
  let start = 0
  for (const [index, part] of parts.entries()) {
    if (index + 1 === partNumber) return { start, end: start + part.size, partial: version.parts !== null || version.size > 0 }
    start += part.size
  }
  throw new S3Error('InvalidPartNumber', undefined, { fields: { PartNumberRequested: String(partNumber), ActualPartCount: String(parts.length) } })
}
