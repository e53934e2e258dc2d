import { hash } from 'node:crypto'
import type { HttpBindings } from '@hono/node-server'
import { Hono, type Context } from 'hono'
import type { Query } from '../protocol/request.ts'
import type { Log } from '../telemetry/log.ts'
import { AdminError, openApi, schemaProblem, selected, type AdminRoute } from './admin-route.ts'
import { controlRequest, type ControlAccess } from './control-auth.ts'

export interface AdminAccess {
  readonly version: string
  readonly log: Log
  /** Null until the server can be administered. */
  readonly routes: () => readonly AdminRoute[] | null
}

const bodyBytesMax = 64 * 1024
const codes = { 400: 'InvalidArgument', 403: 'AccessDenied', 404: 'NotFound', 409: 'Conflict', 503: 'ServiceUnavailable' } as const

/** What is below /admin: the routes of the table and the document about them. Each request is authenticated before anything else is looked at. */
export function adminApp({ version, log, routes }: AdminAccess, access: () => ControlAccess | null): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.all('*', async (c) => {
    c.header('Cache-Control', 'no-store')
    c.header('X-Content-Type-Options', 'nosniff')
    const [known, all] = [access(), routes()]
    if (known === null || all === null) return c.json({ error: 'ServiceUnavailable', message: 'The server is starting: ask again in a second.' }, 503)
    const body = await readBody(c)
    if (body === null) return c.json({ error: 'InvalidArgument', message: `A body needs a Content-Length of at most ${bodyBytesMax} bytes.` }, 413)
    const found = await controlRequest(known, c.env.incoming, c.env.outgoing, hash('sha256', body, 'hex'))
    if ('refusal' in found) return c.json(found.refusal, found.status)
    const { rawPath, method, query } = found.request
    if (rawPath === '/admin/openapi.json' && method === 'GET') return c.json(openApi(all, version))
    const here = all.flatMap((route) => {
      const path = matched(route.path, rawPath)
      return path === null ? [] : [{ route, path }]
    })
    const chosen = here.find(({ route }) => route.method === method)
    if (chosen === undefined) {
      if (here.length === 0) return c.json({ error: 'NotFound', message: 'There is nothing here; /admin/openapi.json lists what there is.' }, 404)
      return c.json({ error: 'MethodNotAllowed', message: `Answered here: ${here.map(({ route }) => route.method).join(', ')}.` }, 405)
    }
    const { route, path } = chosen
    if (route.needs === 'signature' && found.by === 'token') return c.json({ error: 'AccessDenied', message: 'This wants a signature, not a token.' }, 403)
    try {
      const answer = await route.run({ path, query: checkedQuery(route, query), body: checkedBody(route, body), by: found })
      const fields = query.get('fields')
      return c.json(fields === undefined ? answer as object : selected(answer, fields, route.answer) as object, route.status ?? 200)
    } catch (error) {
      if (error instanceof AdminError) return c.json({ error: codes[error.status], message: error.message }, error.status)
      log.error('A request to the admin API failed', { method, path: rawPath, error })
      return c.json({ error: 'InternalError', message: 'It failed by a fault of the server; its log says more.' }, 500)
    }
  })
  return app
}

/** Null: too long, or nobody knows how long. */
async function readBody(c: Context<{ Bindings: HttpBindings }>): Promise<Buffer | null> {
  const { incoming } = c.env
  const length = Number(incoming.headers['content-length'] ?? 0)
  if (incoming.headers['transfer-encoding'] !== undefined || !(length <= bodyBytesMax)) return null
  const chunks: Buffer[] = []
  if (length > 0) for await (const chunk of incoming) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** What stands in the path for the names of the template; null when it is another path. */
function matched(template: string, rawPath: string): Record<string, string> | null {
  const wanted = `/admin/v1${template}`.split('/')
  const given = rawPath.split('/')
  if (wanted.length !== given.length) return null
  const values: Record<string, string> = {}
  for (const [index, part] of wanted.entries()) {
    const own = given[index] ?? ''
    const name = /^\{(\w+)\}$/.exec(part)?.[1]
    if (name === undefined && part !== own) return null
    if (name !== undefined) values[name] = own.includes('%') ? decoded(own) : own
  }
  return values
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    if (error instanceof URIError) return text
    throw error
  }
}

function checkedQuery({ query: allowed = {} }: AdminRoute, query: Query): Query {
  const foreign = query.entries.find(([name]) => name !== 'fields' && !name.toLowerCase().startsWith('x-amz-') && allowed[name] === undefined)
  if (foreign !== undefined) throw new AdminError(400, `There is no parameter ${foreign[0]}; allowed: ${['fields', ...Object.keys(allowed)].join(', ')}.`)
  for (const [name, schema] of Object.entries(allowed)) {
    const text = query.get(name)
    const value = schema.type === 'integer' && text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : text
    const problem = text === undefined ? null : schemaProblem(schema, value, name)
    if (problem !== null) throw new AdminError(400, `${problem}.`)
  }
  return query
}

function checkedBody({ body: schema }: AdminRoute, bytes: Buffer): Readonly<Record<string, unknown>> {
  if (schema === undefined) {
    if (bytes.length > 0) throw new AdminError(400, 'This takes no body.')
    return {}
  }
  let value: unknown = {}
  try {
    if (bytes.length > 0) value = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new AdminError(400, `The body is no JSON: ${error instanceof Error ? error.message : String(error)}.`)
  }
  const problem = schemaProblem(schema, value, 'body')
  if (problem !== null) throw new AdminError(400, `${problem}.`)
  return value as Record<string, unknown>
}
