import { PutObjectCommand } from '@aws-sdk/client-s3'
import { stat, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { awsEnvironment, bucketName, findTool, hashFile, hashTree, tool, writeNoise } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'
import { oddNames, writeOddTree } from './trees.ts'

/** The exit status of version 2 of aws-cli when the server refuses a request, and that of version 1. */
const refused = [254, 255]

let scene: Scene
let server: TestServer
let place: Workplace
let s3: Tool
let curl: Tool

beforeAll(async () => {
  scene = await openScene('aws-cli')
  place = scene.place
  server = scene.server
  s3 = tool(findTool('aws', 'awscli'), awsEnvironment(place, server), ['--endpoint-url', server.endpoint, 's3'])
  curl = tool(findTool('curl'), place.env, ['--silent', '--show-error'])
})

afterAll(async () => {
  await scene?.close()
})

async function makeBucket(purpose: string): Promise<string> {
  const bucket = bucketName(purpose)
  await s3(['mb', `s3://${bucket}`])
  return bucket
}

test('mb makes a bucket that ls shows, rb removes it', async () => {
  const bucket = await makeBucket('mb')
  expect((await s3(['ls'])).stdout).toContain(` ${bucket}\n`)
  await s3(['rb', `s3://${bucket}`])
  expect((await s3(['ls'])).stdout).not.toContain(bucket)
})

test('cp carries a small file there and back', async () => {
  const bucket = await makeBucket('small')
  const hash = await writeNoise(place.at('small.bin'), 12_345)
  await s3(['cp', place.at('small.bin'), `s3://${bucket}/`])
  await s3(['cp', `s3://${bucket}/small.bin`, place.at('small.back')])
  expect(await hashFile(place.at('small.back'))).toBe(hash)
  expect((await s3(['ls', `s3://${bucket}/`])).stdout).toMatch(/^[-0-9]{10} [:0-9]{8} +12345 small\.bin\n$/)
})

test('cp carries 200 MB in parts there and back, and copies it inside the server', async () => {
  const bucket = await makeBucket('large')
  const hash = await writeNoise(place.at('large.bin'), 200 * 1024 * 1024)
  await s3(['cp', '--no-progress', place.at('large.bin'), `s3://${bucket}/large.bin`])
  await s3(['cp', '--no-progress', `s3://${bucket}/large.bin`, `s3://${bucket}/copies/large.bin`])
  await s3(['cp', '--no-progress', `s3://${bucket}/large.bin`, place.at('large.back')])
  expect(await hashFile(place.at('large.back'))).toBe(hash)
  await s3(['cp', '--no-progress', `s3://${bucket}/copies/large.bin`, place.at('large.copy')])
  expect(await hashFile(place.at('large.copy'))).toBe(hash)
})

test('cp streams from standard input and to standard output', async () => {
  const bucket = await makeBucket('stream')
  await s3(['cp', '-', `s3://${bucket}/from-stdin`], { input: 'written by a pipe\n' })
  expect((await s3(['cp', `s3://${bucket}/from-stdin`, '-'])).stdout).toBe('written by a pipe\n')
})

test('sync carries a folder of odd names there and back, and has nothing to do the second time', async () => {
  const bucket = await makeBucket('sync')
  await writeOddTree(place.at('sync'))
  const hashes = await hashTree(place.at('sync'))
  await s3(['sync', '--no-progress', place.at('sync'), `s3://${bucket}/odd names/`])
  expect((await s3(['sync', place.at('sync'), `s3://${bucket}/odd names/`])).stdout).toBe('')
  await s3(['sync', '--no-progress', `s3://${bucket}/odd names/`, place.at('sync-back')])
  expect(await hashTree(place.at('sync-back'))).toEqual(hashes)
  expect((await s3(['sync', `s3://${bucket}/odd names/`, place.at('sync-back')])).stdout).toBe('')

  await s3(['sync', '--no-progress', `s3://${bucket}/odd names/`, `s3://${bucket}/copy+of/`])
  await s3(['sync', '--no-progress', `s3://${bucket}/copy+of/`, place.at('sync-copy')])
  expect(await hashTree(place.at('sync-copy'))).toEqual(hashes)

  await s3(['rm', '--recursive', `s3://${bucket}/odd names/`])
  const left = (await s3(['ls', '--recursive', `s3://${bucket}/`])).stdout.trimEnd().split('\n')
  expect(left).toHaveLength(oddNames.length)
  await s3(['rb', '--force', `s3://${bucket}`])
})

test('sync --delete removes what is gone', async () => {
  const bucket = await makeBucket('delete')
  await writeOddTree(place.at('many'))
  await s3(['sync', place.at('many'), `s3://${bucket}`])
  await writeOddTree(place.at('few'), oddNames.slice(0, 3))
  await s3(['sync', '--delete', place.at('few'), `s3://${bucket}`])
  await s3(['sync', `s3://${bucket}`, place.at('few-back')])
  expect(await hashTree(place.at('few-back'))).toEqual(await hashTree(place.at('few')))
})

test('ls --recursive shows 3,000 keys in order, rm --recursive deletes them, rb the bucket', async () => {
  const bucket = await makeBucket('many')
  const keys = Array.from({ length: 3000 }, (_, index) => `folder ${index % 7}/key-${String(index).padStart(5, '0')}`)
  await putAll(bucket, keys)
  const shown = (await s3(['ls', '--recursive', `s3://${bucket}/`])).stdout.trimEnd().split('\n')
  expect(shown.map((line) => line.slice(31))).toEqual(keys.toSorted())
  const folders = (await s3(['ls', `s3://${bucket}/`])).stdout.trimEnd().split('\n')
  expect(folders.map((line) => line.trim())).toEqual(Array.from({ length: 7 }, (_, index) => `PRE folder ${index}/`))
  expect((await s3(['rb', `s3://${bucket}`], { status: 1 })).stderr).toContain('BucketNotEmpty')
  await s3(['rm', '--quiet', '--recursive', `s3://${bucket}/`])
  expect((await s3(['ls', '--recursive', `s3://${bucket}/`], { status: 'any' })).stdout).toBe('')
  await s3(['rb', `s3://${bucket}`])
})

async function putAll(bucket: string, keys: readonly string[]): Promise<void> {
  const waiting = [...keys]
  const putNext = async (): Promise<void> => {
    for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
      await server.client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key }))
    }
  }
  await Promise.all(Array.from({ length: 32 }, putNext))
}

