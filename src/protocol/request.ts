import type { Readable } from 'node:stream'
import type { Principal } from '../domain/model.ts'
import type { Span } from '../telemetry/traces.ts'

/**
 * A request as operations see it: S3's terms, no framework types. The gateway makes it from the raw socket request.
 * Nothing in it is normalised: keys and signatures are made from the raw URL.
 */
export interface S3Request {
  readonly requestId: string
  readonly method: string
  /** Path of the request line as sent, percent-encoded, without the query. */
  readonly rawPath: string
  /** Query of the request line as sent, without `?`; '' when there is none. */
  readonly rawQuery: string
  readonly query: Query
  /** Once the signature of a presigned request is verified, with those that its URL carries (`hoisted.ts`). */
  headers: Headers
  readonly target: Target
  /** The body; not yet read. */
  readonly stream: Readable
  /** Nothing of the request is on its way any more: its body is here to its end, or there is none. */
  readonly arrived: boolean
  readonly secure: boolean
  readonly remoteAddress: string
  /** When the request arrived, epoch ms. */
  readonly receivedAt: number
  /** Aborted when the client goes away before the answer is out. */
  readonly signal: AbortSignal
  /** Answers `Expect: 100-continue` when the client asked; called once the request is known to be good, before its body is read. */
  readonly sendContinue: () => void
  /** Name of the operation, once it is known: for metrics, logs and traces. */
  operation?: string | undefined
  /** Who asks, once the signature is verified. */
  requester?: Principal | undefined
  /** Where the steps of the request are told; null, as for most: it is not traced. */
  span?: Span | null | undefined
}

/** Where a request points. `key` is the decoded key, any UTF-8. */
export type Target =
  | { readonly scope: 'service' }
  | { readonly scope: 'bucket'; readonly bucket: string }
  | { readonly scope: 'object'; readonly bucket: string; readonly key: string }

/** Query parameters in order, decoded (`+` stays `+`? see `target.ts`), duplicates kept. */
export interface Query {
  /** The first value; '' for `?name`; undefined when absent. */
  get(name: string): string | undefined
  has(name: string): boolean
  readonly entries: readonly (readonly [name: string, value: string])[]
}

/** Header fields by lower-case name. Several fields of one name are joined with `,` as RFC 9110 says. */
export interface Headers {
  get(name: string): string | undefined
  has(name: string): boolean
  /** In the order of the wire, names in lower case, values trimmed, not joined: what a signature covers. */
  readonly entries: readonly (readonly [name: string, value: string])[]
}

/** What an operation answers. One place (gateway/exchange.ts) writes it. */
export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** Text: written whole with Content-Length (XML: already rendered). Reader: streamed, `length` is announced. */
  readonly body?: string | Uint8Array | ReplyStream | KeepAliveReply
}

export interface ReplyStream {
  readonly kind: 'stream'
  readonly length: number
  readonly reader: import('../blobs/blobs.ts').BlobReader
}

/**
 * An answer that may take long (CompleteMultipartUpload, large copies): when `result` is not there after a while, the gateway sends
 * status 200 and white space to keep the connection alive, then the XML; an error found by then is written as the body.
 */
export interface KeepAliveReply {
  readonly kind: 'keep-alive'
  readonly result: Promise<{ headers?: Readonly<Record<string, string | undefined>>; body: string }>
}
