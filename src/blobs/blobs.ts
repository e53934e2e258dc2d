import type { Readable } from 'node:stream'
import type { CarriedRecord, Checksum, ChecksumAlgorithm, Extent } from '../domain/model.ts'

/**
 * Door of the byte room. It promises:
 * - `write` answers only after the bytes are durable (fdatasync of the data, fsync of every new folder entry; written only, where the
 *   operator chose HOLDFAST_DURABILITY=relaxed), or, to whoever asks for it, with the bytes of a small record that has to be made durable
 *   together with the row that names it (`carried`); on any error, abort or refused digest nothing stays behind.
 * - `read` never hands out a byte that was not verified against its stored CRC32C in this read.
 * - Blobs are immutable: two reads of the same extents give the same bytes or an error.
 * - Memory is bounded: a slow disk or client slows the other side down, it does not queue bytes.
 */
export interface Blobs {
  /**
   * Stores one request body. Errors: IncompleteBody (fewer or more bytes than declared, or the client left), BadDigest,
   * XAmzContentSHA256Mismatch, SignatureDoesNotMatch (chunk signatures), InvalidChunkSizeError, MalformedTrailerError,
   * EntityTooLarge, SlowDown (queue full), InsufficientStorage (disk full, 507), InternalError (I/O error).
   */
  write(body: RequestBody, options: WriteOptions): Promise<WrittenBlob>
  /**
   * Bytes `[start, end)` of the concatenated extents. The first chunk is verified before the promise resolves, so that
   * rot in it can still be answered with an error; rot found later makes `next` reject.
   */
  read(manifest: readonly Extent[], start: number, end: number): Promise<BlobReader>
  /** Checksums over bytes that rest already (CopyObject with another algorithm, whole-object checksum of old parts). */
  digest(manifest: readonly Extent[], algorithms: readonly (ChecksumAlgorithm | 'MD5')[]): Promise<Record<string, string>>
}

/** A request body as it comes off the socket, after HTTP's own framing. */
export interface RequestBody {
  readonly stream: Readable
  /** Bytes on the wire (Content-Length), null with Transfer-Encoding: chunked. */
  readonly wireLength: number | null
  /** Bytes of the object: x-amz-decoded-content-length for aws-chunked, else wireLength. */
  readonly length: number | null
  /** How the body is framed and what the signature says of it (from `auth`). */
  readonly payload: PayloadSignature
}

/** What the request's signature promises about its body. */
export type PayloadSignature =
  /** x-amz-content-sha256 is a digest: the body must have it. */
  | { readonly kind: 'sha256'; readonly hex: string }
  /** UNSIGNED-PAYLOAD, a presigned URL, or signature version 2. */
  | { readonly kind: 'unsigned' }
  /** STREAMING-UNSIGNED-PAYLOAD-TRAILER: aws-chunked framing, trailer not signed. */
  | { readonly kind: 'chunked-unsigned'; readonly trailer: true }
  /** STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER]: each chunk's signature covers the one before. */
  | { readonly kind: 'chunked-signed'; readonly trailer: boolean; readonly chain: ChunkChain }

/** What is needed to verify a chain of chunk signatures: may be posted to a worker thread. */
export interface ChunkChain {
  /** Derived SigV4 signing key. */
  readonly signingKey: Uint8Array
  /** Hex signature of the request's headers. */
  readonly seedSignature: string
  /** `20260102T030405Z` */
  readonly timestamp: string
  /** `20260102/us-east-1/s3/aws4_request` */
  readonly scope: string
}

/** Digests that the client announced. The body is refused with BadDigest when one differs. */
export interface ExpectedDigests {
  /** Base64 of Content-MD5. */
  readonly md5?: string
  /** The one checksum of the x-amz-checksum-* headers. */
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly value: string }
  /** Name announced in x-amz-trailer: its value comes behind the last chunk and must be there. */
  readonly trailer?: ChecksumAlgorithm
}

export interface WriteOptions {
  readonly expect: ExpectedDigests
  /** Checksum to compute and return besides MD5: the client's algorithm, or CRC64NVME when it sent none. */
  readonly algorithm: ChecksumAlgorithm
  /** Goes into the record or footer, so that bytes can be traced to their key without the database. */
  readonly owner: { readonly bucketId: number; readonly key: string }
  /** Largest accepted body in bytes; EntityTooLarge above. */
  readonly bytesMax: number
  /**
   * Called when the whole of a small body is on its way to the disk: it will be durable, or refused, about one sync later. `foreseen` is
   * what `write` resolves with if it will be durable, this very object; null when that is not known yet.
   */
  readonly writing?: (foreseen: WrittenBlob | null) => void
  /** Asked when a small body is about to be written: whether its record may be `carried`, and committed with its row. Without it none is. */
  readonly mayBeCarried?: () => boolean
}

export interface WrittenBlob {
  readonly size: number
  readonly manifest: readonly Extent[]
  /** Not null: not synced yet. It must be committed with the first row that names it, and nobody may be told before. */
  readonly carried: CarriedRecord | null
  /** Hex MD5. */
  readonly md5: string
  readonly checksum: Checksum
}

/** Pull reader: at most one chunk is outstanding; a chunk may be reused after the following `next`. */
export interface BlobReader {
  /** The next bytes in order, null at the end. Rejects with InternalError on rot or I/O error. */
  next(): Promise<Uint8Array | null>
  /** The whole range when it is at hand already (small objects: one pread), so that the answer is one write. */
  readonly whole: Uint8Array | null
  /** Releases buffers and descriptors; idempotent; must be called. */
  close(): void
}

export { createBlobs } from './create.ts'
export type { BlobsOptions, OpenBlobs } from './create.ts'
