import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCli } from '../../src/control-cli.ts'
import { loadConfig } from '../../src/config.ts'
import { signedRequest } from '../support/raw.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { presign } from '../support/signing.ts'

/** Keys that open the admin API and are not root. */

interface Pair {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}
interface Answer {
  readonly status: number
  readonly body: Record<string, unknown> & { readonly items: readonly Record<string, unknown>[] }
}

const [rootAccount, operators] = ['111122223333', '444455556666']
const rootUser = { accessKeyId: 'ROOTUSERKEY', secretAccessKey: 'root-user-secret-1' }
const ofFile = { accessKeyId: 'OPERATORKEY', secretAccessKey: 'operator-secret-1' }
const bootstrap = (admin: boolean): string => JSON.stringify({
  accounts: [
    { root: true, id: rootAccount, displayName: 'Main', users: [{ name: 'staff', accessKeys: [rootUser], policies: [] }] },
    { id: operators, displayName: 'Operators', accessKeys: [{ ...ofFile, admin }] },
  ],
})

let folder = ''
let file = ''
let server: TestServer
let root: Pair
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-admin-'))
  file = path.join(folder, 'accounts.json')
  await writeFile(file, bootstrap(true))
  server = await startServer({ env: { HOLDFAST_BOOTSTRAP_FILE: file, HOLDFAST_PROCESSES: '2' } })
  root = { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey }
})
afterAll(async () => {
  await server.remove()
  await rm(folder, { recursive: true, force: true })
})

async function ask(by: Pair | string, method: string, target: string, body?: unknown): Promise<Answer> {
  const to = { url: server.controlUrl, region: server.region, ...typeof by === 'string' ? root : by }
  const { status, text } = await signedRequest({
    server: to, method, path: target.startsWith('/debug') || target.startsWith('/metrics') ? target : `/admin/v1${target}`, ...body === undefined ? {} : { body: JSON.stringify(body) },
    ...typeof by === 'string' ? { sign: 'none' as const, headers: { authorization: `Bearer ${by}` } } : {},
  })
  return { status, body: text.startsWith('{') ? JSON.parse(text) as Answer['body'] : { items: [] } }
}
const tokenOf = async (by: Pair): Promise<string> => String((await ask(by, 'POST', '/token')).body['token'])
const newKey = async (by: Pair | string, more: object): Promise<Pair> => {
  const { status, body } = await ask(by, 'POST', '/keys', { accountId: operators, ...more })
  expect(status).toBe(201)
  return body as unknown as Pair
}

test('an admin key of the bootstrap file opens the admin API, signed, presigned and by token, and the metrics', async () => {
  const token = await tokenOf(ofFile)
  for (const by of [ofFile, token]) {
    expect((await ask(by, 'GET', '/status')).body['ready']).toBe(true)
    expect((await ask(by, 'GET', '/metrics')).status).toBe(200)
    expect((await ask(by, 'GET', '/limits')).status).toBe(200)
  }
  const { path: presigned } = presign({ server: { url: server.controlUrl, region: server.region, ...ofFile }, path: '/admin/v1/status', expires: '60' })
  expect((await fetch(`${server.controlUrl}${presigned}`)).status).toBe(200)
  const { body } = await ask(ofFile, 'GET', `/keys?account=${operators}`)
  expect(body.items).toContainEqual(expect.objectContaining({ accessKeyId: ofFile.accessKeyId, admin: true, enabled: true }))
  // A token gets no other one, whoever it is of.
  expect((await ask(token, 'POST', '/token')).status).toBe(403)
})

test('keys without the flag open nothing, and the wrong secret neither', async () => {
  const plain = await newKey(ofFile, {})
  for (const by of [plain, rootUser, { ...ofFile, secretAccessKey: rootUser.secretAccessKey }]) {
    expect((await ask(by, 'GET', '/status')).status).toBe(403)
    expect((await ask(by, 'POST', '/token')).status).toBe(403)
    expect((await ask(by, 'POST', '/keys', { accountId: operators, admin: true })).status).toBe(403)
  }
})

test('root and admins grant; who was granted it can grant it too', async () => {
  const first = await newKey(root, { admin: true })
  const second = await newKey(first, { admin: true })
  expect((await ask(second, 'GET', '/status')).status).toBe(200)
  expect((await ask(second, 'POST', '/keys', { accountId: operators, admin: 'yes' })).status).toBe(400)
})

