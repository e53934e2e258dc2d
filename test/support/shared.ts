import type { TestProject } from 'vitest/node'
import { startServer, type ServerAddress } from './server.ts'

/** vitest's global set-up: one real server for all files of a project, with two processes where its name says so. A failed start fails the run with the server's output. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer({ env: { HOLDFAST_PROCESSES: project.name === 'processes' ? '2' : '1' } })
  const { url, endpoint, controlUrl, port, controlPort, accessKeyId, secretAccessKey, accessKey, secretKey, region, dataDir } = server
  const address: ServerAddress = { url, endpoint, controlUrl, port, controlPort, accessKeyId, secretAccessKey, accessKey, secretKey, region, dataDir }
  project.provide('holdfast', address)
  return () => server.remove()
}
