import net from 'node:net'

/** So many ports of loopback that nobody listens on just now. */
export async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => resolve(server))
  })))
  const ports = servers.map((server) => server.address().port)
  for (const server of servers) server.close()
  return ports
}
