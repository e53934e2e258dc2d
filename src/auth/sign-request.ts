import { hash } from 'node:crypto'
import { canonicalHeaders, canonicalPath, canonicalQuery, canonicalRequest } from './canonical.ts'
import { algorithmV4 } from './sigv4-parse.ts'
import { stringToSign } from './sigv4.ts'
import { createSigner, deriveSigningKey } from './signing.ts'

/** What the program asks a server for, its own or another. */
export interface RequestToSign {
  readonly method: string
  /** As in the header `host`. */
  readonly host: string
  /** As on the wire. */
  readonly path: string
  readonly query?: string
  readonly body?: string | Uint8Array
}

export interface RequestKeys {
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** The header fields of a request that is signed now by version 4: the other side of `verifyV4`. */
export function signRequest({ method, host, path, query = '', body = '' }: RequestToSign, { region, accessKeyId, secretAccessKey }: RequestKeys): Record<string, string> {
  const timestamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const date = timestamp.slice(0, 8)
  const scope = `${date}/${region}/s3/aws4_request`
  const payloadHash = hash('sha256', body, 'hex')
  const headers = { 'x-amz-content-sha256': payloadHash, 'x-amz-date': timestamp }
  const signedHeaders = ['host', ...Object.keys(headers)]
  const canonical = canonicalRequest({
    method, path: canonicalPath(path), query: canonicalQuery(query), headers: canonicalHeaders([['host', host], ...Object.entries(headers)]), signedHeaders, payloadHash,
  })
  const signature = createSigner(deriveSigningKey(secretAccessKey, date, region, 's3'))(stringToSign(canonical, timestamp, scope))
  return { ...headers, authorization: `${algorithmV4} Credential=${accessKeyId}/${scope}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}` }
}
