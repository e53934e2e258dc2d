import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'

/**
 * Door of the gateway: the Hono app of the S3 port, a single catch-all, because any path can be a bucket. `control.ts` has the
 * other port. Neither replaces global objects.
 */

/** Answers one request by writing to `outgoing`; never throws. */
export type Serve = (incoming: IncomingMessage, outgoing: ServerResponse) => void

/**
 * The S3 port. Keys and signatures are made from the raw request line, so the app never looks at the web Request: the listener
 * and Hono get one constant request for all. That keeps them from treating HEAD as GET, from decoding paths, from refusing what is
 * for S3 to judge (a raw backslash in a key, a Host that no URL takes), and from parsing a URL that nobody reads.
 */
export function s3App(serve: Serve): RequestListener {
  const app = new Hono<{ Bindings: HttpBindings }>({ getPath: () => '/' })
  // The listener calls the app before its first await, so `current` is the request at hand.
  let current: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse } | null = null
  app.all('/', () => {
    if (current !== null) serve(current.incoming, current.outgoing)
    return RESPONSE_ALREADY_SENT
  })
  const anyRequest = new Request('http://s3/')
  const listener = getRequestListener((_request, env) => app.fetch(anyRequest, env), { overrideGlobalObjects: false, autoCleanupIncoming: false })
  return (incoming, outgoing) => {
    current = { incoming, outgoing }
    void listener(anyIncoming, outgoing)
    current = null
  }
}

/** What the listener reads of a request to make a web Request of it. */
const anyIncoming = { method: 'GET', url: '/', headers: { host: 's3' }, socket: {}, readableDidRead: true } as unknown as IncomingMessage
