import type { RequestListener } from 'node:http'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { adminApp, type AdminAccess } from './control-admin.ts'
import { debugApp, type DebugAccess } from './control-debug.ts'
import { metricsApp, type MetricsAccess } from './control-metrics.ts'

/** Door of the control port: health for everybody, metrics for who has their token, administration for the root account's keys and admin keys, what a live server tells about itself for the root account. */

export interface ControlOptions {
  /** Null when the server can serve, else why it cannot. */
  readonly notReady: () => Promise<string | null>
  /** What an answered write survives: shown, so that nobody runs `relaxed` without knowing. */
  readonly durability: 'strict' | 'relaxed'
  /** Null until the server knows its accounts. */
  readonly debug: () => DebugAccess | null
  readonly metrics: MetricsAccess
  readonly admin: AdminAccess
}

export { AdminError, type AdminRoute, type Asked, type Asker, type Schema } from './admin-route.ts'
export { createAdminTokens, type AdminTokens } from './admin-tokens.ts'
export type { DebugAccess } from './control-debug.ts'
export type { MetricsAccess } from './control-metrics.ts'

/** Nothing that tells or changes something is here without authentication but the two health checks, and metrics where the operator opened them. */
export function controlApp({ notReady, durability, debug, metrics, admin }: ControlOptions): RequestListener {
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.get('/health/live', (c) => c.json({ status: 'live', durability }))
  app.get('/health/ready', async (c) => {
    const reason = await notReady()
    return reason === null ? c.json({ status: 'ready', durability }) : c.json({ status: 'not ready', durability, reason }, 503)
  })
  app.route('/metrics', metricsApp(metrics, debug))
  app.route('/admin', adminApp(admin, debug))
  app.route('/debug', debugApp(debug))
  app.notFound((c) => c.json({ error: 'not found' }, 404))
  return getRequestListener(app.fetch, { overrideGlobalObjects: false })
}
