import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * As much of a Kubernetes API as helm's `lookup` asks for: what there is, and the Secrets of one namespace. With it an upgrade can be
 * rendered without a cluster. Read only.
 */
export async function secretsApi(secrets: ReadonlyMap<string, unknown>): Promise<{ kubeconfig: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? ''
    const body = answer(path, secrets)
    response.writeHead(body === null ? 404 : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', message: `${path} not found`, code: 404 }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const kubeconfig = JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'check',
    clusters: [{ name: 'check', cluster: { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } }],
    contexts: [{ name: 'check', context: { cluster: 'check', user: 'check' } }], users: [{ name: 'check', user: {} }],
  })
  return { kubeconfig, close: () => closed(server) }
}

function answer(path: string, secrets: ReadonlyMap<string, unknown>): unknown {
  if (path === '/version') return { major: '1', minor: '37', gitVersion: 'v1.37.0' }
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'] }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: [] }
  if (path === '/api/v1') {
    return { kind: 'APIResourceList', groupVersion: 'v1', resources: [{ name: 'secrets', singularName: 'secret', namespaced: true, kind: 'Secret', verbs: ['get', 'list'] }] }
  }
  return secrets.get(path.replace(/^\/api\/v1\/namespaces\/default\/secrets\//, '')) ?? null
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}
