import { execFile } from 'node:child_process'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Bootstrap, MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, openTestStore, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres('whole')
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

const bootstrap: Bootstrap = {
  accounts: [{
    root: true, id: '000000000007', canonicalId: '7'.repeat(64), displayName: 'seven', email: 'seven@example.com',
    accessKeys: [{ accessKeyId: 'ROOT7', secretAccessKey: 'root secret' }],
    users: [{
      name: 'eve', path: '/staff/', accessKeys: [{ accessKeyId: 'EVE7', secretAccessKey: 'eve secret', admin: true }],
      policies: [{ statements: [{ effect: 'Allow', actions: ['s3:Get*'], notActions: false, resources: ['*'], notResources: false }] }],
    }],
  }],
}
const account = { id: '000000000007', canonicalId: '7'.repeat(64), displayName: 'seven', email: 'seven@example.com' }

describe('identities', () => {
  test('a bootstrap applied twice changes nothing, and its keys open', async () => {
    await store.applyBootstrap(bootstrap)
    const rows = () => postgres.query('SELECT a.*, k.*, u.* FROM accounts a JOIN access_keys k ON k.account_id = a.id LEFT JOIN users u ON u.account_id = a.id ORDER BY 1, k.access_key_id')
    const before = await rows()
    await store.applyBootstrap(bootstrap)
    expect(await rows()).toEqual(before)
    expect(await store.account('000000000007')).toEqual(account)
    expect(await store.accessKey('ROOT7')).toEqual({ accessKeyId: 'ROOT7', secretAccessKey: 'root secret', enabled: true, admin: false, account, user: null })
    expect(await store.accessKey('EVE7')).toEqual({
      accessKeyId: 'EVE7', secretAccessKey: 'eve secret', enabled: true, admin: true, account, user: { name: 'eve', path: '/staff/', policies: bootstrap.accounts[0]?.users[0]?.policies },
    })
    expect(await store.accessKey('NOBODY')).toBeNull()
    expect(JSON.stringify(before)).not.toContain('root secret')
  })

  test('secrets do not open with another master key, and a key has one owner', async () => {
    const other = await openTestStore({ connection: postgres.connection, masterKey: Buffer.alloc(32, 8) })
    await expect(other.accessKey('ROOT7')).rejects.toThrow('master key')
    await other.close()
    const stolen = { accounts: [{ ...account, id: '000000000008', canonicalId: '8'.repeat(64), root: false, accessKeys: [{ accessKeyId: 'ROOT7', secretAccessKey: 'x' }], users: [] }] }
    await expect(store.applyBootstrap(stolen)).rejects.toThrow('belongs to')
    expect(await store.account('000000000008')).toBeNull()
  })

  test('a changed secret is seen by other processes', async () => {
    const other = await openTestStore({ connection: postgres.connection })
    expect((await other.accessKey('ROOT7'))?.secretAccessKey).toBe('root secret')
    await store.applyBootstrap({ accounts: [{ ...account, root: true, accessKeys: [{ accessKeyId: 'ROOT7', secretAccessKey: 'changed' }], users: [] }] })
    expect((await store.accessKey('ROOT7'))?.secretAccessKey).toBe('changed')
    await other.catchUp()
    expect((await other.accessKey('ROOT7'))?.secretAccessKey).toBe('changed')
    await other.close()
  })
})

