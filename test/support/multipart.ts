import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { crc32 } from 'node:zlib'
import { xmlText, type RawResponse } from './raw.ts'
import type { bucketSender } from './s3.ts'

/** Multipart uploads on the wire, and the digests that they are checked by. */

type Send = ReturnType<typeof bucketSender>

export const partBytesMin = 5 * 1024 * 1024

export interface UploadedPart {
  readonly number: number
  /** With its quotes, as the answer had it. */
  readonly etag: string
  /** Further elements of the part in the list of Complete. */
  readonly more?: string
}

export async function createUpload(send: Send, key: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const answer = await send('POST', `${key}?uploads`, { headers })
  const uploadId = xmlText(answer.text, 'UploadId')
  if (answer.status !== 200 || uploadId === undefined) throw new Error(`The upload was not created: ${answer.status} ${answer.text}`)
  return uploadId
}

export const putPart = (send: Send, key: string, uploadId: string, number: number | string, body: string | Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<RawResponse> =>
  send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, { body, headers })

/** Uploads parts that must be accepted, in the order given. */
export async function putParts(send: Send, key: string, uploadId: string, bodies: readonly (readonly [number, string | Uint8Array])[]): Promise<UploadedPart[]> {
  const parts: UploadedPart[] = []
  for (const [number, body] of bodies) {
    const answer = await putPart(send, key, uploadId, number, body)
    if (answer.status !== 200) throw new Error(`Part ${number} was refused: ${answer.text}`)
    parts.push({ number, etag: answer.headers['etag'] ?? '' })
  }
  return parts
}

export const completeDocument = (parts: readonly UploadedPart[]): string =>
  `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.map((part) => `<Part><PartNumber>${part.number}</PartNumber><ETag>${part.etag}</ETag>${part.more ?? ''}</Part>`).join('')}</CompleteMultipartUpload>`

export const complete = (send: Send, key: string, uploadId: string, parts: readonly UploadedPart[], headers: Readonly<Record<string, string>> = {}): Promise<RawResponse> =>
  send('POST', `${key}?uploadId=${uploadId}`, { body: completeDocument(parts), headers })

export const md5 = (body: string | Uint8Array): string => createHash('md5').update(body).digest('hex')

/** S3's ETag of an object of parts: MD5 of the parts' MD5s, and how many they are. */
export const multipartEtag = (bodies: readonly (string | Uint8Array)[]): string =>
  `"${createHash('md5').update(Buffer.concat(bodies.map((body) => createHash('md5').update(body).digest()))).digest('hex')}-${bodies.length}"`

/** The CRCs of AWS's own library, called with the whole body: nothing is shared with the arithmetic that combines parts. */
const native = createRequire(import.meta.url)('aws-crt/dist/native/checksums.js') as { crc32c(data: Uint8Array): number; crc64nvme(data: Uint8Array): DataView }

function bigEndian(crc: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc >>> 0)
  return bytes
}

/** Digests by algorithm, in base64. */
export const digest: Readonly<Record<string, (body: Uint8Array) => string>> = {
  CRC32: (body) => bigEndian(crc32(body)).toString('base64'),
  CRC32C: (body) => bigEndian(native.crc32c(body)).toString('base64'),
  CRC64NVME: (body) => Buffer.from(native.crc64nvme(body).buffer).toString('base64'),
  SHA1: (body) => createHash('sha1').update(body).digest('base64'),
  SHA256: (body) => createHash('sha256').update(body).digest('base64'),
}
