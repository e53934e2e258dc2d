import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { foreignVariables, sharedServer } from '../support/server.ts'

/** What the image's HEALTHCHECK runs. */

const server = sharedServer()
const script = fileURLToPath(new URL('../../scripts/healthcheck.mjs', import.meta.url))
let folder = ''
beforeAll(async () => { folder = await mkdtemp(path.join(tmpdir(), 'holdfast-health-')) })
afterAll(() => rm(folder, { recursive: true, force: true }))

function healthcheck(env: Readonly<Record<string, string>>): Promise<number | null> {
  const child = spawn(process.execPath, [script], { env: { ...foreignVariables(), ...env }, stdio: 'ignore' })
  return new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
}

test('finds the control port in the environment and in the configuration file, of which the environment wins', async () => {
  const file = path.join(folder, 'holdfast.yaml')
  await writeFile(file, `controlPort: ${server.controlPort}\n`)
  expect(await healthcheck({ HOLDFAST_CONTROL_PORT: String(server.controlPort) })).toBe(0)
  expect(await healthcheck({ HOLDFAST_CONFIG: file, HOLDFAST_HOST: '0.0.0.0' })).toBe(0)
  // The S3 port has no health.
  expect(await healthcheck({ HOLDFAST_CONFIG: file, HOLDFAST_PORT: '1', HOLDFAST_CONTROL_PORT: String(server.port) })).not.toBe(0)
})

test('speaks TLS when the file says so', async () => {
  const file = path.join(folder, 'tls.yaml')
  await writeFile(file, `controlPort: ${server.controlPort}\ntlsCertFile: /there/is/none.crt\ntlsKeyFile: /there/is/none.key\n`)
  // This server speaks plain HTTP.
  expect(await healthcheck({ HOLDFAST_CONFIG: file })).not.toBe(0)
})
