import type { Blobs, RequestBody } from '../blobs/blobs.ts'
import type { Bucket, Principal } from '../domain/model.ts'
import type { MetadataStore } from '../metadata/store.ts'
import type { Reply, S3Request } from '../protocol/request.ts'

/**
 * One S3 operation as data. `input` decodes and checks the request (throws S3Error) and touches nothing; `run` does the work
 * with the typed input and answers plain data. `dispatch.ts` does everything around it, the same for each.
 */
export type Operation = BucketOperation<unknown> | ServiceOperation<unknown>

interface OperationBase<Input> {
  /** AWS's name: span, metric label, audit field and test file carry it. */
  readonly name: string
  /** `METHOD scope ?param&param=value +header`, see `routes.ts`. */
  readonly route: string
  /** IAM action, `s3:...`; with `versioned`, the one that a request with a versionId needs. */
  readonly action: string
  readonly versionedAction?: string
  /** itself: there is no one resource that the action is about, so `run` asks for each key. Default: dispatch asks, before anything is read. */
  readonly authorises?: 'itself'
  /** none: a body is ignored, once it came whole; xml: read whole (bounded), verified and handed to `input`; stream: handed to `run` unread. */
  readonly body: 'none' | 'xml' | 'stream'
  /** object: an x-amz-checksum-* header is not of the document in the body, but of the object that the operation makes. */
  readonly checksumOf?: 'object'
  input(request: OperationRequest): Input
}

/** Works below a bucket that exists and belongs to the requester's account: dispatch has looked. */
export interface BucketOperation<Input> extends OperationBase<Input> {
  readonly level: 'bucket'
  run(input: Input, context: BucketContext): Promise<Reply>
}

/** Works without a bucket, or before there is one. */
export interface ServiceOperation<Input> extends OperationBase<Input> {
  readonly level: 'service'
  run(input: Input, context: Context): Promise<Reply>
}

export interface OperationRequest {
  readonly http: S3Request
  /** The target's names; '' where the scope has none. */
  readonly bucket: string
  readonly key: string
  /** The XML body as text, '' unless `body` is xml. Its digests were verified. */
  readonly xml: string
}

export interface Context {
  readonly principal: Principal
  readonly http: S3Request
  readonly metadata: MetadataStore
  readonly blobs: Blobs
  readonly region: string
  readonly requestBody: RequestBody
  /** Absolute URL of a key as the client would write it, for Location elements. */
  readonly objectUrl: (request: S3Request, bucket: string, key: string) => string
  /** A bucket of the requester's account by name, for copy sources; the same checks as dispatch makes for the target. */
  readonly openBucket: (name: string, expectedOwner: string | undefined) => Promise<Bucket>
  /** Throws AccessDenied unless the requester may do the action there. */
  readonly authorise: (action: string, bucket: string, key: string) => void
}

export interface BucketContext extends Context {
  readonly bucket: Bucket
}

export function bucketOperation<Input>(operation: Omit<BucketOperation<Input>, 'level'>): Operation {
  return { ...operation, level: 'bucket' } as Operation
}

export function serviceOperation<Input>(operation: Omit<ServiceOperation<Input>, 'level'>): Operation {
  return { ...operation, level: 'service' } as Operation
}
