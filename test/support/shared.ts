import type { TestProject } from 'vitest/node'
import { startServer, type ServerAddress } from './server.ts'

/** vitest's global set-up: one real server for all files of test/s3. A failed start fails the run with the server's output. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer({ env: { HOLDFAST_PROCESSES: project.config.env['HOLDFAST_TEST_SPREAD'] === '1' ? '2' : '1' } })
  const { url, endpoint, controlUrl, port, controlPort, accessKeyId, secretAccessKey, accessKey, secretKey, region, dataDir } = server
  const address: ServerAddress = { url, endpoint, controlUrl, port, controlPort, accessKeyId, secretAccessKey, accessKey, secretKey, region, dataDir }
  project.provide('holdfast', address)
  return () => server.remove()
}
