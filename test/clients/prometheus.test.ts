import { execFile, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { signedRequest } from '../support/raw.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { makeWorkplace, type Workplace } from '../support/tools.ts'

/** A real Prometheus scrapes a real server of two processes; promtool judges what it gets. */

const run = promisify(execFile)
const token = 'a-token-for-the-metrics-only'
const alerts = fileURLToPath(new URL('../../helm/holdfast/files/alerts.yaml', import.meta.url))

let server: TestServer
let place: Workplace
let tokenFile = ''

beforeAll(async () => {
  place = await makeWorkplace('prometheus')
  tokenFile = place.at('token')
  await writeFile(tokenFile, `${token}\n`)
  server = await startServer({ env: { HOLDFAST_METRICS_TOKEN_FILE: tokenFile, HOLDFAST_PROCESSES: '2' } })
  await server.client.send(new CreateBucketCommand({ Bucket: 'seen' }))
  for (const bytes of [10, 200_000]) {
    await server.client.send(new PutObjectCommand({ Bucket: 'seen', Key: `of-${bytes}`, Body: Buffer.alloc(bytes) }))
    await (await server.client.send(new GetObjectCommand({ Bucket: 'seen', Key: `of-${bytes}` }))).Body?.transformToByteArray()
  }
})
afterAll(async () => {
  await server.remove()
  await place.remove()
})

const scrape = (given: string | null): Promise<Response> => fetch(`${server.controlUrl}/metrics`, given === null ? {} : { headers: { Authorization: `Bearer ${given}` } })

describe('/metrics', () => {
  test('opens for its token and for the root keys, and for nobody else', async () => {
    expect((await scrape(token)).status).toBe(200)
    expect((await scrape('another-token-of-some-length')).status).toBe(401)
    const refused = await scrape(null)
    expect([refused.status, refused.headers.get('www-authenticate'), await refused.text()]).toEqual([401, 'Bearer', expect.stringContaining('HOLDFAST_METRICS_TOKEN_FILE')])
    const control = { url: server.controlUrl, accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey, region: server.region }
    expect((await signedRequest({ server: control, path: '/metrics' })).status).toBe(200)
    // The token opens nothing else.
    expect((await fetch(`${server.controlUrl}/debug/runtime`, { headers: { Authorization: `Bearer ${token}` } })).status).toBe(403)
  })

  test('takes a token that was changed, and none that is too short', async () => {
    await writeFile(tokenFile, 'short\n')
    expect((await scrape('short')).status).toBe(401)
    await writeFile(tokenFile, 'the-next-token-of-metrics')
    expect([(await scrape('the-next-token-of-metrics')).status, (await scrape(token)).status]).toEqual([200, 401])
    await writeFile(tokenFile, token)
  })

  test('is what promtool takes', async () => {
    const text = await (await scrape(token)).text()
    const file = place.at('metrics.txt')
    await writeFile(file, text)
    const { stdout, stderr } = await run('sh', ['-c', 'promtool check metrics < "$1"', 'sh', file])
    expect(stdout + stderr).toBe('')
    expect(text).toContain('holdfast_server_processes 2')
    expect(text).not.toContain(server.secretAccessKey)
  })
})

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as net.AddressInfo
      probe.close(() => resolve(port))
    })
  })
}

test('Prometheus scrapes it, and its rules find a healthy server', async () => {
  const file = place.at('prometheus.yml')
  await writeFile(file, stringify({
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [alerts],
    scrape_configs: [{ job_name: 'holdfast', static_configs: [{ targets: [`127.0.0.1:${server.controlPort}`] }], authorization: { credentials_file: tokenFile } }],
  }))
  const port = await freePort()
  const prometheus = spawn('prometheus', [`--config.file=${file}`, `--storage.tsdb.path=${place.at('tsdb')}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  prometheus.stderr.on('data', (chunk: Buffer) => { log += chunk.toString() })
  const ended = new Promise((resolve) => prometheus.once('exit', resolve))
  const ask = async <T>(query: string): Promise<T> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${query}`)
    return (await answer.json() as { data: T }).data
  }
  try {
    interface Result { readonly result: readonly { readonly metric: Record<string, string>; readonly value: readonly [number, string] }[] }
    const value = async (query: string): Promise<string | undefined> => (await ask<Result>(`query?query=${encodeURIComponent(query)}`).catch(() => null))?.result[0]?.value[1]
    await expect.poll(() => value('up{job="holdfast"}'), { timeout: 30_000, message: log }).toBe('1')
    expect(await value('holdfast_requests_total{operation="PutObject",status="2xx"}')).toBe('2')
    expect(await value('holdfast_request_duration_seconds_count{operation="GetObject",status="2xx"}')).toBe('2')
    expect(await value('holdfast_bucket_bytes{bucket="seen"}')).toBe('200010')
    expect(await value('count(holdfast_memory_bytes{kind="resident"})')).toBe('3')
    const { alerts: firing } = await ask<{ alerts: { labels: { alertname: string }; state: string }[] }>('alerts')
    expect(firing.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname)).toEqual([])
  } finally {
    prometheus.kill('SIGTERM')
    await ended
  }
})

test('the alert rules are in order, and raise what they say', async () => {
  expect((await run('promtool', ['check', 'rules', alerts])).stdout).toContain('SUCCESS')
  // Their texts are for people and change; what is tested is when they are raised.
  const rules = parse(await readFile(alerts, 'utf8')) as { groups: { rules: { annotations?: unknown }[] }[] }
  for (const { rules: each } of rules.groups) for (const rule of each) delete rule.annotations
  await writeFile(place.at('rules.yaml'), stringify(rules))
  const tests = await readFile(fileURLToPath(new URL('./alerts.test.yaml', import.meta.url)), 'utf8')
  await writeFile(place.at('tests.yaml'), tests.replace('[RULES]', `[${JSON.stringify(path.basename(place.at('rules.yaml')))}]`))
  await expect(run('promtool', ['test', 'rules', place.at('tests.yaml')])).resolves.toBeDefined()
})
