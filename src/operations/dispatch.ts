import type { Auth, Authenticated } from '../auth/auth.ts'
import type { Blobs, RequestBody } from '../blobs/blobs.ts'
import { S3Error } from '../domain/errors.ts'
import { longDocumentBytes } from '../domain/limits.ts'
import type { Bucket, Principal } from '../domain/model.ts'
import { isBucketName } from '../domain/names.ts'
import type { MetadataStore } from '../metadata/store.ts'
import { hoistHeaders } from '../protocol/hoisted.ts'
import { releaseReply } from '../protocol/reply.ts'
import type { Reply, S3Request } from '../protocol/request.ts'
import type { BucketContext, Context, Operation } from './operation.ts'
import { compileRoutes } from './routes.ts'
import { operations } from './table.ts'
import { tracedBlobs, tracedMetadata } from './traced.ts'
import { readWhole, readXml } from './xml-body.ts'

/**
 * Door of the operations room: the same steps for every S3 request.
 * match -> authenticate -> authorise -> decode -> run. What comes back is plain data; only S3Errors are thrown on purpose.
 */
export interface Dispatch {
  handle(request: S3Request): Promise<Reply>
}

export interface DispatchOptions {
  readonly auth: Auth
  readonly metadata: MetadataStore
  readonly blobs: Blobs
  readonly region: string
  readonly objectUrl: (request: S3Request, bucket: string, key: string) => string
  /** Whether it is taken now: null at once, else a promise of its turn, which rejects with SlowDown. */
  readonly admit?: (request: S3Request, principal: Principal, bucket: string) => Promise<void> | null
  /** Resolves when an account may have a long document worked on, with what ends its turn. Rejects with SlowDown. */
  readonly documentTurn: (account: string) => Promise<() => void>
}

export function createDispatch(options: DispatchOptions): Dispatch {
  const { match } = compileRoutes(operations)
  const kit: Kit = { ...options, match }
  return { handle: (request) => handle(kit, request) }
}

interface Kit extends DispatchOptions {
  readonly match: (request: S3Request) => Operation
}

async function handle(kit: Kit, request: S3Request): Promise<Reply> {
  const outdated = kit.metadata.catchUp()
  if (outdated !== null && !changes(request)) return readMeanwhile(kit, request, outdated)
  if (outdated !== null) await outdated
  return run(kit, request, { admitted: false })
}

/**
 * What is remembered of buckets and keys is nearly always current, and what only reads can be done over: it is done while the proof is on
 * its way, in the same round trip to the database, and answered once that is there; an error too.
 */
async function readMeanwhile(kit: Kit, request: S3Request, outdated: Promise<boolean>): Promise<Reply> {
  const { headers } = request
  const attempt: Attempt = { admitted: false }
  const [proof, first] = await Promise.allSettled([outdated, run(kit, request, attempt)])
  if (proof.status === 'fulfilled' && !proof.value) {
    if (first.status === 'fulfilled') return first.value
    throw first.reason
  }
  if (first.status === 'fulfilled') releaseReply(first.value, () => undefined)
  if (proof.status === 'rejected') throw proof.reason
  request.headers = headers
  return run(kit, request, attempt)
}

/** What is done once for a request, however often it is run. */
interface Attempt {
  admitted: boolean
}

