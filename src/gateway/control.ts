import type { RequestListener } from 'node:http'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { debugApp, type DebugAccess } from './control-debug.ts'

/** Door of the control port: health for everybody, what a live server tells about itself for the root account. */

export interface ControlOptions {
  /** Null when the server can serve, else why it cannot. */
  readonly notReady: () => Promise<string | null>
  /** What an answered write survives: shown, so that nobody runs `relaxed` without knowing. */
  readonly durability: 'strict' | 'relaxed'
  /** Null until the server knows its accounts. */
  readonly debug: () => DebugAccess | null
}

export type { DebugAccess } from './control-debug.ts'

/** Nothing that tells or changes something is here without authentication but the two health checks. */
export function controlApp({ notReady, durability, debug }: ControlOptions): RequestListener {
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.get('/health/live', (c) => c.json({ status: 'live', durability }))
  app.get('/health/ready', async (c) => {
    const reason = await notReady()
    return reason === null ? c.json({ status: 'ready', durability }) : c.json({ status: 'not ready', durability, reason }, 503)
  })
  app.route('/debug', debugApp(debug))
  app.notFound((c) => c.json({ error: 'not found' }, 404))
  return getRequestListener(app.fetch, { overrideGlobalObjects: false })
}
