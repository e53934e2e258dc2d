import { once } from 'node:events'
import net from 'node:net'

/** A server behind the balancer. */
export interface Backend {
  readonly port: number
  readonly controlUrl: string
}

export interface Balancer {
  readonly port: number
  /** How many servers were ready at the last look. */
  ready(): number
  close(): Promise<void>
}

/**
 * A TCP balancer as simple as they come: it looks at `/health/ready` of each server now and then and gives new connections to the
 * ready ones in turn. It sends nothing twice, and a connection that a server refuses is the client's bad luck.
 */
export async function startBalancer(backends: readonly Backend[], lookEveryMs = 250): Promise<Balancer> {
  let ready: readonly Backend[] = []
  let turn = 0
  async function look(): Promise<void> {
    const health = await Promise.all(backends.map(({ controlUrl }) => fetch(`${controlUrl}/health/ready`).then(({ status }) => status === 200, () => false)))
    ready = backends.filter((_, index) => health[index])
  }
  await look()
  const timer = setInterval(() => void look(), lookEveryMs)
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const backend = ready[turn++ % ready.length]
    if (backend === undefined) return void client.destroy()
    const upstream = net.connect({ port: backend.port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy()).once('close', () => sockets.delete(from))
      from.pipe(to)
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as net.AddressInfo).port,
    ready: () => ready.length,
    async close() {
      clearInterval(timer)
      for (const socket of sockets) socket.destroy()
      await once(server.close(), 'close')
    },
  }
}
