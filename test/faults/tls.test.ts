import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeAuthority, type Authority, type Pair } from '../support/authority.ts'
import { failedStart, startServer, type ServerAddress } from '../support/server.ts'

let folder: string
let authority: Authority
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-tls-'))
  authority = makeAuthority(folder, 'authority')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** As Kubernetes keeps a secret: two links through `..data`, which a rename swaps. */
async function secretOf(pair: Pick<Pair, 'cert' | 'key'>, place: string, version: number): Promise<{ certFile: string; keyFile: string }> {
  const root = path.join(folder, place)
  const data = path.join(root, `..data-${version}`)
  await mkdir(data, { recursive: true })
  await writeFile(path.join(data, 'tls.crt'), pair.cert)
  await writeFile(path.join(data, 'tls.key'), pair.key)
  await symlink(`..data-${version}`, path.join(root, `..new-${version}`))
  await rename(path.join(root, `..new-${version}`), path.join(root, '..data'))
  const [certFile, keyFile] = [path.join(root, 'tls.crt'), path.join(root, 'tls.key')]
  if (version === 1) {
    await symlink(path.join('..data', 'tls.crt'), certFile)
    await symlink(path.join('..data', 'tls.key'), keyFile)
  }
  return { certFile, keyFile }
}

const environmentOf = ({ certFile, keyFile }: { certFile: string; keyFile: string }): Record<string, string> => ({ HOLDFAST_TLS_CERT_FILE: certFile, HOLDFAST_TLS_KEY_FILE: keyFile })

function sdk(server: ServerAddress, agent: https.AgentOptions): S3Client {
  const { accessKeyId, secretAccessKey, region } = server
  return new S3Client({ endpoint: server.url, region, forcePathStyle: true, maxAttempts: 1, requestHandler: { httpsAgent: new https.Agent({ keepAlive: true, ...agent }) }, credentials: { accessKeyId, secretAccessKey } })
}

function get(url: string, options: https.RequestOptions): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    https.get(url, { ca: authority.ca, ...options }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() })).on('error', reject)
    }).on('error', reject)
  })
}

/** The name on the certificate that a new connection is shown. */
function shown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', ca: authority.ca }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

/** However slow the machine is. */
const requestsMin = 200

test.each(['1', '2'])('%s server process(es): certificates change under load without a failed request, and what does not fit is refused', async (processes) => {
  const first = authority.sign('first')
  const place = `secret-${processes}`
  const server = await startServer({ env: { ...environmentOf(await secretOf(first, place, 1)), HOLDFAST_PROCESSES: processes } })
  const client = sdk(server, { ca: authority.ca })
  let [stopped, changed, requests] = [false, false, 0]
  const failures: unknown[] = []
  try {
    expect(server.output()).toMatch(/S3 endpoint +https:\/\/127/)
    expect(server.output()).toMatch(/Control +https:\/\/127/)
    expect((await get(`${server.controlUrl}/health/ready`, {})).status).toBe(200)
    await client.send(new CreateBucketCommand({ Bucket: 'over-tls' }))
    const busy = Array.from({ length: 8 }, async (_, number) => {
      for (let turn = 0; !stopped && (!changed || requests <= requestsMin); turn++) {
        // Half of them over connections that stay, half over new ones.
        const own = number % 2 === 0 ? client : sdk(server, { ca: authority.ca })
        const body = `${number}-${turn}`
        try {
          await own.send(new PutObjectCommand({ Bucket: 'over-tls', Key: `k${number}`, Body: body }))
          const { Body } = await own.send(new GetObjectCommand({ Bucket: 'over-tls', Key: `k${number}` }))
          if (await Body?.transformToString() !== body) failures.push(`k${number} is not ${body}`)
        } catch (error) {
          failures.push(error)
        }
        requests += 2
        if (own !== client) own.destroy()
        await sleep(100)
      }
    })
    expect(await shown(server.port)).toBe('first')
    const allShow = (name: string) => expect.poll(async () => new Set(await Promise.all(Array.from({ length: 12 }, () => shown(server.port)))), { timeout: 20_000 }).toEqual(new Set([name]))
    const second = authority.sign('second')
    await secretOf(second, place, 2)
    await allShow('second')
    // The key of another certificate: refused, said once, and the old pair stays.
    await secretOf({ cert: authority.sign('third').cert, key: first.key }, place, 3)
    await expect.poll(() => server.output(), { timeout: 20_000 }).toContain('The new TLS files are refused, the certificate that was there before stays in use')
    await sleep(2500)
    expect(await shown(server.port)).toBe('second')
    await secretOf(authority.sign('fourth'), place, 4)
    await allShow('fourth')
    await expect.poll(() => get(`${server.controlUrl}/health/live`, {}).then(({ status }) => status)).toBe(200)
    changed = true
    await Promise.all(busy)
    expect(failures).toEqual([])
    expect(requests).toBeGreaterThan(requestsMin)
    const perProcess = Number(processes) === 1 ? 1 : Number(processes) + 1
    expect(server.output().match(/The new TLS files are refused/g)?.length).toBe(perProcess)
    expect(server.output()).not.toContain('PRIVATE KEY')
  } finally {
    stopped = true
    client.destroy()
    await server.remove()
  }
})

