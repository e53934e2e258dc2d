import { readdir, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fsckReport, scrubReport } from '../support/holdfast.ts'
import { signedRequest, xmlBlocks, xmlText } from '../support/raw.ts'
import type { TestServer } from '../support/server.ts'
import { until } from '../support/under-load.ts'
import { eachOf } from '../support/verify.ts'

/** What a drive holds that nobody can read, and whether the sweeper takes all of that and nothing else. */

/** An orphan is let be for a day: files this old are not young any more. */
const agedMs = 2 * 86_400_000

/** All that scrub (every digest) and fsck (every byte) find wrong while nobody writes. */
export async function sumsWrong(server: TestServer): Promise<string[]> {
  const scrubbed = await scrubReport(server.dataDir, '--digests')
  const checked = await fsckReport(server.dataDir)
  return [
    ...(scrubbed.code === 0 ? [] : [`scrub ends with ${scrubbed.code}: ${JSON.stringify(scrubbed.findings.slice(0, 5))}`]),
    ...(checked.code === 0 && checked.difference === 0 ? [] : [`fsck ends with ${checked.code}, a difference of ${checked.difference} bytes: ${JSON.stringify(checked.findings.slice(0, 5))}`]),
    ...checked.drives.filter(({ unexplained }) => unexplained !== 0).map(({ unexplained }) => `fsck cannot explain ${unexplained} bytes`),
  ]
}

/** Deletes each version, delete marker and open upload of these buckets. */
export async function deleteEverything(server: TestServer, buckets: readonly string[]): Promise<void> {
  for (const bucket of buckets) {
    for (let left = true; left;) {
      const uploads = xmlBlocks((await signedRequest({ server, path: `/${bucket}?uploads` })).text, 'Upload')
      const page = await signedRequest({ server, path: `/${bucket}?versions` })
      const versions = ['Version', 'DeleteMarker'].flatMap((name) => xmlBlocks(page.text, name))
      await eachOf([...uploads.map((block) => gone(bucket, block, 'UploadId', 'uploadId')), ...versions.map((block) => gone(bucket, block, 'VersionId', 'versionId'))], async (target) => {
        const { status, text } = await signedRequest({ server, method: 'DELETE', path: target })
        if (status !== 204) throw new Error(`DELETE ${target}: ${status} ${text}`)
      })
      left = uploads.length + versions.length > 0
    }
  }
}

const gone = (bucket: string, block: string, element: string, parameter: string): string => `/${bucket}/${xmlText(block, 'Key')}?${parameter}=${xmlText(block, element)}`

/**
 * What is left on the drive of a server that holds nothing: '' when nothing is. Restarts it, so that no segment is in use, with files of
 * the day before yesterday, so that no orphan is young.
 */
export async function garbageBytes(server: TestServer, limitMs = 60_000): Promise<string> {
  await server.stop()
  await ageFiles(server)
  await server.restart()
  // Nobody writes, so that what the last start holds is nothing.
  const empty = async (): Promise<boolean> => (await storedFiles(server)).length === 0
  const stopped = (): boolean => server.output().includes('fsck --allow-orphans lets them go')
  await until('the drive is empty', async () => stopped() || await empty(), limitMs, 300).catch(() => undefined)
  // Many deaths leave more than litter: the operator has looked, and lets it go.
  if (stopped() && !(await empty())) {
    await fsckReport(server.dataDir, '--allow-orphans')
    await until('the drive is empty', empty, limitMs, 300).catch(() => undefined)
  }
  const left = await storedFiles(server)
  if (left.length === 0) return ''
  const { drives, findings } = await fsckReport(server.dataDir)
  return `${left.length} files of ${left.reduce((sum, { bytes }) => sum + bytes, 0)} bytes: ${left.slice(0, 5).map(({ file, bytes }) => `${file} (${bytes})`).join(', ')}; fsck: ${JSON.stringify(drives[0]?.blobs)} ${JSON.stringify(findings.slice(0, 5))}; ${server.output().split('\n').filter((line) => /sweep|segment|damage/.test(line)).slice(-5).join('\n')}`
}

/** Lets everything stored so far look as if it were of the day before yesterday. */
export async function ageFiles(server: Pick<TestServer, 'dataDir'>): Promise<void> {
  const then = new Date(Date.now() - agedMs)
  for (const { file } of await storedFiles(server)) await utimes(file, then, then)
}

export async function storedFiles({ dataDir }: Pick<TestServer, 'dataDir'>): Promise<{ file: string; bytes: number }[]> {
  const found: { file: string; bytes: number }[] = []
  for (const folder of ['blobs', 'segments']) {
    for (const entry of await readdir(path.join(dataDir, 'drive', folder), { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name)
      if (!entry.isFile()) continue
      const bytes = await stat(file).then(({ size }) => size, () => null)
      if (bytes !== null) found.push({ file, bytes })
    }
  }
  return found
}

/** A few passes of a sweeper that looks each second, with nobody writing, and then the sums. */
export async function sweepsNothingWrong(server: TestServer): Promise<string[]> {
  await sleep(3500)
  return sumsWrong(server)
}
