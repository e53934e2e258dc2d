import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { environmentOf, manifestsOf, podsOf, type Manifest, type Pod } from '../../scripts/helm/manifests.ts'
import { startExternalPostgres } from '../support/external-postgres.ts'
import { foreignVariables, startServer } from '../support/server.ts'

/**
 * What the chart renders, started for real without a cluster: the server with the environment and the mounted files of its pod, asked
 * by the probes of its pod and by the command of `helm test` with the environment of that pod.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-chart-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const generated: Readonly<Record<string, string>> = {
  HOLDFAST_ROOT_ACCESS_KEY: 'HFGENERATEDBYTHECHART', HOLDFAST_ROOT_SECRET_KEY: 'SecretOf40CharactersThatTheChartDraws000', HOLDFAST_MASTER_KEY: 'ab'.repeat(32),
}

interface Started {
  readonly env: Record<string, string>
  readonly container: Pod['spec']['containers'][number] & { readonly args?: readonly string[]; readonly readinessProbe?: Probe; readonly livenessProbe?: Probe }
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string; readonly scheme: string }
}

/** The environment of the pod's container, with the files of its volumes in a folder of this test. */
function prepared(name: string, pod: Pod, manifests: readonly Manifest[]): Started {
  const [container] = pod.spec.containers
  if (container === undefined) throw new Error(`${pod.of} has no container`)
  const env = environmentOf(container, manifests, (variable) => generated[variable] ?? '')
  // A golden file does not show what was generated.
  for (const [variable, value] of Object.entries(generated)) if (variable in env && !/^[\x21-\x7e]+$/.test(env[variable] ?? '')) env[variable] = value
  for (const { name: volume, mountPath } of container.volumeMounts ?? []) {
    const source = pod.spec.volumes?.find((candidate) => candidate.name === volume)
    const kept = manifests.find(({ kind, metadata }) => (kind === 'ConfigMap' && metadata.name === source?.configMap?.name) || (kind === 'Secret' && metadata.name === source?.secret?.secretName))
    const local = path.join(folder, name, volume)
    mkdirSync(local, { recursive: true })
    for (const [file, content] of Object.entries(kept?.data ?? {})) writeFileSync(path.join(local, file), kept?.kind === 'Secret' ? Buffer.from(content, 'base64') : content)
    for (const [variable, value] of Object.entries(env)) if (value.startsWith(`${mountPath}/`)) env[variable] = path.join(local, value.slice(mountPath.length))
  }
  return { env, container }
}

function runTestPod({ env, container }: Started, url: string): Promise<{ code: number | null; output: string }> {
  const args = (container.args ?? []).map((argument) => (/^https?:\/\//.test(argument) ? url : argument))
  const child = spawn(process.execPath, [path.join(root, 'src', 'main.ts'), ...args], { env: { ...foreignVariables(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

async function rehearse(name: string, own: Readonly<Record<string, string>>): Promise<void> {
  const manifests = manifestsOf(readFileSync(path.join(root, 'helm', 'golden', `${name}.yaml`), 'utf8'))
  const pods = podsOf(manifests)
  const serverPod = pods.find(({ of }) => !of.startsWith('Pod/'))
  const testPod = pods.find(({ of }) => of.startsWith('Pod/'))
  if (serverPod === undefined || testPod === undefined) throw new Error('pods are missing')
  const { env, container } = prepared(name, serverPod, manifests)
  const dataDir = path.join(folder, name, 'data')
  const server = await startServer({
    dataDir, env: { ...env, HOLDFAST_DATA_DIR: dataDir, HOLDFAST_HOST: '127.0.0.1', HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0', HOLDFAST_PROCESSES: '', HOLDFAST_LOG_LEVEL: '', ...own },
  })
  try {
    for (const probe of [container.livenessProbe, container.readinessProbe]) expect((await fetch(`${server.controlUrl}${probe?.httpGet.path}`)).status).toBe(200)
    const { code, output } = await runTestPod(prepared(`${name}-test`, testPod, manifests), server.url)
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('remove the bucket: ok') })
  } finally {
    await server.remove()
  }
}

test('a single server starts as the chart says, and helm test passes', () => rehearse('single', {}))

test('a server over an external PostgreSQL does', async () => {
  const postgres = await startExternalPostgres()
  try {
    await rehearse('replicas', { HOLDFAST_DATABASE_URL: postgres.url })
  } finally {
    await postgres.remove()
  }
})
