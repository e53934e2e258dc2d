import { rename, rm, symlink, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestServer } from '../support/server.ts'
import { awsEnvironment, bucketName, findTool, hashTree, tool, writeNoise } from '../support/tools.ts'
import type { Tool, Workplace } from '../support/tools.ts'
import { openScene } from './scene.ts'
import type { Scene } from './scene.ts'
import { oddNames, writeOddTree } from './trees.ts'

let scene: Scene
let server: TestServer
let place: Workplace
let restic: Tool
let tree: string

beforeAll(async () => {
  scene = await openScene('restic')
  place = scene.place
  server = scene.server
  tree = place.at('tree')
  restic = tool(findTool('restic'), {
    ...awsEnvironment(place, server),
    RESTIC_REPOSITORY: `s3:${server.endpoint}/${bucketName('restic')}/backups/of this host`,
    RESTIC_PASSWORD: 'a password of the test',
    RESTIC_CACHE_DIR: place.at('cache'),
  })
  await writeOddTree(tree)
  await writeNoise(`${tree}/large.bin`, 40_000_000)
  await symlink('large.bin', `${tree}/link to large`)
})

afterAll(async () => {
  await scene?.close()
})

/** Snapshot ids, oldest first. */
async function snapshots(): Promise<string[]> {
  const listed = JSON.parse((await restic(['snapshots', '--json'])).stdout) as { id: string }[]
  return listed.map((snapshot) => snapshot.id)
}

async function restored(snapshot: string, folder: string): Promise<Record<string, string>> {
  await restic(['restore', snapshot, '--target', place.at(folder)])
  return hashTree(place.at(folder))
}

test('a repository lives through backups, checks, restores, forget and prune', async () => {
  await restic(['init'])
  await restic(['backup', '.'], { cwd: tree })
  const before = await hashTree(tree)

  for (const name of oddNames.slice(0, 6)) await rm(`${tree}/${name}`)
  await rename(`${tree}/large.bin`, `${tree}/large and renamed.bin`)
  await writeNoise(`${tree}/new.bin`, 12_000_000)
  await writeFile(`${tree}/empty file`, 'no longer empty')
  await restic(['backup', '.'], { cwd: tree })
  const after = await hashTree(tree)

  expect((await restic(['check', '--read-data'])).stdout).toContain('no errors were found')
  const [first = '', second = ''] = await snapshots()
  expect(await restored(first, 'restored-first')).toEqual(before)
  expect(await restored(second, 'restored-second')).toEqual(after)

  await restic(['forget', '--keep-last', '1', '--prune', '--max-unused', '0'])
  expect(await snapshots()).toEqual([second])
  expect((await restic(['check', '--read-data'])).stdout).toContain('no errors were found')
  // A new cache folder, so that everything is read from the server.
  await rm(place.at('cache'), { recursive: true })
  expect(await restored('latest', 'restored-latest')).toEqual(after)
})

test('a second init is refused, a wrong password opens nothing, unlock leaves no lock behind', async () => {
  expect((await restic(['init'], { status: 1 })).stderr).toMatch(/config (file )?already (exists|initialized)/)
  await writeFile(place.at('wrong'), 'not the password')
  expect((await restic(['--password-file', place.at('wrong'), 'snapshots'], { status: 'any' })).stderr).toContain('wrong password')
  await restic(['unlock', '--remove-all'])
  expect((await restic(['list', 'locks', '--no-lock'])).stdout).toBe('')
})
