import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { awsEnvironment, bucketName, findTool, hashFile, tool, writeNoise } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'

const script = fileURLToPath(new URL('boto3_round.py', import.meta.url))

let scene: Scene
let server: TestServer
let place: Workplace
let python: Tool
let curl: Tool

beforeAll(async () => {
  scene = await openScene('boto3')
  place = scene.place
  server = scene.server
  python = tool(findTool('python3'), { ...awsEnvironment(place, { accessKey: '', secretKey: '' }), PYTHONDONTWRITEBYTECODE: '1' })
  if ((await python(['-c', 'import boto3'], { status: 'any' })).status !== 0) {
    throw new Error('The client tests need boto3: install Debian\'s package python3-boto3 (apt-get install python3-boto3). All of them are listed in test/clients/packages.txt.')
  }
  python = tool(findTool('python3'), { ...awsEnvironment(place, server), PYTHONDONTWRITEBYTECODE: '1' })
  curl = tool(findTool('curl'), place.env, ['--silent', '--show-error', '--fail'])
})

afterAll(async () => {
  await scene?.close()
})

interface Seen {
  readonly getUrl: string
  readonly getUrl4: string
  readonly putUrl: string
}

test('boto3 uploads, downloads, copies, lists, presigns and deletes', async () => {
  const bucket = bucketName('boto3')
  const hash = await writeNoise(place.at('large.bin'), 50_000_000)
  const ran = await python([script, server.endpoint, bucket, place.at('large.bin'), place.folder])
  const seen = JSON.parse(ran.stdout) as Seen
  expect(seen).toMatchObject({
    head: { size: 50_000_000, metadata: { colour: 'blue' }, type: 'application/x-large', etag: expect.stringMatching(/^"[0-9a-f]{32}-6"$/) },
    pages: [10, 10, 5],
    inOrder: true,
    range: '003',
    missing: ['NoSuchKey', 404],
    deleted: 25,
    left: ['copied in parts', 'large & ünïcode +1.bin'],
  })
  expect(await hashFile(place.at('large.back'))).toBe(hash)
  expect(await hashFile(place.at('copy.back'))).toBe(hash)

  for (const url of [seen.getUrl, seen.getUrl4]) {
    await curl(['--output', place.at('url.back'), url])
    expect(await hashFile(place.at('url.back'))).toBe(hash)
  }
  await curl(['--upload-file', place.at('large.bin'), seen.putUrl])
  await python(['-c', `import boto3; boto3.client("s3", endpoint_url="${server.endpoint}").download_file("${bucket}", "put by url", "${place.at('put.back')}")`])
  expect(await hashFile(place.at('put.back'))).toBe(hash)
})
