import type { HttpBindings } from '@hono/node-server'
import { Hono, type Context } from 'hono'
import type { Query } from '../protocol/request.ts'
import { profilePage, profileSecondsDefault, profileSecondsMax, type ProfileAnswer, type ProfileTarget } from '../telemetry/profile.ts'
import { controlRequest, type ControlAccess } from './control-auth.ts'

export interface DebugAccess extends ControlAccess {
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
    const found = await controlRequest(debug, c.env.incoming, c.env.outgoing)
    if ('refusal' in found) return c.json(found.refusal, found.status)
    // A heap holds every secret of the process, the root keys among them.
    if (!found.root) return c.json({ error: 'AccessDenied', message: 'Only the root account’s own keys open this: what is in the memory of the server could make an admin key one of those.' }, 403)
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
    const { query, target, signal } = asked.get(c.env) as Asked
    const answer = await target.run({ kind: 'runtime', reset: query.has('reset') && query.get('reset') !== 'false' }, { signal, write: noPieces })
    if (!answer.ok) return refused(c, answer)
    return answer.kind === 'runtime' ? c.json(answer.runtime) : unexpected(c)
  })
  app.get('/profile', (c) => sampled(c, asked.get(c.env) as Asked, 'cpu', 'cpuprofile'))
  app.get('/allocations', (c) => sampled(c, asked.get(c.env) as Asked, 'allocations', 'heapprofile'))
  app.get('/heap', (c) => snapshot(c, asked.get(c.env) as Asked))
  return app
}

/** A profile over some seconds, as V8's JSON for one thread, as JSON with all of them, or as a page. */
async function sampled(c: Context, { query, signal, target }: Asked, kind: 'cpu' | 'allocations', ending: string): Promise<Response> {
  const seconds = query.get('seconds') === undefined ? profileSecondsDefault : Number(query.get('seconds'))
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > profileSecondsMax) {
    return refused(c, { ok: false, status: 400, error: `seconds must be a whole number from 1 to ${profileSecondsMax}.` })
  }
  const format = query.get('format') ?? 'json'
  if (format !== 'json' && format !== 'html') return refused(c, { ok: false, status: 400, error: 'format must be json or html.' })
  const thread = query.get('thread') ?? (format === 'html' ? 'all' : 'main')
  const answer = await target.run({ kind, seconds, thread }, { signal, write: noPieces })
  if (!answer.ok) return refused(c, answer)
  if (answer.kind !== 'profile') return unexpected(c)
  const { threads, silent } = answer
  if (silent.length > 0) c.header('Holdfast-Silent-Threads', silent.join(', '))
  if (format === 'html') {
    // All that the page needs is in it; nothing that stands in a profile can load anything.
    c.header('Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
    return c.html(await profilePage({ kind, process: target.name, seconds, silent, threads }))
  }
  const [only] = threads
  const single = thread !== 'all' && only !== undefined
  c.header('Content-Type', 'application/json')
  c.header('Content-Disposition', attachment(target, thread, single ? ending : `${ending}s.json`))
  return c.body(single ? only.profile : `[${threads.map((each) => `{"thread":${JSON.stringify(each.thread)},"profile":${each.profile}}`).join(',')}]`)
}

/** Streams a heap snapshot. Whether there will be one is known with its first piece. */
async function snapshot(c: Context, { query, signal, target }: Asked): Promise<Response> {
  const thread = query.get('thread') ?? 'main'
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const encoder = new TextEncoder()
  const begun = Promise.withResolvers<null>()
  const answered = target.run({ kind: 'heap', thread }, {
    signal,
    write(piece) {
      begun.resolve(null)
      return writer.write(encoder.encode(piece))
    },
  })
  // Either end of the stream tells the other: a failure here breaks the answer off, a client that is gone makes `write` reject.
  answered.then((answer) => (answer.ok ? writer.close() : writer.abort(answer.error)), (error: unknown) => writer.abort(error)).catch(String)
  const refusal = await Promise.race([begun.promise, answered])
  if (refusal !== null) return refusal.ok ? unexpected(c) : refused(c, refusal)
  c.header('Content-Type', 'application/json')
  c.header('Content-Disposition', attachment(target, thread, 'heapsnapshot'))
  // The listener would gather the first pieces to find out the length.
  c.header('Transfer-Encoding', 'chunked')
  return c.body(readable)
}

function attachment(target: ProfileTarget, thread: string, ending: string): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  return `attachment; filename="holdfast-${target.name}-${thread}-${time}.${ending}"`
}

const noPieces = (): Promise<void> => Promise.resolve()
const codes = { 400: 'InvalidArgument', 409: 'OperationAborted', 503: 'ServiceUnavailable' } as const

function refused(c: Context, { status, error }: ProfileAnswer & { readonly ok: false }): Response {
  return c.json({ error: codes[status], message: error }, status)
}

/** A process of another version answered something else than what it was asked. */
function unexpected(c: Context): Response {
  return c.json({ error: 'InternalError', message: 'The process answered something else than what it was asked.' }, 500)
}