describe('buckets', () => {
  test('a name belongs to the first who takes it', async () => {
    const bucket = { name: 'taken', accountId: testAccountId, region: 'eu-west-1', tags: [{ key: 'a', value: 'b' }] }
    const results = await Promise.all([store.createBucket(bucket), store.createBucket(bucket)])
    expect(results.filter((result) => result.ok)).toHaveLength(1)
    expect(results.find((result) => !result.ok)).toEqual({ ok: false, owner: testAccountId })
    const found = await store.bucket('taken')
    expect(found).toMatchObject({ name: 'taken', accountId: testAccountId, region: 'eu-west-1', versioning: 'off' })
    expect((await store.setting(found?.id as number, 'tagging'))?.compiled).toEqual(bucket.tags)
  })

  test('are listed by account, prefix and region in pages', async () => {
    await store.applyBootstrap(bootstrap)
    for (const [index, name] of ['p-c', 'p-a', 'q', 'p-b', 'p-d'].entries()) {
      await store.createBucket({ name, accountId: '000000000007', region: index % 2 === 0 ? 'r1' : 'r2' })
    }
    const names = async (page: { prefix: string; after: string; limit: number; region?: string }) => {
      const { buckets, truncated } = await store.listBuckets('000000000007', page)
      return [buckets.map(({ name }) => name).join(), truncated]
    }
    expect(await names({ prefix: '', after: '', limit: 10 })).toEqual(['p-a,p-b,p-c,p-d,q', false])
    expect(await names({ prefix: 'p-', after: '', limit: 3 })).toEqual(['p-a,p-b,p-c', true])
    expect(await names({ prefix: 'p-', after: 'p-c', limit: 3 })).toEqual(['p-d', false])
    expect(await names({ prefix: '', after: '', limit: 10, region: 'r2' })).toEqual(['p-a,p-b', false])
  })

  test('keep settings as they were put, and lose them when they are deleted', async () => {
    const bucketId = await makeBucket(store)
    expect(await store.setting(bucketId, 'cors')).toBeNull()
    await store.putSetting(bucketId, 'cors', { document: '<Old/>', compiled: null })
    await store.putSetting(bucketId, 'cors', { document: ' <CORS>é</CORS>\n', compiled: { rules: [1, 'x'] } })
    expect(await store.setting(bucketId, 'cors')).toEqual({ document: ' <CORS>é</CORS>\n', compiled: { rules: [1, 'x'] } })
    await store.deleteSetting(bucketId, 'cors')
    expect(await store.setting(bucketId, 'cors')).toBeNull()
    await store.putSetting(bucketId, 'cors', { document: '<x/>', compiled: 1 })
    expect(await store.deleteBucket(bucketId)).toEqual({ ok: true })
    expect(await store.setting(bucketId, 'cors')).toBeNull()
    expect(await store.deleteBucket(bucketId)).toEqual({ ok: false, code: 'NoSuchBucket' })
    expect(await store.setVersioning(bucketId, 'enabled')).toBe(false)
  })

  test('are not deleted while a version, a delete marker or an old version is in them', async () => {
    const bucketId = await makeBucket(store, 'enabled')
    const versionIds: string[] = []
    const put = await store.commit({ kind: 'put', bucketId, key: 'k', ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
    if (put.ok) versionIds.push(put.version.versionId)
    const marker = await store.commit({ kind: 'delete', bucketId, key: 'k', ownerAccountId: testAccountId, when: {} })
    if (marker.ok) versionIds.push(marker.versionId as string)
    for (const versionId of versionIds) {
      expect(await store.deleteBucket(bucketId)).toEqual({ ok: false, code: 'BucketNotEmpty' })
      await store.commit({ kind: 'delete', bucketId, key: 'k', ownerAccountId: testAccountId, versionId, when: {} })
    }
    expect(await store.deleteBucket(bucketId)).toEqual({ ok: true })
  })

  test('a change is seen at once here and, by who catches up, in other processes', async () => {
    const other = await openTestStore({ connection: postgres.connection })
    const made = await store.createBucket({ name: 'shared-change', accountId: testAccountId, region: 'us-east-1' })
    expect(await other.bucket('shared-change')).toMatchObject({ versioning: 'off' })
    await store.setVersioning(made.ok ? made.bucket.id : 0, 'enabled')
    expect(await store.bucket('shared-change')).toMatchObject({ versioning: 'enabled' })
    await other.catchUp()
    expect(await other.bucket('shared-change')).toMatchObject({ versioning: 'enabled' })
    await other.close()
  })
})

describe('what a version keeps', () => {
  test('odd keys, metadata and tags come back as they were', async () => {
    const bucketId = await makeBucket(store)
    const text = 'é "quoted" \\ {a,b} NULL \u0001\u{10ffff}\n'
    const content = contentOf([freshExtent(), { ...freshExtent(), offset: 2, length: 5, dataKey: 'k1', codec: 'zstd' }], {
      metadata: { system: { 'content-type': text, expires: 'never' }, user: { a: text, __proto__x: '' } }, tags: [{ key: text, value: '' }],
      checksum: { algorithm: 'SHA256', type: 'COMPOSITE', value: `${Buffer.alloc(32, 5).toString('base64')}-2` }, parts: [{ partNumber: 1, size: 10, checksum: 'x' }, { partNumber: 3, size: 5, checksum: null }],
    })
    for (const key of [text, 'NULL', '', ' ', '{', '\\x00', '"', ',']) {
      const result = await store.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content })
      expect(result).toMatchObject({ ok: true, version: { ...content, key } })
      expect(await store.version(bucketId, key)).toEqual(result.ok ? result.version : null)
    }
    await Promise.all([text, 'NULL', '{'].map(async (key) => expect(await store.version(bucketId, key)).toMatchObject({ ...content, key })))
  })
})

