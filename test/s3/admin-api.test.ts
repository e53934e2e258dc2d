import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, test } from 'vitest'
import { adminRoutes, type AdminParts } from '../../src/admin/admin-routes.ts'
import { signedRequest, type Endpoint, type RawRequest } from '../support/raw.ts'
import { newBucket, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const control: Endpoint = { url: server.controlUrl, accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey, region: server.region }

interface Answer {
  readonly status: number
  readonly text: string
  readonly body: Record<string, unknown> & { readonly items: readonly Record<string, unknown>[] }
}

async function ask(method: string, path: string, body?: unknown, more: Partial<RawRequest> = {}): Promise<Answer> {
  const { status, text } = await signedRequest({ server: control, method, path: `/admin${path}`, ...body === undefined ? {} : { body: JSON.stringify(body) }, ...more })
  return { status, text, body: JSON.parse(text) as Answer['body'] }
}

let token = ''
beforeAll(async () => {
  const made = await ask('POST', '/v1/token')
  expect(made.status).toBe(201)
  token = String(made.body['token'])
})
const withToken = (method: string, path: string, body?: unknown): Promise<Answer> => ask(method, path, body, { sign: 'none', headers: { authorization: `Bearer ${token}` } })

describe('who may ask', () => {
  test('is who signs with the root keys, or has a token from who did', async () => {
    expect((await ask('GET', '/v1/status')).status).toBe(200)
    expect((await withToken('GET', '/v1/status')).status).toBe(200)
    for (const bad of [`${token}x`, token.replace(/.$/, (last) => (last === '0' ? '1' : '0')), token.replace('hft_', 'hft_z'), 'hft_', '']) {
      expect([bad, (await ask('GET', '/v1/status', undefined, { sign: 'none', headers: { authorization: `Bearer ${bad}` } })).status]).toEqual([bad, 403])
    }
    expect((await ask('GET', '/v1/status', undefined, { sign: 'none' })).status).toBe(403)
    expect((await ask('GET', '/v1/nothing', undefined, { sign: 'none' })).status).toBe(403)
  })

  test('a token gets no other token, so that it ends', async () => {
    expect((await withToken('POST', '/v1/token')).status).toBe(403)
  })

  test('a signature over another body opens nothing', async () => {
    const body = JSON.stringify({ level: 'info' })
    const other = { 'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' }
    expect((await signedRequest({ server: control, method: 'PUT', path: '/admin/v1/log-level', body, headers: other })).status).toBe(403)
    expect((await signedRequest({ server: control, method: 'PUT', path: '/admin/v1/log-level', body, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })).status).toBe(403)
    expect((await signedRequest({ server: control, method: 'PUT', path: '/admin/v1/log-level', body, sign: 'presigned' })).status).toBe(403)
  })
})

test('the OpenAPI document has every route, and each of its routes is there', async () => {
  const { body } = await ask('GET', '/openapi.json')
  const paths = body['paths'] as Record<string, Record<string, { operationId: string; responses: object }>>
  const told = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, { operationId }]) => `${method.toUpperCase()} ${path} ${operationId}`)).sort()
  // The routes need their parts only once they run.
  const routes = adminRoutes({} as unknown as AdminParts)
  expect(told).toEqual(routes.map(({ method, path, name }) => `${method} /admin/v1${path} ${name}`).sort())
  for (const { method, path } of routes) {
    // A method that no route has tells which ones there are; nothing is changed by that.
    const answer = await ask('DELETE', `/v1${path.replaceAll(/\{\w+\}/g, 'none')}`)
    expect([path, answer.status, answer.text]).toEqual([path, 405, expect.stringContaining(method)])
  }
  expect((await ask('GET', '/v1/not-there')).status).toBe(404)
  expect(JSON.stringify(body)).not.toContain('nullable')
})

