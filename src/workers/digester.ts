import { createHash } from 'node:crypto'
import { createChunkVerifier } from '../auth/chunk-signature.ts'
import type { ChunkVerifier } from '../auth/chunk-signature.ts'
import type { ChunkChain } from '../blobs/blobs.ts'
import { createHasher } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import type { ChecksumAlgorithm } from '../domain/model.ts'

/** What to compute over one body and what it must come to. Crosses threads as it stands. */
export interface DigestPlan {
  /** The first one's value is returned; the others only verify. */
  readonly algorithms: readonly ChecksumAlgorithm[]
  /** Hex SHA-256 that the request's signature promised, null when it promised none. */
  readonly sha256: string | null
  /** Set when every chunk carries a signature. */
  readonly chain: ChunkChain | null
  /** Base64 of Content-MD5. */
  readonly md5: string | null
}

/** What is known only behind the last byte. */
export interface DigestEnd {
  /** Announced checksums, from headers and trailer, by algorithm; base64. */
  readonly checksums: readonly { readonly algorithm: ChecksumAlgorithm; readonly value: string }[]
  /** The signed trailer: its text as it was signed, and the signature. Null when the trailer is not signed. */
  readonly trailer: { readonly text: string; readonly signature: string } | null
  /** What another thread computed, base64; null when it was not asked for anything. */
  readonly elsewhere?: string | null
}

/** `[offset, signature]`: the chunk that ends at this offset of the body (or slab) has this signature, hex. */
export type ChunkMark = readonly [at: number, signature: string]

/** An S3 error in a form that crosses threads. */
export interface Refusal {
  readonly code: string
  readonly message: string
  readonly fields: Readonly<Record<string, string>>
}

/** The error of a refusal that came from a worker. */
export function refusalError(refusal: Refusal): S3Error {
  return new S3Error(refusal.code, refusal.message, { fields: { ...refusal.fields } })
}

export type Digested =
  | { readonly ok: true; readonly md5: string; readonly checksum: string }
  | { readonly ok: false; readonly refusal: Refusal }

export interface Digester {
  /** Bytes in order; `marks` are offsets in `bytes`. Returns the refusal of a wrong chunk signature, else null. */
  update(bytes: Uint8Array, marks: readonly ChunkMark[]): Refusal | null
  finish(end: DigestEnd): Digested
}

/** The refusal that `check` threw, or null. Other errors than a client's are not caught. */
function refusalOf(check: () => void): Refusal | null {
  try {
    check()
    return null
  } catch (error) {
    if (!(error instanceof S3Error)) throw error
    return { code: error.code, message: error.message, fields: error.fields }
  }
}

/**
 * Computes MD5, the planned checksums and signatures of one body in one pass, and decides whether it is what was announced.
 * `elsewhere`: the one of the planned checksums that another thread computes; its value comes with the end.
 */
export function createDigester(plan: DigestPlan, elsewhere: ChecksumAlgorithm | null = null): Digester {
  const md5 = createHash('md5')
  const sha256 = plan.sha256 === null ? null : createHash('sha256')
  const hashers = plan.algorithms.filter((algorithm) => algorithm !== elsewhere).map((algorithm) => ({ algorithm, hasher: createHasher(algorithm) }))
  const verifier = plan.chain === null ? null : createChunkVerifier(plan.chain)

  function update(bytes: Uint8Array, marks: readonly ChunkMark[]): Refusal | null {
    md5.update(bytes)
    sha256?.update(bytes)
    for (const { hasher } of hashers) hasher.update(bytes)
    return verifier === null ? null : refusalOf(() => verifyChunks(verifier, bytes, marks))
  }

  function finish(end: DigestEnd): Digested {
    const { trailer } = end
    const badTrailer = verifier === null || trailer === null ? null : refusalOf(() => verifier.endTrailer(trailer.text, trailer.signature))
    if (badTrailer !== null) return { ok: false, refusal: badTrailer }
    if (sha256 !== null && sha256.digest('hex') !== plan.sha256) return refuse('XAmzContentSHA256Mismatch')
    const sum = md5.digest()
    if (plan.md5 !== null && sum.toString('base64') !== plan.md5) return refuse('BadDigest')
    const values = new Map(hashers.map(({ algorithm, hasher }) => [algorithm, hasher.digestBase64()]))
    if (elsewhere !== null) values.set(elsewhere, end.elsewhere ?? '')
    for (const { algorithm, value } of end.checksums) {
      if (values.get(algorithm) !== value) {
        return refuse('BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`)
      }
    }
    return { ok: true, md5: sum.toString('hex'), checksum: plan.algorithms[0] === undefined ? '' : (values.get(plan.algorithms[0]) ?? '') }
  }

  return { update, finish }
}

function verifyChunks(verifier: ChunkVerifier, bytes: Uint8Array, marks: readonly ChunkMark[]): void {
  let from = 0
  for (const [at, signature] of marks) {
    if (at > from) verifier.update(bytes.subarray(from, at))
    from = at
    verifier.endChunk(signature)
  }
  if (from < bytes.length) verifier.update(bytes.subarray(from))
}

function refuse(code: string, message = ''): Digested {
  return { ok: false, refusal: { code, message, fields: {} } }
}
