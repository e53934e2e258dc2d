import { hash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Auth } from '../auth/auth.ts'
import { S3Error } from '../domain/errors.ts'
import { messageOf } from '../protocol/errors.ts'
import type { AccessKey } from '../metadata/store.ts'
import type { S3Request } from '../protocol/request.ts'
import type { AdminTokens } from './admin-tokens.ts'
import { nextRequestId } from './ids.ts'
import { IncomingRequest } from './incoming.ts'

const hashOfNothing = hash('sha256', '', 'hex')

/** Who may ask on the control port. */
export interface ControlAccess {
  /** Knows the keys of `holder` and no others. */
  readonly auth: Auth
  /** The root account's own access keys, and admin keys as the database has them at this moment; null for all others. */
  readonly holder: (accessKeyId: string) => Promise<AccessKey | null>
  readonly rootAccountId: string
  /** Of the signatures. */
  readonly region: string
  readonly tokens: AdminTokens
}

export interface ControlRequest {
  readonly request: S3Request
  readonly by: 'signature' | 'token'
  readonly accessKeyId: string
  /** By the root account's own keys: an admin key is refused what would make it one of those. */
  readonly root: boolean
}

export interface Refusal {
  /** S3's code for what is wrong with the signature. */
  readonly error: string
  readonly message: string
  readonly next: string
}

/**
 * Who asks on the control port: the raw request when the root account's own access keys or an admin key signed it (signature version 4,
 * in headers or in a presigned URL), or when it has a token of such a key, which is worth no more than its key is now; else why not and what to do.
 */
export async function controlRequest(
  { auth, holder, rootAccountId, region, tokens }: ControlAccess, incoming: IncomingMessage, outgoing: ServerResponse, bodyHash = hashOfNothing,
): Promise<ControlRequest | { readonly refusal: Refusal; readonly status: 403 | 503 }> {
  const isRoot = ({ account, user }: Pick<AccessKey, 'account' | 'user'>): boolean => account.id === rootAccountId && user === null
  try {
    const request = new IncomingRequest(incoming, outgoing, nextRequestId(), { domain: null, secure: false })
    const authorization = request.headers.get('authorization')
    if (authorization?.startsWith('Bearer ') === true) {
      const accessKeyId = tokens.holder(authorization.slice('Bearer '.length))
      const key = accessKeyId === null ? null : await holder(accessKeyId)
      return key?.enabled === true ? { request, by: 'token', accessKeyId: key.accessKeyId, root: isRoot(key) } : { refusal: tokenRefusal, status: 403 }
    }
    const { principal } = await auth.authenticate(withBodyHash(request, bodyHash))
    // A signature without a header covers the hash of the body that came; one with a header covers the header.
    const announced = request.headers.get('x-amz-content-sha256')
    const unsigned = authorization === undefined || announced === 'UNSIGNED-PAYLOAD'
    if (unsigned ? bodyHash !== hashOfNothing : announced !== undefined && announced !== bodyHash) {
      throw new S3Error('XAmzContentSHA256Mismatch')
    }
    return { request, by: 'signature', accessKeyId: principal.accessKeyId, root: isRoot(principal) }
  } catch (error) {
    if (!(error instanceof S3Error)) throw error
    return { refusal: { error: error.code, message: reasonOf(error), next: nextStep(error.code, region, incoming) }, status: error.code === 'ServiceUnavailable' ? 503 : 403 }
  }
}

/**
 * S3 wants the hash of the body in a header. Signers of other services, and curl before 8, leave it away;
 * what they sign is the hash of the body all the same.
 */
function withBodyHash(request: IncomingRequest, bodyHash: string): S3Request {
  const { requestId, method, rawPath, rawQuery, query, headers, target, stream, arrived, secure, remoteAddress, receivedAt, signal, sendContinue } = request
  if (headers.get('authorization') === undefined || headers.has('x-amz-content-sha256')) return request
  const get = (name: string): string | undefined => name === 'x-amz-content-sha256' ? bodyHash : headers.get(name)
  return {
    requestId, method, rawPath, rawQuery, query, target, stream, arrived, secure, remoteAddress, receivedAt, signal, sendContinue,
    headers: { get, has: (name) => headers.has(name), entries: headers.entries },
  }
}

const tokenRefusal: Refusal = {
  error: 'AccessDenied', message: 'The token is not valid, or not any more: it lasts a quarter of an hour, and not longer than the server that gave it and the rights of the key that asked for it.',
  next: 'Ask for a new one: POST /admin/v1/token, signed with the root account’s access key or an admin key.',
}

function reasonOf(error: S3Error): string {
  if (error.code === 'InvalidAccessKeyId') return 'The access key is neither one of the root account’s own nor an admin key that is enabled: others open nothing here.'
  if (error.code === 'ServiceUnavailable') return 'The database does not answer, so that nothing is known of this access key: the root account’s own keys are known without it.'
  return messageOf(error)
}

function nextStep(code: string, region: string, incoming: IncomingMessage): string {
  if (code === 'ServiceUnavailable') return 'Ask again when /health/ready says that the server is ready.'
  if (code === 'RequestTimeTooSkewed') return 'Set the clock of the client: it differs from the server’s by more than 15 minutes.'
  const url = `http://${incoming.headers.host ?? 'HOST:PORT'}${(incoming.url ?? '').split('?')[0]}`
  return `Sign the request with the root account’s access key, or an admin key, for the service s3 and the region ${region}, for instance: `
    + `curl --aws-sigv4 "aws:amz:${region}:s3" --user "ACCESS_KEY:SECRET_KEY" "${url}"; or open a presigned URL of it. curl before 8 wants the parameters in alphabetical order, each with a value.`
}
