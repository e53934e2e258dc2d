import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'

/**
 * Door of the gateway: the Hono app of the S3 port, a single catch-all, because any path can be a bucket. `control.ts` has the
 * other port. Neither replaces global objects.
 */

/** Answers one request by writing to `outgoing`; never throws. */
export type Serve = (incoming: IncomingMessage, outgoing: ServerResponse) => void

/**
 * The S3 port. Keys and signatures are made from the raw request line, so the app never looks at the web Request: Hono gets one
 * constant request for all. That keeps it from treating HEAD as GET, from decoding paths, from refusing what is for S3 to judge (a raw
 * backslash in a key, a Host that no URL takes), and from parsing a URL that nobody reads. The adapter of the control port would turn
 * Hono's answer, which is always the same and already sent, into headers for each request, and listen for the end of each.
 */
export function s3App(serve: Serve): RequestListener {
  const app = new Hono<{ Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse } }>({ getPath: () => '/' })
  app.all('/', (context) => {
    serve(context.env.incoming, context.env.outgoing)
    return RESPONSE_ALREADY_SENT
  })
  const anyRequest = new Request('http://s3/')
  return (incoming, outgoing) => void app.fetch(anyRequest, { incoming, outgoing })
}
