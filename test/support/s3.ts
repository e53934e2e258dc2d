import { randomBytes } from 'node:crypto'
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client, S3ServiceException, type S3ClientConfig } from '@aws-sdk/client-s3'
import { keepAlive, signedRequest, xmlText, type Endpoint, type RawRequest, type RawResponse } from './raw.ts'

/** The SDK with its default settings (checksum trailers on) against a server; no retries, so that each answer is seen. */
export function s3Client(server: Endpoint, config: S3ClientConfig = {}): S3Client {
  return new S3Client({
    endpoint: server.url, region: server.region ?? 'us-east-1', forcePathStyle: true, maxAttempts: 1,
    credentials: { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey },
    requestHandler: { httpAgent: { keepAlive } }, ...config,
  })
}

/** A bucket name that no other test has. */
export function bucketName(): string {
  return `b-${randomBytes(8).toString('hex')}`
}

/** Makes a bucket of its own for a test, with versioning when asked. */
export async function newBucket(client: S3Client, versioning?: 'Enabled' | 'Suspended'): Promise<string> {
  const Bucket = bucketName()
  await client.send(new CreateBucketCommand({ Bucket }))
  if (versioning !== undefined) await setVersioning(client, Bucket, versioning)
  return Bucket
}

export async function setVersioning(client: S3Client, Bucket: string, Status: 'Enabled' | 'Suspended'): Promise<void> {
  await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }))
}

/** The error of a call that must fail: its code and status. */
export async function failure(call: Promise<unknown>): Promise<{ code: string; status: number; error: S3ServiceException }> {
  try {
    await call
  } catch (error) {
    if (!(error instanceof S3ServiceException)) throw error
    return { code: error.name, status: error.$metadata.httpStatusCode ?? 0, error }
  }
  throw new Error('the call succeeded, but it must fail')
}

export type Send = (method: string, target: string, options?: Omit<RawRequest, 'server' | 'method' | 'path'>) => Promise<RawResponse>

/** Signed requests against one bucket: `send('PUT', 'key?tagging', { body })`. `target` is what stands behind `/bucket/` on the wire. */
export function bucketSender(server: Endpoint, bucket: string): Send {
  return (method, target, options = {}) => signedRequest({ server, method, path: `/${bucket}/${target}`, ...options })
}

/** Percent-encodes a key for a path as an SDK does: everything but unreserved characters and slashes. */
export function keyPath(key: string): string {
  return encodeURIComponent(key).replace(/%2F/g, '/').replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Status and code of an answer in one, for one assertion: `404 NoSuchKey`; the code is empty where there is no document. */
export function outcome(response: RawResponse): string {
  const code = response.status >= 300 ? xmlText(response.text, 'Code') : undefined
  return code === undefined ? String(response.status) : `${response.status} ${code}`
}