test('TLS before 1.2 and bytes that are no TLS are refused and harm nothing', async () => {
  const server = await startServer({ env: environmentOf(authority.sign('modern')) })
  try {
    const version = (maxVersion: tls.SecureVersion) => new Promise<string>((resolve) => {
      const options = { port: server.port, host: '127.0.0.1', ca: authority.ca, minVersion: 'TLSv1' as const, maxVersion, ciphers: 'DEFAULT:@SECLEVEL=0' }
      const socket = tls.connect(options, () => {
        resolve(String(socket.getProtocol()))
        socket.destroy()
      })
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)))
    })
    expect(await version('TLSv1.1')).toMatch(/^(ERR_SSL_|ECONNRESET)/)
    expect(await version('TLSv1.2')).toBe('TLSv1.2')
    expect(await version('TLSv1.3')).toBe('TLSv1.3')
    const plain = net.connect(server.port, '127.0.0.1')
    plain.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await new Promise((resolve) => plain.on('error', () => undefined).on('data', () => undefined).once('close', resolve))
    expect((await get(`${server.url}/`, {})).text).toContain('<Code>AccessDenied</Code>')
    expect(server.output()).not.toContain('"level":"error"')
  } finally {
    await server.remove()
  }
})

test('with authorities for clients only health is told to those who show no certificate of theirs', async () => {
  const clients = makeAuthority(folder, 'clients')
  const known = clients.sign('known')
  const stranger = authority.sign('stranger')
  const server = await startServer({ env: { ...environmentOf(authority.sign('asking')), HOLDFAST_TLS_CLIENT_CA_FILE: clients.caFile } })
  const client = sdk(server, { ca: authority.ca, cert: known.cert, key: known.key })
  try {
    await client.send(new CreateBucketCommand({ Bucket: 'for-the-known' }))
    await client.send(new PutObjectCommand({ Bucket: 'for-the-known', Key: 'k', Body: 'shown' }))
    for (const shownPair of [{}, { cert: stranger.cert, key: stranger.key }]) {
      await expect(get(`${server.url}/`, shownPair)).rejects.toMatchObject({ code: expect.stringMatching(/^(ERR_SSL_|ECONNRESET|EPIPE)/) as string })
      const refused = sdk(server, { ca: authority.ca, ...shownPair })
      await expect(refused.send(new GetObjectCommand({ Bucket: 'for-the-known', Key: 'k' }))).rejects.toThrow()
      refused.destroy()
      for (const target of ['live', 'ready']) expect((await get(`${server.controlUrl}/health/${target}`, shownPair)).status).toBe(200)
      expect(await get(`${server.controlUrl}/debug/runtime`, shownPair)).toEqual({ status: 403, text: '{"error":"a client certificate is needed"}' })
    }
    expect((await get(`${server.controlUrl}/debug/runtime`, { cert: known.cert, key: known.key })).text).not.toContain('certificate')
  } finally {
    client.destroy()
    await server.remove()
  }
})

test('files that cannot be used end the start and are named', async () => {
  const pair = authority.sign('odd')
  const other = authority.sign('other')
  const dataDir = path.join(folder, 'never-made')
  const start = (env: Readonly<Record<string, string>>) => failedStart({ HOLDFAST_DATA_DIR: dataDir, ...env })
  expect(await start({ HOLDFAST_TLS_CERT_FILE: pair.certFile })).toMatchObject({ code: 1, output: expect.stringContaining('set both or neither') as string })
  expect((await start({ HOLDFAST_TLS_CERT_FILE: pair.certFile, HOLDFAST_TLS_KEY_FILE: other.keyFile })).output).toContain('HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE cannot be used together')
  expect((await start({ ...environmentOf(pair), HOLDFAST_TLS_CLIENT_CA_FILE: pair.keyFile })).output).toContain('HOLDFAST_TLS_CLIENT_CA_FILE holds no PEM certificate')
  expect((await start({ HOLDFAST_TLS_CLIENT_CA_FILE: pair.certFile })).output).toContain('only HTTPS asks for certificates')
  expect((await start({ ...environmentOf(pair), HOLDFAST_TLS_KEY_FILE: path.join(folder, 'nothing') })).output).toContain('ENOENT')
})
