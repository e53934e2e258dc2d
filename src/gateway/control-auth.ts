import { hash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Auth } from '../auth/auth.ts'
import { S3Error } from '../domain/errors.ts'
import { messageOf } from '../protocol/errors.ts'
import type { S3Request } from '../protocol/request.ts'
import type { AdminTokens } from './admin-tokens.ts'
import { nextRequestId } from './ids.ts'
import { IncomingRequest } from './incoming.ts'

const hashOfNothing = hash('sha256', '', 'hex')

/** Who may ask on the control port. */
export interface ControlAccess {
  /** Knows the root account's own access keys and no others. */
  readonly auth: Auth
  /** Of the signatures. */
  readonly region: string
  readonly tokens: AdminTokens
}

export interface RootRequest {
  readonly request: S3Request
  readonly by: 'signature' | 'token'
}

export interface Refusal {
  /** S3's code for what is wrong with the signature. */
  readonly error: string
  readonly message: string
  readonly next: string
}

/**
 * Who asks on the control port: the raw request when the root account's own access keys signed it (signature version 4, in headers
 * or in a presigned URL), else why not and what to do. `auth` knows no other keys than those.
 */
export async function rootRequest({ auth, region, tokens }: ControlAccess, incoming: IncomingMessage, outgoing: ServerResponse, bodyHash = hashOfNothing): Promise<RootRequest | { readonly refusal: Refusal }> {
  try {
    const request = new IncomingRequest(incoming, outgoing, nextRequestId(), { domain: null, secure: false })
    const authorization = request.headers.get('authorization')
    if (authorization?.startsWith('Bearer ') === true) {
      return tokens.valid(authorization.slice('Bearer '.length)) ? { request, by: 'token' } : { refusal: tokenRefusal }
    }
    await auth.authenticate(withBodyHash(request, bodyHash))
    // A signature without a header covers the hash of the body that came; one with a header covers the header.
    const announced = request.headers.get('x-amz-content-sha256')
    const unsigned = authorization === undefined || announced === 'UNSIGNED-PAYLOAD'
    if (unsigned ? bodyHash !== hashOfNothing : announced !== undefined && announced !== bodyHash) {
      throw new S3Error('XAmzContentSHA256Mismatch')
    }
    return { request, by: 'signature' }
  } catch (error) {
    if (!(error instanceof S3Error)) throw error
    return { refusal: { error: error.code, message: reasonOf(error), next: nextStep(error.code, region, incoming) } }
  }
}

/**
 * S3 wants the hash of the body in a header. Signers of other services, and curl before 8, leave it away;
 * what they sign is the hash of the body all the same.
 */
function withBodyHash(request: IncomingRequest, bodyHash: string): S3Request {
  const { requestId, method, rawPath, rawQuery, query, headers, target, stream, secure, remoteAddress, receivedAt, signal, sendContinue } = request
  if (headers.get('authorization') === undefined || headers.has('x-amz-content-sha256')) return request
  const get = (name: string): string | undefined => name === 'x-amz-content-sha256' ? bodyHash : headers.get(name)
  return {
    requestId, method, rawPath, rawQuery, query, target, stream, secure, remoteAddress, receivedAt, signal, sendContinue,
    headers: { get, has: (name) => headers.has(name), entries: headers.entries },
  }
}

const tokenRefusal: Refusal = {
  error: 'AccessDenied', message: 'The token is not valid, or not any more: it lasts a quarter of an hour, and not longer than the server that gave it.',
  next: 'Ask for a new one: POST /admin/v1/token, signed with the root account’s access key.',
}

function reasonOf(error: S3Error): string {
  if (error.code === 'InvalidAccessKeyId') return 'The access key is not one of the root account: keys of users and of other accounts open nothing here.'
  return messageOf(error)
}

function nextStep(code: string, region: string, incoming: IncomingMessage): string {
  if (code === 'RequestTimeTooSkewed') return 'Set the clock of the client: it differs from the server’s by more than 15 minutes.'
  const url = `http://${incoming.headers.host ?? 'HOST:PORT'}${(incoming.url ?? '').split('?')[0]}`
  return `Sign the request with the root account’s access key for the service s3 and the region ${region}, for instance: `
    + `curl --aws-sigv4 "aws:amz:${region}:s3" --user "ACCESS_KEY:SECRET_KEY" "${url}"; or open a presigned URL of it. curl before 8 wants the parameters in alphabetical order, each with a value.`
}
