import type { HttpBindings } from '@hono/node-server'
import { Hono, type Context } from 'hono'
import type { Auth } from '../auth/auth.ts'
import type { Query } from '../protocol/request.ts'
import type { ProfileAnswer, ProfileTarget } from '../telemetry/profile.ts'
import { rootRequest } from './control-auth.ts'

export interface DebugAccess {
  /** Knows the root account's own access keys and no others. */
  readonly auth: Auth
  /** Of the signatures. */
  readonly region: string
  /** The processes that can be asked: the first one unless `process=` names another. */
  readonly targets: () => readonly ProfileTarget[]
}

/** What the first step found out for the route. */
interface Asked {
  readonly query: Query
  readonly signal: AbortSignal
  readonly target: ProfileTarget
}

/** What is below /debug on the control port. Each request is authenticated before anything else is looked at. */
export function debugApp(access: () => DebugAccess | null): Hono<{ Bindings: HttpBindings }> {
  const asked = new WeakMap<HttpBindings, Asked>()
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.use(async (c, next) => {
    // No cache keeps it, and a presigned URL does not leave in a Referer.
    c.header('Cache-Control', 'no-store')
    c.header('X-Content-Type-Options', 'nosniff')
    c.header('Referrer-Policy', 'no-referrer')
    const debug = access()
    if (debug === null) return c.json({ error: 'ServiceUnavailable', message: 'The server is starting: ask again in a second.' }, 503)
    const found = await rootRequest(debug.auth, debug.region, c.env.incoming, c.env.outgoing)
    if ('refusal' in found) return c.json(found.refusal, 403)
    // Hono takes HEAD for GET, and a profile that nobody reads is not worth its cost.
    if (c.env.incoming.method !== 'GET') return c.json({ error: 'MethodNotAllowed', message: 'Only GET is answered here.' }, 405)
    const { query, signal } = found.request
    const targets = debug.targets()
    const name = query.get('process')
    const target = name === undefined ? targets[0] : targets.find((each) => each.name === name)
    if (target === undefined) return c.json({ error: 'InvalidArgument', message: `process must be one of: ${targets.map((each) => each.name).join(', ')}.` }, 400)
    asked.set(c.env, { query, signal, target })
    return next()
  })

  app.get('/runtime', async (c) => {
    const { query, target } = asked.get(c.env) as Asked
    const answer = await target.run({ kind: 'runtime', reset: query.has('reset') && query.get('reset') !== 'false' })
    return answer.ok ? c.json(answer.runtime) : refused(c, answer)
  })
  return app
}

function refused(c: Context, { status, error }: ProfileAnswer & { readonly ok: false }): Response {
  return c.json({ error: { 400: 'InvalidArgument', 409: 'Conflict', 500: 'InternalError', 503: 'ServiceUnavailable' }[status], message: error }, status)
}
