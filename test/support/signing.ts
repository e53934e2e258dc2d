import { createHash, createHmac } from 'node:crypto'
import type { Endpoint } from './raw.ts'

/**
 * Signature version 4 by hand, from the words of the documentation, for requests that no signer makes: other dates, scopes and
 * signed headers, and chunk by chunk. Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
 */

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex')
const hmac = (key: string | Uint8Array, data: string): Buffer => createHmac('sha256', key).update(data).digest()

/** `20260102T030405Z` of a time so many seconds from now. */
export const timestamp = (secondsFromNow = 0): string => new Date(Date.now() + secondsFromNow * 1000).toISOString().replace(/[-:]|\.\d{3}/g, '')

export interface Signing {
  readonly server: Endpoint
  readonly method?: string
  /** As on the wire; must need no re-encoding. */
  readonly path: string
  /** Parameters in any order, values not encoded. */
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  /** x-amz-content-sha256. */
  readonly payload?: string
  readonly time?: string
  /** Replaces pieces of the credential scope: date, region, service, terminator. */
  readonly scope?: Readonly<Partial<Record<'date' | 'region' | 'service' | 'terminator', string>>>
  readonly accessKeyId?: string
  readonly secretAccessKey?: string
}

const encode = (text: string): string => encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
export const queryString = (query: Readonly<Record<string, string>>): string =>
  Object.entries(query).map(([name, value]) => `${encode(name)}=${encode(value)}`).sort().join('&')

interface Signed {
  readonly path: string
  readonly headers: Record<string, string>
  readonly signature: string
  readonly scope: string
  readonly key: Buffer
  readonly time: string
}

function scopeOf(signing: Signing, time: string): { credential: string; scope: string; key: Buffer } {
  const { server, scope: own = {} } = signing
  const date = own.date ?? time.slice(0, 8)
  const region = own.region ?? server.region ?? 'us-east-1'
  const service = own.service ?? 's3'
  const terminator = own.terminator ?? 'aws4_request'
  const key = derivedKey([signing.secretAccessKey ?? server.secretAccessKey, date, region, service, terminator])
  const scope = `${date}/${region}/${service}/${terminator}`
  return { credential: `${signing.accessKeyId ?? server.accessKeyId}/${scope}`, scope, key }
}

const keys = new Map<string, Buffer>()
const keysMax = 1000

/** Remembered, as clients do: who signs a million requests derives it once. */
function derivedKey(pieces: readonly string[]): Buffer {
  const name = pieces.join('\n')
  const known = keys.get(name)
  if (known !== undefined) return known
  const key = pieces.reduce<Buffer | null>((previous, piece) => (previous === null ? Buffer.from(`AWS4${piece}`) : hmac(previous, piece)), null) as Buffer
  if (keys.size >= keysMax) keys.clear()
  keys.set(name, key)
  return key
}

function signatureOf(method: string, path: string, query: string, headers: Readonly<Record<string, string>>, payload: string, time: string, scope: string, key: Buffer): string {
  const names = Object.keys(headers).sort()
  const canonical = [method, path, query, ...names.map((name) => `${name}:${headers[name]?.trim()}`), '', names.join(';'), payload].join('\n')
  return hmac(key, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n')).toString('hex')
}

/** All headers given are signed. */
export function signHeaders(signing: Signing): Signed {
  const { method = 'GET', path, query = {}, payload = 'UNSIGNED-PAYLOAD', time = timestamp() } = signing
  const { credential, scope, key } = scopeOf(signing, time)
  const headers: Record<string, string> = { host: new URL(signing.server.url).host, 'x-amz-date': time, 'x-amz-content-sha256': payload, ...signing.headers }
  const signature = signatureOf(method, path, queryString(query), headers, payload, time, scope, key)
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${Object.keys(headers).sort().join(';')}, Signature=${signature}`
  const search = queryString(query)
  return { path: search === '' ? path : `${path}?${search}`, headers: { ...headers, authorization }, signature, scope, key, time }
}

/** A presigned URL; `expires` as it is written into the URL, undefined leaves it away. */
export function presign(signing: Signing & { readonly expires?: string | undefined }): Signed {
  const { method = 'GET', path, query = {}, time = timestamp() } = signing
  const { credential, scope, key } = scopeOf(signing, time)
  const headers: Record<string, string> = { host: new URL(signing.server.url).host, ...signing.headers }
  const parameters = {
    ...query, 'X-Amz-Algorithm': 'AWS4-HMAC-SHA256', 'X-Amz-Credential': credential, 'X-Amz-Date': time, 'X-Amz-SignedHeaders': Object.keys(headers).sort().join(';'),
    ...(signing.expires === undefined ? {} : { 'X-Amz-Expires': signing.expires }),
  }
  const signature = signatureOf(method, path, queryString(parameters), headers, signing.payload ?? 'UNSIGNED-PAYLOAD', time, scope, key)
  return { path: `${path}?${queryString(parameters)}&X-Amz-Signature=${signature}`, headers, signature, scope, key, time }
}

/** The body of signed chunks and the headers of its request. `trailer` is what stands behind the last chunk, signed as well. */
export function signedChunks(signing: Signing, chunks: readonly Uint8Array[], trailer?: readonly [name: string, value: string]): { readonly path: string; readonly headers: Record<string, string>; readonly pieces: Buffer[] } {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const signed = signHeaders({
    ...signing, payload: trailer === undefined ? 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' : 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
    headers: { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': String(size), ...(trailer === undefined ? {} : { 'x-amz-trailer': trailer[0] }), ...signing.headers },
  })
  let previous = signed.signature
  const next = (kind: string, ...hashes: string[]): string => (previous = hmac(signed.key, [kind, signed.time, signed.scope, previous, ...hashes].join('\n')).toString('hex'))
  const pieces = [...chunks, new Uint8Array(0)].map((chunk) => {
    const head = `${chunk.length.toString(16)};chunk-signature=${next('AWS4-HMAC-SHA256-PAYLOAD', sha256(''), sha256(chunk))}\r\n`
    return Buffer.concat([Buffer.from(head), chunk, Buffer.from(chunk.length === 0 && trailer !== undefined ? '' : '\r\n')])
  })
  if (trailer !== undefined) {
    const line = `${trailer[0]}:${trailer[1]}`
    pieces.push(Buffer.from(`${line}\r\nx-amz-trailer-signature:${next('AWS4-HMAC-SHA256-TRAILER', sha256(`${line}\n`))}\r\n\r\n`))
  }
  const { path, headers } = signed
  return { path, headers: { ...headers, 'content-length': String(pieces.reduce((sum, piece) => sum + piece.length, 0)) }, pieces }
}
