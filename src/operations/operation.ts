import type { Blobs, PayloadSignature, RequestBody } from '../blobs/blobs.ts'
import type { Principal } from '../domain/model.ts'
import type { MetadataStore } from '../metadata/store.ts'
import type { Reply, S3Request } from '../protocol/request.ts'

/**
 * One S3 operation. `route` is data: `METHOD scope ?param&param=value +header`, see `table.ts`. `input` decodes and checks the
 * request (throws S3Error); `run` does the work with typed input and answers plain data.
 */
export interface Operation<Input = unknown> {
  /** AWS's name: span, metric label, audit field and test file carry it. */
  readonly name: string
  readonly route: string
  /** IAM action, `s3:...`. */
  readonly action: string
  /** none: a body is ignored; xml: read whole (bounded) and handed to `input`; stream: handed to `run` unread. */
  readonly body: 'none' | 'xml' | 'stream'
  input(request: OperationRequest): Input
  run(input: Input, context: Context): Promise<Reply>
}

export interface OperationRequest {
  readonly http: S3Request
  readonly principal: Principal
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
  readonly payload: PayloadSignature
  readonly presigned: boolean
  /** Absolute URL of a key as the client would write it, for Location elements. */
  readonly objectUrl: (bucket: string, key: string) => string
  readonly now: () => number
}

/** Keeps the input's type between `input` and `run`. */
export function defineOperation<Input>(operation: Operation<Input>): Operation<Input> {
  return operation
}