async function run(options: Kit, request: S3Request, attempt: Attempt): Promise<Reply> {
  const { span } = request
  const verified = span?.begin('authenticate')
  const authenticated = await options.auth.authenticate(request)
  verified?.()
  request.requester = authenticated.principal
  if (authenticated.presigned) hoistHeaders(request)
  const operation = options.match(request)
  request.operation = operation.name
  const names = targetNames(request)
  const { principal } = authenticated
  if (!attempt.admitted) {
    attempt.admitted = true
    const turn = options.admit?.(request, principal, names.bucket) ?? null
    if (turn !== null) await turn
  }
  const authorise = (action: string, bucket: string, key: string): void => options.auth.authorise(principal, action, resourceArn(bucket, key))
  const allowed = span?.begin('authorise')
  if (operation.authorises !== 'itself') authorise(actionOf(operation, request), names.bucket, names.key)
  allowed?.()

  const openBucket = (name: string, expectedOwner: string | undefined): Promise<Bucket> => openOwnBucket(options.metadata, principal, name, expectedOwner)
  const bucket = operation.level === 'bucket' ? await openBucket(names.bucket, request.headers.get('x-amz-expected-bucket-owner')) : null

  const xml = operation.body === 'xml' ? await readXml(request, requestBodyOf(request, authenticated), operation.checksumOf ?? 'document') : ''
  const context: Context & { readonly bucket: Bucket | null } = {
    bucket, principal, http: request, region: options.region,
    metadata: span ? tracedMetadata(options.metadata, span) : options.metadata, blobs: span ? tracedBlobs(options.blobs, span) : options.blobs,
    requestBody: requestBodyOf(request, authenticated), objectUrl: options.objectUrl, openBucket, authorise,
  }
  const done = xml.length > longDocumentBytes ? await options.documentTurn(principal.account.id) : null
  try {
    const input = operation.input({ http: request, bucket: names.bucket, key: names.key, xml })
    if (operation.body === 'stream') request.sendContinue()
    else if (!request.arrived && changes(request)) await readWhole(request, context.requestBody)
    return await (operation.level === 'service' ? operation.run(input, context) : operation.run(input, context as BucketContext))
  } finally {
    done?.()
  }
}

/** What only reads may be done over, and be answered before all of its request is there. */
function changes({ method }: S3Request): boolean {
  return method !== 'GET' && method !== 'HEAD'
}

function targetNames(request: S3Request): { bucket: string; key: string } {
  const { target } = request
  return { bucket: target.scope === 'service' ? '' : target.bucket, key: target.scope === 'object' ? target.key : '' }
}

function actionOf(operation: Operation, request: S3Request): string {
  return operation.versionedAction !== undefined && request.query.has('versionId') ? operation.versionedAction : operation.action
}

/** All buckets together are named as policies name them: a grant of s3:ListAllMyBuckets stands on `arn:aws:s3:::*` or on `*`. */
function resourceArn(bucket: string, key: string): string {
  if (bucket === '') return 'arn:aws:s3:::*'
  return key === '' ? `arn:aws:s3:::${bucket}` : `arn:aws:s3:::${bucket}/${key}`
}

/** A bucket is open to its own account only, so far; the error tells others no more than that it exists, as AWS does. */
async function openOwnBucket(metadata: MetadataStore, principal: Principal, name: string, expectedOwner: string | undefined): Promise<Bucket> {
  const bucket = await metadata.bucket(name)
  if (bucket === null) throw noSuchBucket(name)
  // S3 tells the region of any bucket: clients look for it in this header of a refused HEAD.
  if (bucket.accountId !== principal.account.id) throw new S3Error('AccessDenied', undefined, { headers: { 'x-amz-bucket-region': bucket.region } })
  if (expectedOwner !== undefined && expectedOwner !== bucket.accountId) throw new S3Error('AccessDenied')
  return bucket
}

function noSuchBucket(name: string): S3Error {
  return new S3Error(isBucketName(name) ? 'NoSuchBucket' : 'InvalidBucketName', undefined, { fields: { BucketName: name } })
}

function requestBodyOf(request: S3Request, { payload }: Authenticated): RequestBody {
  const wireLength = lengthHeader(request, 'content-length')
  const chunked = payload.kind === 'chunked-signed' || payload.kind === 'chunked-unsigned'
  return { stream: request.stream, wireLength, length: chunked ? lengthHeader(request, 'x-amz-decoded-content-length') : wireLength, payload }
}

function lengthHeader(request: S3Request, name: string): number | null {
  const text = request.headers.get(name)
  if (text === undefined) return null
  if (!/^\d{1,16}$/.test(text)) throw new S3Error('InvalidArgument', `The value of ${name} must be a number of bytes.`, { fields: { ArgumentName: name, ArgumentValue: text } })
  return Number(text)
}
