import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { bucketName, findTool, hashFile, hashTree, tool, writeNoise } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'
import { oddNames, writeOddTree } from './trees.ts'

let scene: Scene
let server: TestServer
let place: Workplace
let s3cmd: Tool
let curl: Tool

beforeAll(async () => {
  scene = await openScene('s3cmd')
  place = scene.place
  server = scene.server
  const host = new URL(server.endpoint).host
  await writeFile(place.at('s3cmd.conf'), '[default]\nmax_retries = 1\n')
  // A host for buckets without %(bucket)s in it makes s3cmd address buckets by path.
  s3cmd = tool(findTool('s3cmd'), place.env, [
    `--config=${place.at('s3cmd.conf')}`, `--access_key=${server.accessKey}`, `--secret_key=${server.secretKey}`,
    `--host=${host}`, `--host-bucket=${host}`, '--no-ssl', '--no-progress', '--region=us-east-1',
  ])
  curl = tool(findTool('curl'), place.env, ['--silent', '--show-error'])
})

afterAll(async () => {
  await scene?.close()
})

async function makeBucket(purpose: string): Promise<string> {
  const bucket = bucketName(purpose)
  await s3cmd(['mb', `s3://${bucket}`])
  return bucket
}

test('mb, ls, rb', async () => {
  const bucket = await makeBucket('mb')
  expect((await s3cmd(['ls'])).stdout).toContain(`s3://${bucket}\n`)
  await s3cmd(['rb', `s3://${bucket}`])
  expect((await s3cmd(['ls'])).stdout).not.toContain(bucket)
  expect((await s3cmd(['ls', `s3://${bucket}`], { status: 'any' })).stderr).toContain('NoSuchBucket')
})

test('put and get a small file; info tells about it', async () => {
  const bucket = await makeBucket('small')
  const hash = await writeNoise(place.at('small.bin'), 54_321)
  await s3cmd(['put', '--mime-type=application/x-small', '--add-header=x-amz-meta-colour:blue', place.at('small.bin'), `s3://${bucket}/a folder/small+file.bin`])
  await s3cmd(['get', `s3://${bucket}/a folder/small+file.bin`, place.at('small.back')])
  expect(await hashFile(place.at('small.back'))).toBe(hash)
  const { stdout } = await s3cmd(['info', `s3://${bucket}/a folder/small+file.bin`])
  expect(stdout).toContain('File size: 54321')
  expect(stdout).toContain('MIME type: application/x-small')
  expect(stdout).toContain('x-amz-meta-colour: blue')
  expect((await s3cmd(['info', `s3://${bucket}`])).stdout).toContain('Location:  us-east-1')
})

test('put of 30 MB goes up in parts of 5 MB and comes back the same', async () => {
  const bucket = await makeBucket('parts')
  const hash = await writeNoise(place.at('parts.bin'), 30 * 1024 * 1024 + 17)
  await s3cmd(['put', '--multipart-chunk-size-mb=5', place.at('parts.bin'), `s3://${bucket}/parts.bin`])
  const head = await server.client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'parts.bin' }))
  expect(head.ETag).toMatch(/^"[0-9a-f]{32}-7"$/)
  await s3cmd(['get', `s3://${bucket}/parts.bin`, place.at('parts.back')])
  expect(await hashFile(place.at('parts.back'))).toBe(hash)
  expect((await s3cmd(['multipart', `s3://${bucket}`])).stdout).not.toContain('parts.bin')
  // A download that was cut off goes on where it stopped, by a range.
  await writeFile(place.at('parts.cut'), (await readFile(place.at('parts.bin'))).subarray(0, 11_000_000))
  await s3cmd(['get', '--continue', `s3://${bucket}/parts.bin`, place.at('parts.cut')])
  expect(await hashFile(place.at('parts.cut'))).toBe(hash)
})

