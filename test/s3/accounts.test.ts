import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { complete, createUpload, putParts } from '../support/multipart.ts'
import { signedRequest, xmlBlocks, xmlText, xmlTexts, type RawRequest, type RawResponse } from '../support/raw.ts'
import { bucketName, outcome } from '../support/s3.ts'
import { startServer, type TestServer } from '../support/server.ts'

const keys = (name: string) => ({ accessKeyId: `${name.toUpperCase()}KEY`, secretAccessKey: createHash('sha256').update(name).digest('hex') })
const [red, blue, reader, writer, copier, denied, powerless] = ['red', 'blue', 'reader', 'writer', 'copier', 'denied', 'powerless'].map(keys) as [Keys, Keys, Keys, Keys, Keys, Keys, Keys]
type Keys = ReturnType<typeof keys>

const allow = (Action: string | string[], Resource: string | string[]) => ({ Effect: 'Allow', Action, Resource })
const bucket = `red-${bucketName()}`
const arn = `arn:aws:s3:::${bucket}`
const policy = (...Statement: object[]) => ({ Version: '2012-10-17', Statement })

const bootstrap = {
  accounts: [
    {
      id: '111111111111', canonicalId: 'a'.repeat(64), displayName: 'Red', email: 'red@example.com', accessKeys: [red],
      users: [
        { name: 'reader', path: '/team/', accessKeys: [reader], policies: [policy(allow(['s3:GetObject', 's3:ListBucket'], [arn, `${arn}/open/*`]))] },
        { name: 'writer', accessKeys: [writer], policies: [policy(allow('s3:*', `${arn}/w/*`), allow(['s3:ListAllMyBuckets'], 'arn:aws:s3:::*'))] },
        { name: 'copier', accessKeys: [copier], policies: [policy(allow('s3:GetObject', `${arn}/open/*`), allow(['s3:PutObject', 's3:PutObjectTagging'], `${arn}/copies/*`))] },
        { name: 'denied', accessKeys: [denied], policies: [policy(allow('*', '*'), { Effect: 'Deny', Action: 's3:DeleteObject*', Resource: '*' }, { Effect: 'Deny', Action: 's3:GetObject', Resource: `${arn}/secret/*` })] },
        { name: 'powerless', accessKeys: [powerless] },
      ],
    },
    { id: '222222222222', canonicalId: 'b'.repeat(64), displayName: 'Blue', email: 'blue@example.com', accessKeys: [blue] },
  ],
}

let folder: string
let server: TestServer
const as = (credentials: Keys, method: string, target: string, more: Partial<RawRequest> = {}): Promise<RawResponse> => signedRequest({ server, credentials, method, path: `/${target}`, ...more })

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-bootstrap-'))
  const file = path.join(folder, 'accounts.json')
  await writeFile(file, JSON.stringify(bootstrap))
  server = await startServer({ env: { HOLDFAST_BOOTSTRAP_FILE: file } })
  expect((await as(red, 'PUT', bucket)).status).toBe(200)
  for (const key of ['open/k', 'closed/k', 'w/k', 'secret/k']) expect((await as(red, 'PUT', `${bucket}/${key}`, { body: key })).status).toBe(200)
})
afterAll(async () => {
  await server.remove()
  await rm(folder, { recursive: true, force: true })
})

