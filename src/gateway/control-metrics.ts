import { hash, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { controlRequest } from './control-auth.ts'
import type { DebugAccess } from './control-debug.ts'

export interface MetricsAccess {
  /** False: whoever reaches the port may read them. */
  readonly authenticated: boolean
  /** Holds the token that opens them; null: none does. */
  readonly tokenFile: string | null
  /** Their text; null while the server starts. */
  readonly text: () => Promise<string | null>
  readonly contentType: string
}

const tokenCharsMin = 16

/** `/metrics`. Prometheus sends a bearer token; people may sign as for the admin API. */
export function metricsApp(access: MetricsAccess, debug: () => DebugAccess | null): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.get('/', async (c) => {
    c.header('Cache-Control', 'no-store')
    if (access.authenticated) {
      const { authorization } = c.env.incoming.headers
      if (authorization?.startsWith('Bearer ') === true) {
        const token = authorization.slice('Bearer '.length)
        const known = debug()
        const problem = known !== null && !('refusal' in await controlRequest(known, c.env.incoming, c.env.outgoing)) ? null : await tokenProblem(access.tokenFile, token)
        if (problem !== null) return c.json({ error: 'AccessDenied', message: problem }, 401, { 'WWW-Authenticate': 'Bearer' })
      } else {
        const known = debug()
        if (known === null) return c.json({ error: 'ServiceUnavailable', message: 'The server is starting: ask again in a second.' }, 503)
        const found = await controlRequest(known, c.env.incoming, c.env.outgoing)
        if ('refusal' in found) {
          const next = `Send the token of the file that HOLDFAST_METRICS_TOKEN_FILE names (Authorization: Bearer ...), or: ${found.refusal.next}`
          return c.json({ ...found.refusal, next }, found.status === 503 ? 503 : 401, { 'WWW-Authenticate': 'Bearer' })
        }
      }
    }
    const text = await access.text()
    if (text === null) return c.json({ error: 'ServiceUnavailable', message: 'The server is starting: ask again in a second.' }, 503)
    return c.body(text, 200, { 'Content-Type': access.contentType })
  })
  return app
}

/** Null when it is the token of the file. */
async function tokenProblem(file: string | null, given: string): Promise<string | null> {
  if (file === null) return 'No token opens the metrics: HOLDFAST_METRICS_TOKEN_FILE is not set.'
  const text = await readFile(file, 'utf8').catch(() => null)
  if (text === null) return 'The file that HOLDFAST_METRICS_TOKEN_FILE names cannot be read.'
  const token = text.trim()
  if (token.length < tokenCharsMin) return `The token in the file that HOLDFAST_METRICS_TOKEN_FILE names is shorter than ${tokenCharsMin} characters and opens nothing.`
  return timingSafeEqual(hash('sha256', token, 'buffer'), hash('sha256', given.trim(), 'buffer')) ? null : 'That is not the token of the metrics.'
}
