import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeWorkplace } from '../support/tools.ts'
import type { Workplace } from '../support/tools.ts'
import { startNameProxy, testDomain } from './name-proxy.ts'

/** What one test file works with: a server of its own and a folder for its tools. */
export interface Scene {
  readonly server: TestServer
  readonly place: Workplace
  /** What a tool needs to address buckets by host name, below `namedEndpoint`. */
  readonly proxyEnv: Readonly<Record<string, string>>
  readonly namedEndpoint: string
  /** Stops the server and removes both folders; throws when the server had an error of its own in its log, left temporary files or did not stop cleanly. */
  close(): Promise<void>
}

/** Opens a scene; `name` is only for people who look at the folder. */
export async function openScene(name: string): Promise<Scene> {
  const place = await makeWorkplace(name)
  const server = await startServer({ env: { HOLDFAST_DOMAIN: testDomain } })
  const proxy = await startNameProxy(server.port)
  return {
    server,
    place,
    proxyEnv: { http_proxy: proxy.url, HTTP_PROXY: proxy.url },
    namedEndpoint: `http://${testDomain}:${server.port}`,
    async close() {
      await proxy.stop()
      const status = await server.stop()
      const temporary = await filesBelow(path.join(server.dataDir, 'drive', 'tmp'))
      await server.remove()
      await place.remove()
      // Every tool retries what fails with 500, so an inner error would otherwise pass unseen.
      const errors = server.output().split('\n').filter((line) => line.includes('"level":"error"'))
      if (status !== 0 || errors.length > 0) throw new Error(`The server ended with status ${status}; errors in its log:\n${errors.join('\n')}`)
      if (temporary.length > 0) throw new Error(`The server left temporary files behind: ${temporary.join(', ')}`)
    },
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
}
