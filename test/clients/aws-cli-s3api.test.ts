import { CreateBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { awsEnvironment, bucketName, findTool, hashFile, noiseBuffer, sha256, tool } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'

/** An answer of the tool, as far as a test looks into it. */
type Answer = Record<string, unknown>

/** The exit status of version 2 of aws-cli when the server refuses a request, and that of version 1. */
const refused = [254, 255]

let scene: Scene
let server: TestServer
let place: Workplace
let aws: Tool

beforeAll(async () => {
  scene = await openScene('s3api')
  place = scene.place
  server = scene.server
  aws = tool(findTool('aws', 'awscli'), awsEnvironment(place, server), ['--endpoint-url', server.endpoint, '--output', 'json', 's3api'])
})

afterAll(async () => {
  await scene?.close()
})

/** Runs an s3api command and returns what it printed; a command that prints nothing is an empty answer. */
async function api(command: string, ...args: readonly string[]): Promise<Answer> {
  const { stdout } = await aws([command, ...args])
  return stdout.trim() === '' ? {} : JSON.parse(stdout) as Answer
}

async function makeBucket(purpose: string): Promise<string> {
  const bucket = bucketName(purpose)
  await server.client.send(new CreateBucketCommand({ Bucket: bucket }))
  return bucket
}

const bytes = noiseBuffer(200_000, 's3api')

describe('checksums', () => {
  test.each(['CRC32', 'CRC32C', 'SHA1', 'SHA256'])('put-object with %s is verified, stored and given back', async (algorithm) => {
    const bucket = await makeBucket('checksum')
    await writeFile(place.at('body'), bytes)
    const put = await api('put-object', '--bucket', bucket, '--key', 'k', '--body', place.at('body'), '--checksum-algorithm', algorithm)
    const name = `Checksum${algorithm}`
    expect(put[name]).toMatch(/^[A-Za-z0-9+/]+=*$/)
    if (algorithm === 'SHA256') expect(put[name]).toBe(createHash('sha256').update(bytes).digest('base64'))
    const got = await api('get-object', '--bucket', bucket, '--key', 'k', '--checksum-mode', 'ENABLED', place.at('back'))
    expect(got[name]).toBe(put[name])
    expect(await hashFile(place.at('back'))).toBe(sha256(bytes))
  })

  test('a wrong checksum is refused with BadDigest and leaves nothing', async () => {
    const bucket = await makeBucket('wrong')
    await writeFile(place.at('body'), bytes)
    const wrong = createHash('sha256').update('other').digest('base64')
    const put = await aws(['put-object', '--bucket', bucket, '--key', 'k', '--body', place.at('body'), '--checksum-sha256', wrong], { status: refused })
    expect(put.stderr).toContain('BadDigest')
    expect(await api('list-objects-v2', '--bucket', bucket)).not.toHaveProperty('Contents')
  })
})

test('get-object with a range, head-object, and a range beyond the end', async () => {
  const bucket = await makeBucket('range')
  await writeFile(place.at('range'), bytes)
  await api('put-object', '--bucket', bucket, '--key', 'k', '--body', place.at('range'), '--content-type', 'text/x-range', '--metadata', 'one=1')
  const got = await api('get-object', '--bucket', bucket, '--key', 'k', '--range', 'bytes=1000-150999', place.at('range.back'))
  expect(got).toMatchObject({ ContentLength: 150_000, ContentRange: 'bytes 1000-150999/200000', AcceptRanges: 'bytes' })
  expect(Buffer.compare(await readFile(place.at('range.back')), bytes.subarray(1000, 151_000))).toBe(0)
  await api('get-object', '--bucket', bucket, '--key', 'k', '--range', 'bytes=-10', place.at('range.tail'))
  expect(Buffer.compare(await readFile(place.at('range.tail')), bytes.subarray(-10))).toBe(0)
  const md5 = createHash('md5').update(bytes).digest('hex')
  expect(await api('head-object', '--bucket', bucket, '--key', 'k')).toMatchObject({
    ContentLength: 200_000, ContentType: 'text/x-range', ETag: `"${md5}"`, Metadata: { one: '1' },
  })
  const beyond = await aws(['get-object', '--bucket', bucket, '--key', 'k', '--range', 'bytes=200000-', place.at('range.none')], { status: refused })
  expect(beyond.stderr).toContain('InvalidRange')
})

test('versions: enable, write twice, list, read the old one, delete it and the marker', async () => {
  const bucket = await makeBucket('versions')
  await api('put-bucket-versioning', '--bucket', bucket, '--versioning-configuration', 'Status=Enabled')
  expect(await api('get-bucket-versioning', '--bucket', bucket)).toMatchObject({ Status: 'Enabled' })
  const ids: string[] = []
  for (const text of ['first', 'second']) {
    await writeFile(place.at('version'), text)
    const put = await api('put-object', '--bucket', bucket, '--key', 'k', '--body', place.at('version'))
    ids.push(String(put['VersionId']))
  }
  const [first = '', second = ''] = ids
  const deleted = await api('delete-object', '--bucket', bucket, '--key', 'k')
  expect(deleted['DeleteMarker']).toBe(true)
  expect(await api('list-object-versions', '--bucket', bucket)).toMatchObject({
    Versions: [{ VersionId: second, IsLatest: false, Size: 6 }, { VersionId: first, IsLatest: false, Size: 5 }],
    DeleteMarkers: [{ VersionId: deleted['VersionId'], IsLatest: true }],
  })
  await api('get-object', '--bucket', bucket, '--key', 'k', '--version-id', first, place.at('version.back'))
  expect(await readFile(place.at('version.back'), 'utf8')).toBe('first')
  await api('delete-object', '--bucket', bucket, '--key', 'k', '--version-id', String(deleted['VersionId']))
  await api('delete-object', '--bucket', bucket, '--key', 'k', '--version-id', first)
  const left = await api('list-object-versions', '--bucket', bucket)
  expect(left['Versions']).toMatchObject([{ VersionId: second, IsLatest: true }])
  expect(left).not.toHaveProperty('DeleteMarkers')
  await api('get-object', '--bucket', bucket, '--key', 'k', place.at('version.back'))
  expect(await readFile(place.at('version.back'), 'utf8')).toBe('second')
})

test('copy-object keeps or replaces metadata', async () => {
  const bucket = await makeBucket('copy')
  await writeFile(place.at('copy'), bytes)
  const key = 'from & to/ünï+cödé.bin'
  await api('put-object', '--bucket', bucket, '--key', key, '--body', place.at('copy'), '--metadata', 'kept=yes', '--content-type', 'text/one')
  // aws-cli encodes the source itself; what is encoded already would name another key.
  const source = `${bucket}/${key}`
  await api('copy-object', '--bucket', bucket, '--key', 'kept', '--copy-source', source)
  expect(await api('head-object', '--bucket', bucket, '--key', 'kept')).toMatchObject({ Metadata: { kept: 'yes' }, ContentType: 'text/one' })
  await api('copy-object', '--bucket', bucket, '--key', 'replaced', '--copy-source', source,
    '--metadata-directive', 'REPLACE', '--metadata', 'new=1', '--content-type', 'text/two')
  const replaced = await api('get-object', '--bucket', bucket, '--key', 'replaced', place.at('copy.back'))
  expect(replaced).toMatchObject({ Metadata: { new: '1' }, ContentType: 'text/two' })
  expect(await hashFile(place.at('copy.back'))).toBe(sha256(bytes))
})

test('tagging of an object and of a bucket', async () => {
  const bucket = await makeBucket('tags')
  await writeFile(place.at('tags'), 'x')
  await api('put-object', '--bucket', bucket, '--key', 'k', '--body', place.at('tags'), '--tagging', 'colour=blue&note=a%20b')
  const byKey = (answer: Answer) => (answer['TagSet'] as { Key: string, Value: string }[]).toSorted((a, b) => (a.Key < b.Key ? -1 : 1))
  expect(byKey(await api('get-object-tagging', '--bucket', bucket, '--key', 'k'))).toEqual([{ Key: 'colour', Value: 'blue' }, { Key: 'note', Value: 'a b' }])
  await api('put-object-tagging', '--bucket', bucket, '--key', 'k', '--tagging', 'TagSet=[{Key=one,Value=1}]')
  expect(byKey(await api('get-object-tagging', '--bucket', bucket, '--key', 'k'))).toEqual([{ Key: 'one', Value: '1' }])
  await api('delete-object-tagging', '--bucket', bucket, '--key', 'k')
  expect(byKey(await api('get-object-tagging', '--bucket', bucket, '--key', 'k'))).toEqual([])
  await api('put-bucket-tagging', '--bucket', bucket, '--tagging', 'TagSet=[{Key=team,Value=red}]')
  expect(byKey(await api('get-bucket-tagging', '--bucket', bucket))).toEqual([{ Key: 'team', Value: 'red' }])
  await api('delete-bucket-tagging', '--bucket', bucket)
  expect((await aws(['get-bucket-tagging', '--bucket', bucket], { status: refused })).stderr).toContain('NoSuchTagSet')
})

test('a multipart upload by hand: two parts, listed, completed, read back; another one aborted', async () => {
  const bucket = await makeBucket('parts')
  const parts = [noiseBuffer(5 * 1024 * 1024, 'part one'), noiseBuffer(123_456, 'part two')]
  const target = ['--bucket', bucket, '--key', 'joined']
  const upload = String((await api('create-multipart-upload', ...target, '--content-type', 'text/joined'))['UploadId'])
  const done: { PartNumber: number, ETag: unknown }[] = []
  for (const [index, part] of parts.entries()) {
    await writeFile(place.at('part'), part)
    const answer = await api('upload-part', ...target, '--upload-id', upload, '--part-number', String(index + 1), '--body', place.at('part'))
    done.push({ PartNumber: index + 1, ETag: answer['ETag'] })
  }
  expect(await api('list-parts', ...target, '--upload-id', upload)).toMatchObject({
    Parts: [{ PartNumber: 1, Size: 5 * 1024 * 1024, ETag: done[0]?.ETag }, { PartNumber: 2, Size: 123_456, ETag: done[1]?.ETag }],
  })
  expect(await api('list-multipart-uploads', '--bucket', bucket)).toMatchObject({ Uploads: [{ UploadId: upload, Key: 'joined' }] })
  const completed = await api('complete-multipart-upload', ...target, '--upload-id', upload, '--multipart-upload', JSON.stringify({ Parts: done }))
  const digests = parts.map((part) => createHash('md5').update(part).digest())
  expect(completed['ETag']).toBe(`"${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-2"`)
  expect(await api('get-object', ...target, place.at('joined'))).toMatchObject({ ContentType: 'text/joined' })
  expect(await hashFile(place.at('joined'))).toBe(sha256(Buffer.concat(parts)))

  const second = String((await api('create-multipart-upload', ...target))['UploadId'])
  await api('abort-multipart-upload', ...target, '--upload-id', second)
  expect(await api('list-multipart-uploads', '--bucket', bucket)).not.toHaveProperty('Uploads')
})

test('buckets: list, head, location, delete, and what is refused', async () => {
  const bucket = bucketName('basics')
  await api('create-bucket', '--bucket', bucket)
  const listed = await api('list-buckets')
  expect((listed['Buckets'] as { Name: string }[]).map((each) => each.Name)).toContain(bucket)
  expect(listed).toHaveProperty('Owner.ID')
  await api('head-bucket', '--bucket', bucket)
  expect(await api('get-bucket-location', '--bucket', bucket)).toEqual({ LocationConstraint: null })
  await api('delete-bucket', '--bucket', bucket)
  expect((await aws(['head-bucket', '--bucket', bucket], { status: refused })).stderr).toContain('404')
  expect((await aws(['get-object', '--bucket', bucket, '--key', 'k', place.at('none')], { status: refused })).stderr).toContain('NoSuchBucket')
})

test('delete-objects, and lists in pages', async () => {
  const bucket = await makeBucket('pages')
  const keys = ['001', '1e5', 'a&b', 'folder/one', 'folder/two', 'true', 'é 🎉']
  await Promise.all(keys.map((Key) => server.client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }))))
  const listed = await api('list-objects-v2', '--bucket', bucket, '--page-size', '2')
  expect((listed['Contents'] as { Key: string }[]).map((each) => each.Key)).toEqual(keys)
  const old = await api('list-objects', '--bucket', bucket, '--page-size', '3', '--delimiter', '/')
  expect((old['Contents'] as { Key: string }[]).map((each) => each.Key)).toEqual(keys.filter((key) => !key.includes('/')))
  expect(old['CommonPrefixes']).toEqual([{ Prefix: 'folder/' }])
  const deletion = JSON.stringify({ Objects: keys.map((Key) => ({ Key })) })
  const deleted = await api('delete-objects', '--bucket', bucket, '--delete', deletion)
  expect((deleted['Deleted'] as { Key: string }[]).map((each) => each.Key).toSorted()).toEqual(keys.toSorted())
  expect(await api('list-objects-v2', '--bucket', bucket)).not.toHaveProperty('Contents')
})

test('a wrong secret and an unknown access key are told apart', async () => {
  const wrong = tool(findTool('aws', 'awscli'), awsEnvironment(place, { accessKey: server.accessKey, secretKey: 'not-the-secret-key' }), ['--endpoint-url', server.endpoint, 's3api'])
  expect((await wrong(['list-buckets'], { status: refused })).stderr).toContain('SignatureDoesNotMatch')
  const unknown = tool(findTool('aws', 'awscli'), awsEnvironment(place, { accessKey: 'AKIDOESNOTEXIST', secretKey: server.secretKey }), ['--endpoint-url', server.endpoint, 's3api'])
  expect((await unknown(['list-buckets'], { status: refused })).stderr).toContain('InvalidAccessKeyId')
})
