import { mkdir, rm, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { bucketName, findTool, hashFile, hashTree, tool, writeNoise } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'
import { oddNames, writeOddTree } from './trees.ts'

let scene: Scene
let server: TestServer
let place: Workplace
let curl: Tool

beforeAll(async () => {
  scene = await openScene('rclone')
  place = scene.place
  server = scene.server
  curl = tool(findTool('curl'), place.env, ['--silent', '--show-error', '--fail'])
  await writeOddTree(place.at('tree'))
})

afterAll(async () => {
  await scene?.close()
})

/** rclone with one remote, `hf:`, that is configured by the environment alone. For AWS it always addresses buckets by host name. */
function rcloneFor(provider: string): Tool {
  return tool(findTool('rclone'), {
    ...place.env,
    RCLONE_CONFIG: '/dev/null',
    RCLONE_RETRIES: '1',
    RCLONE_LOW_LEVEL_RETRIES: '1',
    RCLONE_CONFIG_HF_TYPE: 's3',
    RCLONE_CONFIG_HF_PROVIDER: provider,
    RCLONE_CONFIG_HF_ACCESS_KEY_ID: server.accessKey,
    RCLONE_CONFIG_HF_SECRET_ACCESS_KEY: server.secretKey,
    RCLONE_CONFIG_HF_REGION: 'us-east-1',
    ...(provider === 'AWS' ? { ...scene.proxyEnv, RCLONE_CONFIG_HF_ENDPOINT: scene.namedEndpoint } : { RCLONE_CONFIG_HF_ENDPOINT: server.endpoint }),
  })
}

// The provider decides what rclone trusts: with AWS it compares multipart ETags and asks for the second version of listings, with Other it does not.
describe.each(['Other', 'AWS'])('provider %s', (provider) => {
  let rclone: Tool
  beforeAll(() => {
    rclone = rcloneFor(provider)
  })

  async function makeBucket(purpose: string): Promise<string> {
    const bucket = bucketName(purpose)
    await rclone(['mkdir', `hf:${bucket}`])
    return bucket
  }

  test('copy and check carry odd names there and back; purge removes them', async () => {
    const bucket = await makeBucket('copy')
    const remote = `hf:${bucket}/odd +names & more`
    await rclone(['copy', place.at('tree'), remote])
    await rclone(['check', place.at('tree'), remote])
    await rclone(['check', '--download', place.at('tree'), remote])
    const listed = (await rclone(['lsf', '-R', '--files-only', remote])).stdout.trimEnd().split('\n')
    expect(listed.toSorted()).toEqual(oddNames.toSorted())
    await rclone(['copy', remote, place.at(`back-${provider}`)])
    expect(await hashTree(place.at(`back-${provider}`))).toEqual(await hashTree(place.at('tree')))
    expect((await rclone(['copy', '-v', '--checksum', place.at('tree'), remote])).stderr).not.toContain('Copied')
    expect((await rclone(['copy', '-v', place.at('tree'), remote])).stderr).not.toContain('Copied')
    await rclone(['purge', `hf:${bucket}`])
    expect((await rclone(['lsf', 'hf:'])).stdout).not.toContain(bucket)
  })

  test('check finds what differs', async () => {
    const bucket = await makeBucket('differs')
    await mkdir(place.at('differs'), { recursive: true })
    await writeFile(place.at('differs', 'one'), 'this')
    await rclone(['copy', place.at('differs'), `hf:${bucket}`])
    await writeFile(place.at('differs', 'one'), 'that')
    expect((await rclone(['check', place.at('differs'), `hf:${bucket}`], { status: 1 })).stderr).toContain('differ')
  })

  test('sync makes the other side the same, deletions included', async () => {
    const bucket = await makeBucket('sync')
    const folder = place.at(`sync-${provider}`)
    await writeOddTree(folder)
    await rclone(['sync', folder, `hf:${bucket}`])
    for (const name of oddNames.slice(5, 20)) await rm(`${folder}/${name}`)
    await writeFile(`${folder}/plain.txt`, 'changed')
    await writeFile(`${folder}/new one`, 'new')
    await rclone(['sync', '--checksum', folder, `hf:${bucket}`])
    await rclone(['check', '--download', folder, `hf:${bucket}`])
    const listed = (await rclone(['lsf', '-R', '--files-only', `hf:${bucket}`])).stdout.trimEnd().split('\n')
    expect(listed.toSorted()).toEqual([...oddNames.slice(0, 5), ...oddNames.slice(20), 'new one'].toSorted())
    await rclone(['sync', `hf:${bucket}`, place.at(`sync-back-${provider}`)])
    expect(await hashTree(place.at(`sync-back-${provider}`))).toEqual(await hashTree(folder))
  })

  test('a multipart upload of 100 MB, checked, copied inside the server in parts, and read back', async () => {
    const bucket = await makeBucket('large')
    const folder = place.at(`large-${provider}`)
    const hash = await writeNoise(`${folder}/large.bin`, 100_000_000, 'rclone large')
    await rclone(['copy', '--s3-chunk-size', '8M', '--s3-upload-cutoff', '8M', folder, `hf:${bucket}/in`])
    await rclone(['check', folder, `hf:${bucket}/in`])
    await rclone(['check', '--download', folder, `hf:${bucket}/in`])
    await rclone(['copyto', '--s3-copy-cutoff', '16M', '--s3-chunk-size', '8M', `hf:${bucket}/in/large.bin`, `hf:${bucket}/copied in parts`])
    await rclone(['copyto', `hf:${bucket}/copied in parts`, `hf:${bucket}/copied`])
    await rclone(['copyto', '--multi-thread-cutoff', '10M', '--multi-thread-streams', '4', `hf:${bucket}/copied`, `${folder}/back.bin`])
    expect(await hashFile(`${folder}/back.bin`)).toBe(hash)
  })
})

describe('one remote', () => {
  let rclone: Tool
  let bucket: string
  beforeAll(async () => {
    rclone = rcloneFor('Other')
    bucket = bucketName('daily')
    await rclone(['mkdir', `hf:${bucket}`])
  })

  test('rcat and cat: a stream of unknown length, and a part of it', async () => {
    await rclone(['rcat', `hf:${bucket}/cat/one.txt`], { input: 'a line from a pipe\n' })
    expect((await rclone(['cat', `hf:${bucket}/cat/one.txt`])).stdout).toBe('a line from a pipe\n')
    expect((await rclone(['cat', '--offset', '2', '--count', '4', `hf:${bucket}/cat/one.txt`])).stdout).toBe('line')
    // Above the streaming cutoff rclone does not know the length when it starts, and so sends parts.
    const text = 'streamed '.repeat(700_000)
    await rclone(['rcat', '--streaming-upload-cutoff', '100k', `hf:${bucket}/cat/large.txt`], { input: text })
    expect((await rclone(['cat', `hf:${bucket}/cat/large.txt`])).stdout === text).toBe(true)
  })

  test('moveto and move leave nothing at the old place', async () => {
    await rclone(['rcat', `hf:${bucket}/move/from here`], { input: 'moved' })
    await rclone(['moveto', `hf:${bucket}/move/from here`, `hf:${bucket}/moved/to+there`])
    expect((await rclone(['lsf', '-R', '--files-only', `hf:${bucket}/moved`])).stdout).toBe('to+there\n')
    expect((await rclone(['cat', `hf:${bucket}/moved/to+there`])).stdout).toBe('moved')
    await rclone(['move', `hf:${bucket}/moved`, place.at('moved')])
    expect((await rclone(['lsf', '-R', `hf:${bucket}`, '--include', 'mov*/**'])).stdout).not.toContain('to+there')
    expect(Object.keys(await hashTree(place.at('moved')))).toEqual(['to+there'])
  })

  test('a copy between buckets happens inside the server', async () => {
    const other = bucketName('other')
    await rclone(['copy', place.at('tree'), `hf:${bucket}/between`])
    await rclone(['mkdir', `hf:${other}`])
    await rclone(['copy', `hf:${bucket}/between`, `hf:${other}/between`])
    await rclone(['check', '--download', place.at('tree'), `hf:${other}/between`])
    await rclone(['purge', `hf:${other}`])
  })

  test('size, hashsum and modification times', async () => {
    await mkdir(place.at('size'), { recursive: true })
    await writeFile(place.at('size', 'ten'), '0123456789')
    await rclone(['copy', place.at('size'), `hf:${bucket}/size`])
    expect(JSON.parse((await rclone(['size', '--json', `hf:${bucket}/size`])).stdout)).toMatchObject({ count: 1, bytes: 10 })
    expect((await rclone(['hashsum', 'MD5', `hf:${bucket}/size`])).stdout).toBe('781e5e245d69b566979b86e28d23f2c7  ten\n')
    // Setting the time is a copy of the object onto itself with new metadata.
    await rclone(['touch', '--timestamp', '2020-02-03T04:05:06', `hf:${bucket}/size/ten`])
    expect((await rclone(['lsl', `hf:${bucket}/size`])).stdout).toContain('2020-02-03 04:05:06')
    expect((await rclone(['cat', `hf:${bucket}/size/ten`])).stdout).toBe('0123456789')
  })

  test('link gives a presigned URL', async () => {
    await rclone(['rcat', `hf:${bucket}/link/a b+c.txt`], { input: 'linked' })
    const url = (await rclone(['link', '--expire', '5m', `hf:${bucket}/link/a b+c.txt`])).stdout.trim()
    expect((await curl([url])).stdout).toBe('linked')
  })

  test('delete empties a folder, a missing bucket is an error', async () => {
    await rclone(['copy', place.at('tree'), `hf:${bucket}/delete`])
    await rclone(['delete', `hf:${bucket}/delete`])
    expect((await rclone(['lsf', '-R', '--files-only', `hf:${bucket}/delete`], { status: 'any' })).stdout).toBe('')
    expect((await rclone(['lsf', `hf:${bucketName('missing')}`], { status: 3 })).stderr).toContain('directory not found')
  })
})