describe('the database', () => {
  test('refuses one that a newer program migrated', async () => {
    await postgres.query('CREATE DATABASE newer')
    const connection = { ...postgres.connection, database: 'newer' }
    await (await openTestStore({ connection })).close()
    const newer = await openTestStore({ connection })
    await newer.close()
    const pgModule = await import('pg')
    const client = new pgModule.default.Client(connection)
    await client.connect()
    await client.query(`INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 99999999999999)`)
    await client.end()
    await expect(openTestStore({ connection })).rejects.toThrow('newer Holdfast')
  })

  test('refuses one that is not in UTF-8', async () => {
    await postgres.query(`CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0`)
    await expect(openTestStore({ connection: { ...postgres.connection, database: 'latin' } })).rejects.toThrow('UTF8')
  })

  test('two programs that start at once migrate it once', async () => {
    await postgres.query('CREATE DATABASE fresh')
    const connection = { ...postgres.connection, database: 'fresh' }
    const stores = await Promise.all([openTestStore({ connection }), openTestStore({ connection })])
    await Promise.all(stores.map((one) => one.close()))
  })

  const bin = '/usr/lib/postgresql/15/bin'
  test.runIf(existsSync(join(bin, 'postgres')))('may be a PostgreSQL 15 in another locale', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-pg15-'))
    const asRoot = process.getuid?.() === 0
    if (asRoot) await chown(folder, 65534, 65534)
    const run = (program: string, ...args: string[]) => promisify(execFile)(join(bin, program), args, asRoot ? { uid: 65534, gid: 65534, cwd: '/' } : {})
    const data = join(folder, 'data')
    await run('initdb', '-D', data, '-U', 'holdfast', '-E', 'UTF8', '--locale=C.UTF-8', '--auth=trust')
    await run('pg_ctl', '-D', data, '-w', '-l', join(folder, 'log'), '-o', `-k ${folder} -c listen_addresses=`, 'start')
    try {
      const old = await openTestStore({ connection: { host: folder, user: 'holdfast', database: 'postgres' } })
      const bucketId = await makeBucket(old, 'enabled')
      for (const key of ['B', 'a', 'a/b', 'Z/1', 'Z/2']) {
        await old.commit({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
      }
      const listed = await old.listObjects(bucketId, { prefix: '', delimiter: '/', after: '', limit: 10 })
      expect([listed.rows.map(({ key }) => key), listed.commonPrefixes]).toEqual([['B', 'a'], ['Z/', 'a/']])
      await old.close()
    } finally {
      await run('pg_ctl', '-D', data, '-m', 'immediate', 'stop')
      await rm(folder, { recursive: true, force: true })
    }
  })
})