test('cp and mv inside the server', async () => {
  const bucket = await makeBucket('copy')
  const other = await makeBucket('other')
  const hash = await writeNoise(place.at('copy.bin'), 1_234_567)
  await s3cmd(['put', place.at('copy.bin'), `s3://${bucket}/one & two.bin`])
  await s3cmd(['cp', `s3://${bucket}/one & two.bin`, `s3://${other}/ünïcode +.bin`])
  await s3cmd(['mv', `s3://${bucket}/one & two.bin`, `s3://${other}/moved`])
  expect((await s3cmd(['ls', `s3://${bucket}`])).stdout).toBe('')
  for (const key of ['ünïcode +.bin', 'moved']) {
    await s3cmd(['get', '--force', `s3://${other}/${key}`, place.at('copy.back')])
    expect(await hashFile(place.at('copy.back'))).toBe(hash)
  }
})

test('sync carries odd names there and back, with nothing to do the second time; del --recursive empties the bucket', async () => {
  const bucket = await makeBucket('sync')
  await writeOddTree(place.at('tree'))
  await s3cmd(['sync', `${place.at('tree')}/`, `s3://${bucket}/odd names/`])
  expect((await s3cmd(['sync', `${place.at('tree')}/`, `s3://${bucket}/odd names/`])).stdout).not.toContain('upload:')
  await s3cmd(['sync', `s3://${bucket}/odd names/`, `${place.at('tree-back')}/`])
  expect(await hashTree(place.at('tree-back'))).toEqual(await hashTree(place.at('tree')))
  const listed = (await s3cmd(['ls', '--recursive', `s3://${bucket}`])).stdout.trimEnd().split('\n')
  const start = `s3://${bucket}/odd names/`
  expect(listed.map((line) => line.slice(line.indexOf(start) + start.length)).toSorted()).toEqual(oddNames.toSorted())
  await s3cmd(['del', '--recursive', '--force', `s3://${bucket}`])
  expect((await s3cmd(['ls', '--recursive', `s3://${bucket}`])).stdout).toBe('')
  await s3cmd(['rb', `s3://${bucket}`])
})

test('sync --delete-removed deletes what is gone', async () => {
  const bucket = await makeBucket('removed')
  await writeOddTree(place.at('removed'), oddNames.slice(0, 12))
  await s3cmd(['sync', `${place.at('removed')}/`, `s3://${bucket}/`])
  await writeOddTree(place.at('kept'), oddNames.slice(0, 4))
  await s3cmd(['sync', '--delete-removed', `${place.at('kept')}/`, `s3://${bucket}/`])
  await s3cmd(['sync', `s3://${bucket}/`, `${place.at('kept-back')}/`])
  expect(await hashTree(place.at('kept-back'))).toEqual(await hashTree(place.at('kept')))
})

test('signurl signs by version 2: curl gets the object, a changed URL gets nothing', async () => {
  const bucket = await makeBucket('signurl')
  const hash = await writeNoise(place.at('signed.bin'), 300_000)
  await s3cmd(['put', place.at('signed.bin'), `s3://${bucket}/a b/signed+file.bin`])
  const url = (await s3cmd(['signurl', `s3://${bucket}/a b/signed+file.bin`, '+600'])).stdout.trim()
  expect(url).toContain('AWSAccessKeyId=')
  await curl(['--fail', '--output', place.at('signed.back'), url])
  expect(await hashFile(place.at('signed.back'))).toBe(hash)
  expect((await curl(['--write-out', '%{http_code}', url.replace('signed', 'another')])).stdout).toContain('<Code>SignatureDoesNotMatch</Code>')
})

test('the whole of it works with signature version 2', async () => {
  const bucket = await makeBucket('v2')
  const hash = await writeNoise(place.at('v2.bin'), 16_000_000)
  const s3cmd2: Tool = (args, options) => s3cmd(['--signature-v2', ...args], options)
  await s3cmd2(['put', '--multipart-chunk-size-mb=5', place.at('v2.bin'), `s3://${bucket}/ver sion+2/ü.bin`])
  await s3cmd2(['cp', `s3://${bucket}/ver sion+2/ü.bin`, `s3://${bucket}/copy`])
  await s3cmd2(['get', `s3://${bucket}/copy`, place.at('v2.back')])
  expect(await hashFile(place.at('v2.back'))).toBe(hash)
  expect((await s3cmd2(['ls', '--recursive', `s3://${bucket}`])).stdout).toContain(`s3://${bucket}/ver sion+2/ü.bin`)
  await s3cmd2(['del', '--recursive', '--force', `s3://${bucket}`])
  await s3cmd2(['rb', `s3://${bucket}`])
})
