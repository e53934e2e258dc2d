import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openKeyFolder, type KeyFolder } from '../../src/admin/keys.ts'
import { createLifecycle, Stopped } from '../../src/admin/lifecycle.ts'
import { controlKeys, decideRoot, rootKeysOf, withoutOldRootKeys } from '../../src/admin/root-account.ts'
import type { AccessKey, BootstrapAccount } from '../../src/metadata/store.ts'

let folder: string
let keys: KeyFolder
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast keys '))
  keys = openKeyFolder(folder, (name, text) => writeFile(path.join(folder, name), text, { flag: 'wx' }))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const account = (more: Partial<BootstrapAccount>): BootstrapAccount => ({
  root: false, id: '111122223333', canonicalId: 'a'.repeat(64), displayName: 'A', email: 'a@example.com', accessKeys: [], users: [], ...more,
})
const pair = { accessKeyId: 'ENVKEY', secretAccessKey: 'env-secret-1' }

describe('kept keys', () => {
  test('are made once and stay', async () => {
    expect(await keys.masterKey()).toHaveLength(32)
    expect(await keys.masterKey()).toEqual(await keys.masterKey())
    expect(await keys.rootIdentity()).toEqual(await keys.rootIdentity())
    const first = await keys.rootKeyPair()
    expect(first.fresh).toBe(true)
    expect(await keys.rootKeyPair()).toEqual({ ...first, fresh: false })
    expect(JSON.parse(readFileSync(keys.rootKeyFile, 'utf8'))).toEqual({ accessKeyId: first.accessKeyId, secretAccessKey: first.secretAccessKey })
  })

  test.each(['master.key', 'root-account.json', 'root-key.json'])('a damaged %s is an error, never replaced', async (name) => {
    writeFileSync(path.join(folder, name), 'damaged')
    const read = name === 'master.key' ? keys.masterKey() : name === 'root-key.json' ? keys.rootKeyPair() : keys.rootIdentity()
    await expect(read).rejects.toThrow('is damaged')
    expect(readFileSync(path.join(folder, name), 'utf8')).toBe('damaged')
  })
})

describe('the root account', () => {
  test('is drawn for the data folder, with a generated pair whose secret is shown once', async () => {
    const first = await decideRoot({ accounts: [] }, null, keys)
    expect(first.bootstrap.accounts).toHaveLength(1)
    expect(first.bootstrap.accounts[0]).toMatchObject({ root: true, displayName: 'root' })
    expect(first.bootstrap.accounts[0]?.accessKeys[0]?.secretAccessKey).toBe(first.freshSecret)
    expect(await decideRoot({ accounts: [] }, null, keys)).toMatchObject({ bootstrap: first.bootstrap, freshSecret: null })
  })

  test('has the pair of the environment instead, and then none is generated', async () => {
    const root = await decideRoot({ accounts: [] }, pair, keys)
    expect(root.bootstrap.accounts[0]?.accessKeys).toEqual([pair])
    expect(() => readFileSync(keys.rootKeyFile)).toThrow('ENOENT')
  })

  test('is the first account of the bootstrap file when it says so; the pair of the environment is added', async () => {
    const own = { accessKeyId: 'FILEKEY', secretAccessKey: 'file-secret-1' }
    const file = { accounts: [account({ root: true, accessKeys: [own] }), account({ id: '444455556666' })] }
    expect(await decideRoot(file, null, keys)).toMatchObject({ accessKeyId: 'FILEKEY', freshSecret: null, bootstrap: file })
    const both = await decideRoot(file, pair, keys)
    expect(both.bootstrap.accounts.map((each) => each.accessKeys)).toEqual([[own, pair], []])
  })

  test('stands before the accounts of a file that names no root', async () => {
    const root = await decideRoot({ accounts: [account({})] }, pair, keys)
    expect(root.bootstrap.accounts.map((each) => each.root)).toEqual([true, false])
  })

  test('loses the keys that this start does not name; other accounts and users keep theirs', async () => {
    const root = await decideRoot({ accounts: [account({ root: true })] }, pair, keys)
    const stored = (id: string, accountId: string, user: string | null): AccessKey => ({
      accessKeyId: id, secretAccessKey: 's', enabled: true, admin: false, account: account({ id: accountId }), user: user === null ? null : { name: user, path: '/', policies: [] },
    })
    const rows = [stored('ENVKEY', '111122223333', null), stored('OLDKEY', '111122223333', null), stored('USERKEY', '111122223333', 'u'), stored('OTHERKEY', '444455556666', null)]
    const find = withoutOldRootKeys(rootKeysOf(root), async (id) => rows.find((row) => row.accessKeyId === id) ?? null)
    const found = await Promise.all(['ENVKEY', 'OLDKEY', 'USERKEY', 'OTHERKEY', 'NOKEY'].map(find))
    expect(found.map((key) => key?.accessKeyId ?? null)).toEqual(['ENVKEY', null, 'USERKEY', 'OTHERKEY', null])
  })

  test('opens the control port with the keys that this start names; of the others only admin keys do, and none of the root account itself', async () => {
    const root = await decideRoot({ accounts: [account({ root: true })] }, pair, keys)
    const stored = (id: string, accountId: string, user: string | null, admin: boolean): AccessKey => ({
      accessKeyId: id, secretAccessKey: 's', enabled: true, admin, account: account({ id: accountId }), user: user === null ? null : { name: user, path: '/', policies: [] },
    })
    const rows = [
      stored('OLDKEY', '111122223333', null, false), stored('OLDADMIN', '111122223333', null, true), stored('USERKEY', '111122223333', 'u', false), stored('USERADMIN', '111122223333', 'v', true),
      stored('OTHERKEY', '444455556666', null, false), stored('OTHERADMIN', '444455556666', null, true),
    ]
    const find = controlKeys(root, async (id) => rows.find((row) => row.accessKeyId === id) ?? null)
    const opens = async (id: string): Promise<boolean> => await find(id) !== null
    const ids = ['ENVKEY', ...rows.map(({ accessKeyId }) => accessKeyId), 'NOKEY']
    expect((await Promise.all(ids.map(async (id) => (await opens(id) ? [id] : [])))).flat()).toEqual(['ENVKEY', 'USERADMIN', 'OTHERADMIN'])
    // Known without a database.
    await expect(controlKeys(root, () => Promise.reject(new Error('away')))('ENVKEY')).resolves.toMatchObject({ secretAccessKey: 'env-secret-1', admin: false })
  })
})

describe('what was opened', () => {
  test('is closed in reverse order, and an error of one does not keep the others open', async () => {
    const closed: string[] = []
    const errors: unknown[] = []
    const lifecycle = createLifecycle((error) => errors.push(error))
    await lifecycle.open('first', () => void closed.push('first'))
    await lifecycle.open('second', () => Promise.reject(new Error('stuck')))
    await lifecycle.open(Promise.resolve('third'), (name) => void closed.push(name))
    await lifecycle.close()
    await lifecycle.close()
    expect(closed).toEqual(['third', 'first'])
    expect(errors).toEqual([new Error('stuck')])
  })

  test('while a stop was asked for is closed, too', async () => {
    const closed: string[] = []
    const lifecycle = createLifecycle(() => undefined)
    const slow = Promise.withResolvers<string>()
    const opening = lifecycle.open(slow.promise, (name) => void closed.push(name))
    const closing = lifecycle.close()
    slow.resolve('late')
    await expect(opening).rejects.toThrow(Stopped)
    await closing
    expect(closed).toEqual(['late'])
  })
})
