import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The domain of servers in these tests; a bucket is addressed as `BUCKET.holdfast.test`. No name server needs to know it. */
export const testDomain = 'holdfast.test'

export interface NameProxy {
  /** For the variable http_proxy. */
  readonly url: string
  stop(): Promise<void>
}

/**
 * A plain HTTP proxy that takes every host name for the server on `port`. Tools that address buckets by host name need names that resolve;
 * through a proxy they ask nobody, and the Host header that they signed arrives as they sent it.
 */
export async function startNameProxy(port: number): Promise<NameProxy> {
  const proxy = createServer((incoming, outgoing) => {
    const path = (incoming.url ?? '').replace(/^http:\/\/[^/?]+/, '')
    const upstream = request({ host: '127.0.0.1', port, method: incoming.method, path: path === '' ? '/' : path, headers: incoming.rawHeaders }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      answer.pipe(outgoing)
    })
    upstream.on('error', () => outgoing.destroy())
    incoming.pipe(upstream)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    async stop() {
      proxy.closeAllConnections()
      await new Promise((resolve) => proxy.close(resolve))
    },
  }
}