describe('two accounts', () => {
  test('each sees its own buckets only, and is named as their owner', async () => {
    const own = bucketName()
    await as(blue, 'PUT', own)
    const mine = await as(blue, 'GET', '')
    expect(xmlTexts(mine.text, 'Name')).toEqual([own])
    expect([xmlText(mine.text, 'ID'), xmlText(mine.text, 'DisplayName')]).toEqual(['b'.repeat(64), 'Blue'])
    expect(xmlTexts((await as(red, 'GET', '')).text, 'Name')).toEqual([bucket])
  })

  test('a name that another account has answers 409 BucketAlreadyExists, the own one BucketAlreadyOwnedByYou', async () => {
    expect(outcome(await as(blue, 'PUT', bucket))).toBe('409 BucketAlreadyExists')
    expect(outcome(await as(red, 'PUT', bucket))).toBe('409 BucketAlreadyOwnedByYou')
  })

  test.each([
    ['GET', '', undefined], ['GET', '?list-type=2', undefined], ['GET', '?versions', undefined], ['GET', '?uploads', undefined], ['HEAD', '', undefined], ['DELETE', '', undefined],
    ['GET', '?location', undefined], ['GET', '?versioning', undefined], ['PUT', '?versioning', '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'], ['GET', '?acl', undefined],
    ['GET', '?tagging', undefined], ['PUT', '?tagging', '<Tagging><TagSet/></Tagging>'], ['DELETE', '?tagging', undefined], ['GET', '?policy', undefined], ['GET', '?lifecycle', undefined],
    ['POST', '?delete', '<Delete><Object><Key>open/k</Key></Object></Delete>'], ['GET', '/open/k', undefined], ['HEAD', '/open/k', undefined], ['PUT', '/open/k', 'taken over'], ['DELETE', '/open/k', undefined],
    ['GET', '/missing', undefined], ['GET', '/open/k?tagging', undefined], ['PUT', '/open/k?tagging', '<Tagging><TagSet/></Tagging>'], ['GET', '/open/k?attributes', undefined], ['POST', '/open/k?uploads', undefined],
    ['PUT', '/open/k?partNumber=1&uploadId=x', 'x'], ['GET', '/open/k?uploadId=x', undefined], ['DELETE', '/open/k?uploadId=x', undefined],
    ['POST', '/open/k?uploadId=x', '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>'],
  ])('%s %s of the bucket of the other answers 403 and touches nothing', async (method, target, body) => {
    const answer = await as(blue, method, `${bucket}${target}`, { ...(body === undefined ? {} : { body }), headers: { 'x-amz-object-attributes': 'ETag' } })
    expect(answer.status).toBe(403)
    if (method !== 'HEAD') expect(xmlText(answer.text, 'Code')).toBe('AccessDenied')
    expect((await as(red, 'GET', `${bucket}/open/k`)).text).toBe('open/k')
    expect((await as(red, 'GET', `${bucket}?versioning`)).text).not.toContain('Status')
  })

  test('a copy reads nothing of the other and writes nothing to it', async () => {
    const own = bucketName()
    await as(blue, 'PUT', own)
    await as(blue, 'PUT', `${own}/k`, { body: 'blue' })
    expect(outcome(await as(blue, 'PUT', `${own}/stolen`, { headers: { 'x-amz-copy-source': `/${bucket}/open/k` } }))).toBe('403 AccessDenied')
    expect(outcome(await as(blue, 'GET', `${own}/stolen`))).toBe('404 NoSuchKey')
    expect(outcome(await as(blue, 'PUT', `${bucket}/planted`, { headers: { 'x-amz-copy-source': `/${own}/k` } }))).toBe('403 AccessDenied')
    const uploadId = xmlText((await as(blue, 'POST', `${own}/p?uploads`)).text, 'UploadId') ?? ''
    expect(outcome(await as(blue, 'PUT', `${own}/p?partNumber=1&uploadId=${uploadId}`, { headers: { 'x-amz-copy-source': `/${bucket}/open/k` } }))).toBe('403 AccessDenied')
    expect(xmlTexts((await as(blue, 'GET', `${own}/p?uploadId=${uploadId}`)).text, 'PartNumber')).toEqual([])
    expect(outcome(await as(red, 'GET', `${bucket}/planted`))).toBe('404 NoSuchKey')
  })

  test('expected owners: the right id passes, another is refused, on buckets, objects and both ends of a copy', async () => {
    const right = { 'x-amz-expected-bucket-owner': '111111111111' }
    const wrong = { 'x-amz-expected-bucket-owner': '222222222222' }
    for (const [method, target] of [['HEAD', bucket], ['GET', `${bucket}?list-type=2`], ['GET', `${bucket}/open/k`], ['HEAD', `${bucket}/open/k`], ['GET', `${bucket}?versioning`], ['GET', `${bucket}/open/k?tagging`]] as const) {
      expect((await as(red, method, target, { headers: right })).status, `${method} ${target}`).toBe(200)
      expect((await as(red, method, target, { headers: wrong })).status, `${method} ${target}`).toBe(403)
    }
    const source = { 'x-amz-copy-source': `/${bucket}/open/k` }
    expect((await as(red, 'PUT', `${bucket}/copy`, { headers: { ...source, ...right, 'x-amz-source-expected-bucket-owner': '111111111111' } })).status).toBe(200)
    expect(outcome(await as(red, 'PUT', `${bucket}/copy2`, { headers: { ...source, ...right, 'x-amz-source-expected-bucket-owner': '222222222222' } }))).toBe('403 AccessDenied')
    expect(outcome(await as(red, 'GET', `${bucket}/copy2`))).toBe('404 NoSuchKey')
  })

  test('the keys of one account do not sign for the other', async () => {
    expect(outcome(await as({ accessKeyId: red.accessKeyId, secretAccessKey: blue.secretAccessKey }, 'GET', ''))).toBe('403 SignatureDoesNotMatch')
  })
})