test('an admin key cannot touch the root account, its users’ keys, or look into the memory', async () => {
  for (const by of [ofFile, await tokenOf(ofFile)]) {
    for (const call of ['rotate', 'disable', 'enable']) {
      expect((await ask(by, 'POST', `/keys/${root.accessKeyId}/${call}`)).status).toBe(409)
      expect((await ask(by, 'POST', `/keys/${rootUser.accessKeyId}/${call}`)).body['error']).toBe('AccessDenied')
    }
    expect((await ask(by, 'POST', '/keys', { accountId: rootAccount, admin: true })).status).toBe(409)
    expect((await ask(by, 'POST', '/keys', { accountId: rootAccount, userName: 'staff', admin: true })).status).toBe(403)
    for (const target of ['/debug/runtime', '/debug/heap', '/debug/profile?seconds=1']) expect([target, (await ask(by, 'GET', target)).status]).toEqual([target, 403])
  }
  // Root may, as before.
  expect((await ask(root, 'POST', `/keys/${rootUser.accessKeyId}/disable`)).body['enabled']).toBe(false)
  expect((await ask(await tokenOf(root), 'GET', '/debug/runtime')).status).toBe(200)
})

test('disabling a key ends it and its tokens at once; enabling brings both back; rotating hands the right on', async () => {
  const key = await newKey(ofFile, { admin: true })
  const token = await tokenOf(key)
  const opens = async (): Promise<number[]> => [(await ask(key, 'GET', '/status')).status, (await ask(token, 'GET', '/status')).status, (await ask(token, 'GET', '/metrics')).status]
  expect(await opens()).toEqual([200, 200, 200])
  await ask(ofFile, 'POST', `/keys/${key.accessKeyId}/disable`)
  expect(await opens()).toEqual([403, 403, 401])
  await ask(ofFile, 'POST', `/keys/${key.accessKeyId}/enable`)
  expect(await opens()).toEqual([200, 200, 200])
  // By its own token, too.
  const { body: next } = await ask(token, 'POST', `/keys/${key.accessKeyId}/rotate`)
  expect(next['admin']).toBe(true)
  expect(await opens()).toEqual([403, 403, 401])
  expect((await ask(next as unknown as Pair, 'GET', '/status')).status).toBe(200)
})

test('a token is bound to its key', async () => {
  const key = await newKey(ofFile, { admin: true })
  const [mine, roots] = [await tokenOf(key), await tokenOf(root)]
  const parts = mine.split('_')
  const forged = [...parts.slice(0, 3), roots.split('_')[3], parts[4]].join('_')
  expect([(await ask(mine, 'GET', '/status')).status, (await ask(forged, 'GET', '/status')).status]).toEqual([200, 403])
})

test('the commands take an admin key, and give one', async () => {
  const run = async (by: Pair, ...args: readonly string[]): Promise<{ code: number; out: string }> => {
    let out = ''
    const env = { HOLDFAST_DATA_DIR: folder, HOLDFAST_CONTROL_PORT: String(server.controlPort), HOLDFAST_ROOT_ACCESS_KEY: by.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: by.secretAccessKey }
    const code = await runCli([...args, '--json'], { config: () => loadConfig(env), isTerminal: false, write: (text) => { out += text }, warn: (text) => { out += text } })
    return { code, out }
  }
  const made = await run(ofFile, 'keys', 'create', '--admin', '--account', operators)
  const key = JSON.parse(made.out) as Pair & { admin: boolean }
  expect([made.code, key.admin]).toEqual([0, true])
  expect((await run(key, 'status')).code).toBe(0)
  const plain = JSON.parse((await run(key, 'keys', 'create', '--account', operators)).out) as Pair & { admin: boolean }
  expect(plain.admin).toBe(false)
  expect(await run(plain, 'status')).toMatchObject({ code: 1, out: expect.stringContaining('nor an admin key') })
})

test('a start without the flag takes it away', async () => {
  await writeFile(file, bootstrap(false))
  await server.stop()
  await server.restart()
  expect((await ask(ofFile, 'GET', '/status')).status).toBe(403)
  expect((await ask(root, 'GET', '/status')).status).toBe(200)
})