test('a presigned URL gives the object to curl, and refuses it when changed', async () => {
  const bucket = await makeBucket('presign')
  const hash = await writeNoise(place.at('presign.bin'), 3_000_000)
  const key = 'a folder/sign+ed & ünique.bin'
  await s3(['cp', place.at('presign.bin'), `s3://${bucket}/${key}`])
  const url = (await s3(['presign', `s3://${bucket}/${key}`, '--expires-in', '300'])).stdout.trim()
  await curl(['--fail', '--output', place.at('presign.back'), url])
  expect(await hashFile(place.at('presign.back'))).toBe(hash)
  const forged = await curl(['--write-out', '%{http_code}', url.replace('sign%2Bed', 'sign%2Bee')])
  expect(forged.stdout).toContain('<Code>SignatureDoesNotMatch</Code>')
  expect(forged.stdout.slice(-3)).toBe('403')
})

test('mv moves up, inside the server and down again, and leaves nothing behind', async () => {
  const bucket = await makeBucket('mv')
  const hash = await writeNoise(place.at('mv.bin'), 10_000_000)
  await s3(['mv', '--no-progress', place.at('mv.bin'), `s3://${bucket}/one.bin`])
  await expect(stat(place.at('mv.bin'))).rejects.toThrow('ENOENT')
  await s3(['mv', '--no-progress', `s3://${bucket}/one.bin`, `s3://${bucket}/two/two.bin`])
  expect((await s3(['ls', '--recursive', `s3://${bucket}`])).stdout).toMatch(/ two\/two\.bin\n$/)
  await s3(['mv', '--no-progress', `s3://${bucket}/two/two.bin`, place.at('mv.back')])
  expect(await hashFile(place.at('mv.back'))).toBe(hash)
  expect((await s3(['ls', '--recursive', `s3://${bucket}`], { status: 'any' })).stdout).toBe('')
})

test('buckets addressed by host name hold the same objects', async () => {
  const bucket = await makeBucket('named')
  await writeFile(place.at('virtual.conf'), '[default]\ns3 =\n  addressing_style = virtual\n')
  const env = { ...awsEnvironment(place, server), ...scene.proxyEnv, AWS_CONFIG_FILE: place.at('virtual.conf') }
  const named = tool(findTool('aws', 'awscli'), env, ['--endpoint-url', scene.namedEndpoint, 's3'])
  await writeOddTree(place.at('named'))
  await writeNoise(place.at('named', 'parts.bin'), 20_000_000)
  await named(['sync', '--no-progress', place.at('named'), `s3://${bucket}/`])
  await s3(['sync', '--no-progress', `s3://${bucket}/`, place.at('named-back')])
  expect(await hashTree(place.at('named-back'))).toEqual(await hashTree(place.at('named')))
  expect((await named(['sync', `s3://${bucket}/`, place.at('named-back')])).stdout).toBe('')
  expect((await named(['ls'])).stdout).toContain(bucket)
})

test('errors reach the user by their S3 code and a non-zero exit status', async () => {
  const missing = bucketName('missing')
  expect((await s3(['ls', `s3://${missing}`], { status: refused })).stderr).toContain('NoSuchBucket')
  expect((await s3(['rb', `s3://${missing}`], { status: 1 })).stderr).toContain('NoSuchBucket')
  await writeFile(place.at('error.txt'), 'x')
  expect((await s3(['cp', place.at('error.txt'), `s3://${missing}/x`], { status: 1 })).stderr).toContain('NoSuchBucket')
  const bucket = await makeBucket('errors')
  expect((await s3(['cp', `s3://${bucket}/not-there`, place.at('nothing')], { status: 1 })).stderr).toContain('404')
})

test('metadata given to cp is what a later head shows', async () => {
  const bucket = await makeBucket('metadata')
  await writeFile(place.at('page.html'), '<p>hello</p>')
  await s3(['cp', place.at('page.html'), `s3://${bucket}/page.html`, '--cache-control', 'max-age=60', '--content-language', 'en', '--metadata', 'colour=blue'])
  const aws = tool(findTool('aws', 'awscli'), awsEnvironment(place, server), ['--endpoint-url', server.endpoint, '--output', 'json', 's3api'])
  expect(JSON.parse((await aws(['head-object', '--bucket', bucket, '--key', 'page.html'])).stdout)).toMatchObject({
    ContentLength: 12, ContentType: 'text/html', CacheControl: 'max-age=60', ContentLanguage: 'en', Metadata: { colour: 'blue' },
  })
})