describe('users do what their policies allow', () => {
  const put = { body: 'x' }

  test('a reader reads what is named, lists, and no more', async () => {
    expect((await as(reader, 'GET', `${bucket}/open/k`)).text).toBe('open/k')
    expect((await as(reader, 'GET', `${bucket}?list-type=2`)).status).toBe(200)
    for (const [method, target, more] of [['GET', `${bucket}/closed/k`, {}], ['PUT', `${bucket}/open/new`, put], ['DELETE', `${bucket}/open/k`, {}], ['GET', '', {}], ['PUT', bucketName(), {}], ['GET', `${bucket}?versions`, {}],
      ['GET', `${bucket}?location`, {}], ['GET', `${bucket}/open/k?tagging`, {}], ['GET', `${bucket}/open/k?versionId=null`, {}], ['POST', `${bucket}/open/k?uploads`, {}]] as const) {
      const answer = await as(reader, method, target, more)
      expect(outcome(answer), `${method} ${target}`).toBe('403 AccessDenied')
      expect(answer.text).toContain('arn:aws:iam::111111111111:user/team/reader')
    }
  })

  test('a writer writes below its prefix, in parts too, and is named as the initiator', async () => {
    const send = (method: string, target: string, options: Partial<RawRequest> = {}): Promise<RawResponse> => as(writer, method, `${bucket}/${target}`, options)
    const uploadId = await createUpload(send, 'w/parts')
    expect((await as(red, 'GET', `${bucket}?uploads`)).text).toContain('<Initiator><ID>arn:aws:iam::111111111111:user/writer</ID><DisplayName>writer</DisplayName></Initiator>')
    expect(outcome(await complete(send, 'w/parts', uploadId, await putParts(send, 'w/parts', uploadId, [[1, 'x']])))).toBe('200')
    expect(outcome(await send('PUT', 'elsewhere', put))).toBe('403 AccessDenied')
    expect(xmlTexts((await as(writer, 'GET', '')).text, 'Name')).toEqual([bucket])
  })

  test('a copy needs the right to read its source', async () => {
    expect(outcome(await as(writer, 'PUT', `${bucket}/w/copy`, { headers: { 'x-amz-copy-source': `/${bucket}/closed/k` } }))).toBe('403 AccessDenied')
    expect(outcome(await as(red, 'GET', `${bucket}/w/copy`))).toBe('404 NoSuchKey')
    expect((await as(writer, 'PUT', `${bucket}/w/copy`, { headers: { 'x-amz-copy-source': `/${bucket}/w/k` } })).status).toBe(200)
  })

  test('a deny wins over an allow, also in DeleteObjects, key by key', async () => {
    expect((await as(denied, 'GET', `${bucket}/open/k`)).status).toBe(200)
    expect(outcome(await as(denied, 'GET', `${bucket}/secret/k`))).toBe('403 AccessDenied')
    expect(outcome(await as(denied, 'DELETE', `${bucket}/open/k`))).toBe('403 AccessDenied')
    const many = await as(denied, 'POST', `${bucket}?delete`, { body: '<Delete><Object><Key>open/k</Key></Object></Delete>' })
    expect(many.text).toContain('AccessDenied')
    expect((await as(red, 'GET', `${bucket}/open/k`)).text).toBe('open/k')
  })

  test('DeleteObjects needs the right to delete each key, and none to the bucket', async () => {
    await as(red, 'PUT', `${bucket}/w/gone`, put)
    const answer = await as(writer, 'POST', `${bucket}?delete`, { body: '<Delete><Object><Key>w/gone</Key></Object><Object><Key>open/k</Key></Object></Delete>' })
    expect(outcome(answer)).toBe('200')
    expect(xmlBlocks(answer.text, 'Deleted')).toEqual(['<Key>w/gone</Key>'])
    expect(xmlBlocks(answer.text, 'Error')[0]).toContain('<Key>open/k</Key><Code>AccessDenied</Code>')
    expect((await as(red, 'GET', `${bucket}/open/k`)).text).toBe('open/k')
  })

  test('who may not list a bucket does not learn which keys it has', async () => {
    for (const [method, target] of [['GET', 'w/none'], ['GET', 'w/none?tagging'], ['GET', 'w/none?acl']] as const) {
      expect(outcome(await as(writer, method, `${bucket}/${target}`)), target).toBe('403 AccessDenied')
      expect(outcome(await as(red, method, `${bucket}/${target}`)), target).toBe('404 NoSuchKey')
    }
    expect((await as(writer, 'HEAD', `${bucket}/w/none`)).status).toBe(403)
    expect(outcome(await as(writer, 'PUT', `${bucket}/w/copy`, { headers: { 'x-amz-copy-source': `/${bucket}/w/none` } }))).toBe('403 AccessDenied')
    expect(outcome(await as(reader, 'GET', `${bucket}/open/none`))).toBe('404 NoSuchKey')
  })

  test('a copy takes the tags along only for who may read them', async () => {
    await as(red, 'PUT', `${bucket}/open/tagged`, { body: 'x', headers: { 'x-amz-tagging': 'a=1' } })
    const copy = (headers: Record<string, string> = {}) => as(copier, 'PUT', `${bucket}/copies/tagged`, { headers: { 'x-amz-copy-source': `/${bucket}/open/tagged`, ...headers } })
    expect(outcome(await copy())).toBe('403 AccessDenied')
    expect((await copy({ 'x-amz-tagging-directive': 'REPLACE' })).status).toBe(200)
    expect((await as(red, 'GET', `${bucket}/copies/tagged?tagging`)).text).not.toContain('<Tag>')
  })

  test('a user of an account has no right in another: not by its policies either', async () => {
    const other = bucketName()
    await as(blue, 'PUT', other)
    expect(outcome(await as(denied, 'GET', `${other}?list-type=2`))).toBe('403 AccessDenied')
    expect(outcome(await as(denied, 'PUT', `${other}/k`, put))).toBe('403 AccessDenied')
  })

  test('a user without a policy may do nothing', async () => {
    for (const [method, target] of [['GET', ''], ['GET', `${bucket}?list-type=2`], ['GET', `${bucket}/open/k`], ['PUT', bucketName()]] as const) expect(outcome(await as(powerless, method, target))).toBe('403 AccessDenied')
  })
})

test('applying the same file again at the next start changes nothing', async () => {
  await server.stop()
  await server.restart()
  expect(xmlTexts((await as(red, 'GET', '')).text, 'Name')).toEqual([bucket])
  expect((await as(reader, 'GET', `${bucket}/open/k`)).text).toBe('open/k')
  expect(outcome(await as(blue, 'GET', `${bucket}/open/k`))).toBe('403 AccessDenied')
})
