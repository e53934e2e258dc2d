import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { signedRequest, xmlTexts, type Endpoint } from './raw.ts'

/** What a refused request could have left behind. */

/** Files that are not complete, of all processes of a data folder. */
export async function temporaryFiles(dataDir: string): Promise<string[]> {
  const entries = await readdir(path.join(dataDir, 'drive', 'tmp'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
}

/** Waits a moment for the last of them to go: a client may see its error before the file is unlinked. Returns what stays. */
export async function lastingTemporaryFiles(dataDir: string): Promise<string[]> {
  for (let tries = 0; tries < 60; tries++) {
    if ((await temporaryFiles(dataDir)).length === 0) return []
    await new Promise((resolve) => { setTimeout(resolve, 50) })
  }
  return temporaryFiles(dataDir)
}

/** All that a bucket shows: versions, delete markers, open uploads and their parts, settings. */
export async function bucketContents(server: Endpoint, bucket: string): Promise<string[]> {
  const get = async (query: string): Promise<string> => (await signedRequest({ server, path: `/${bucket}${query}` })).text
  const [versions, uploads, versioning, tagging] = await Promise.all([get('?versions'), get('?uploads'), get('?versioning'), get('?tagging')])
  const keys = [...uploads.matchAll(/<Key>([^<]*)<\/Key><UploadId>([^<]*)</g)]
  const parts = await Promise.all(keys.map(async ([, key, id]) => `${key} ${id} ${xmlTexts(await get(`/${key}?uploadId=${id}`), 'ETag').join()}`))
  const rows = [...versions.matchAll(/<(Version|DeleteMarker)>([\s\S]*?)<\/\1>/g)].map((row) => row[2] ?? '')
  return [...rows, ...parts, xmlTexts(versioning, 'Status').join(), xmlTexts(tagging, 'Key').join()]
}

export async function bucketNames(server: Endpoint): Promise<string[]> {
  return xmlTexts((await signedRequest({ server, path: '/' })).text, 'Name')
}