describe('what it answers', () => {
  test('has the fields that the document says, and only those that are asked for', async () => {
    const client = s3Client(server)
    const name = await newBucket(client)
    const { body } = await withToken('GET', '/v1/buckets?fields=name,bytes')
    expect(body.items).toContainEqual({ name, bytes: 0 })
    expect((await withToken('GET', '/v1/status?fields=processes.wanted,ready')).body).toEqual({ processes: { wanted: expect.any(Number) }, ready: true })
    const wrong = await withToken('GET', '/v1/buckets?fields=name,size')
    expect([wrong.status, wrong.text]).toEqual([400, expect.stringContaining('there is no field size; there are: name, ')])
    const [first] = (await withToken('GET', '/v1/buckets?limit=1')).body.items
    const page = await withToken('GET', `/v1/buckets?limit=1&after=${String(first?.['name'])}`)
    expect(page.body.items[0]?.['name'] === first?.['name']).toBe(false)
  })

  test('refuses what it does not know', async () => {
    const refused: readonly (readonly [string, string, unknown, string])[] = [
      ['GET', '/v1/buckets?size=1', undefined, 'There is no parameter size'], ['GET', '/v1/buckets?limit=0', undefined, 'limit must be 1 to 1000'], ['GET', '/v1/buckets?limit=x', undefined, 'limit must be a whole number'],
      ['PUT', '/v1/log-level', { level: 'loud' }, 'body.level must be one of: debug, info, warn, error'], ['PUT', '/v1/log-level', {}, 'body.level is missing'],
      ['PUT', '/v1/log-level', { level: 'info', more: 1 }, 'body.more: there is no such field'], ['POST', '/v1/drain', { now: true }, 'This takes no body'],
    ]
    for (const [method, path, body, message] of refused) {
      const answer = await withToken(method, path, body)
      expect([path, answer.status, answer.body['message']]).toEqual([path, 400, expect.stringContaining(message)])
    }
  })

  test('the configuration has every field and no secret', async () => {
    const { body, text } = await withToken('GET', '/v1/config')
    expect(body.items.map(({ variable }) => variable)).toEqual(expect.arrayContaining(['HOLDFAST_DATA_DIR', 'HOLDFAST_MASTER_KEY', 'HOLDFAST_ACCESS_LOG']))
    expect(body.items.find(({ name }) => name === 'rootSecretKey')?.['value']).toBe('***')
    expect(text).not.toContain(server.secretAccessKey)
  })

  test('the log level changes while the server runs', async () => {
    expect((await withToken('PUT', '/v1/log-level', { level: 'error' })).body).toEqual({ level: 'error' })
    expect((await withToken('GET', '/v1/log-level')).body).toEqual({ level: 'error' })
    await withToken('PUT', '/v1/log-level', { level: 'info' })
  })

  test('jobs tell how far they are, and the sweeper runs when it is told to', async () => {
    const sweeper = async (): Promise<Record<string, unknown> | undefined> => (await withToken('GET', '/v1/jobs')).body.items.find(({ name }) => name === 'sweeper')
    const before = Number((await sweeper())?.['passes'])
    expect((await withToken('POST', '/v1/jobs/sweeper/run')).status).toBe(202)
    await expect.poll(async () => Number((await sweeper())?.['passes'])).toBeGreaterThan(before)
  })
})

describe('accounts and keys', () => {
  const works = async (pair: Record<string, unknown>): Promise<boolean> => {
    const client = new S3Client({
      endpoint: server.url, region: server.region, forcePathStyle: true, maxAttempts: 1, credentials: { accessKeyId: String(pair['accessKeyId']), secretAccessKey: String(pair['secretAccessKey']) },
    })
    return client.send(new ListBucketsCommand({})).then(() => true, (error: { name: string }) => {
      if (error.name !== 'InvalidAccessKeyId') throw error
      return false
    }).finally(() => client.destroy())
  }

  test('are made, rotated, disabled and enabled, at once and for every process', async () => {
    const account = await withToken('POST', '/v1/accounts', { displayName: 'second', email: 'second@example.com' })
    expect([account.status, account.body['id']]).toEqual([201, expect.stringMatching(/^\d{12}$/)])
    const accountId = account.body['id']
    expect((await withToken('GET', '/v1/accounts')).body.items).toContainEqual(expect.objectContaining({ id: accountId, displayName: 'second', root: false, buckets: 0 }))
    const { status, body: first } = await withToken('POST', '/v1/keys', { accountId })
    expect(status).toBe(201)
    expect(await works(first)).toBe(true)
    const { body: next } = await withToken('POST', `/v1/keys/${String(first['accessKeyId'])}/rotate`)
    expect([await works(first), await works(next)]).toEqual([false, true])
    await withToken('POST', `/v1/keys/${String(next['accessKeyId'])}/disable`)
    expect(await works(next)).toBe(false)
    expect((await withToken('POST', `/v1/keys/${String(next['accessKeyId'])}/enable`)).body).toMatchObject({ enabled: true })
    expect(await works(next)).toBe(true)
    const listed = await withToken('GET', `/v1/keys?account=${String(accountId)}`)
    expect(listed.body.items.map(({ accessKeyId, enabled }) => [accessKeyId, enabled])).toEqual([[first['accessKeyId'], false], [next['accessKeyId'], true]])
    for (const secret of [first, next]) expect(listed.text).not.toContain(String(secret['secretAccessKey']))
  })

  test('the root account’s own keys stay the configuration’s', async () => {
    const id = server.accessKeyId
    for (const call of ['rotate', 'disable', 'enable']) expect((await withToken('POST', `/v1/keys/${id}/${call}`)).status).toBe(409)
    const root = (await withToken('GET', '/v1/accounts')).body.items.find(({ root: isRoot }) => isRoot === true)
    expect((await withToken('POST', '/v1/keys', { accountId: root?.['id'] })).status).toBe(409)
  })

  test('what is not there is told', async () => {
    expect((await withToken('POST', '/v1/keys', { accountId: '000000000000' })).status).toBe(404)
    expect((await withToken('POST', '/v1/keys/NOBODY/rotate')).status).toBe(404)
    expect((await withToken('GET', '/v1/accounts/000000000000/users')).status).toBe(404)
    expect((await withToken('POST', '/v1/accounts', { displayName: '' })).status).toBe(400)
  })
})
