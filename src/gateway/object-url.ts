import { encodeKey } from '../protocol/xml.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Makes the absolute URL of a key as the client of this request would write it (Location elements): on the public URL when there
 * is one, else on the host that the client named, in its style of addressing.
 */
export function objectUrls(options: { publicUrl: string | null; domain: string | null }): (request: S3Request, bucket: string, key: string) => string {
  return (request, bucket, key) => {
    const path = encodeKey(key, 'url')
    if (options.publicUrl !== null) return `${options.publicUrl}/${bucket}/${path}`
    const host = request.headers.get('host') ?? 'localhost'
    const base = `${request.secure ? 'https' : 'http'}://${host}`
    const virtual = options.domain !== null && host.toLowerCase().replace(/:\d*$/, '') === `${bucket}.${options.domain}`
    return virtual ? `${base}/${path}` : `${base}/${bucket}/${path}`
  }
}
