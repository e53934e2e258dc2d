import { createHash } from 'node:crypto'
import { contentOf, same, type OpenUpload, type VersionHistory } from './ledger.ts'
import { bodyOf, call, complete, stateOf, type World } from './load.ts'
import { xmlBlocks, xmlText, xmlTexts, type RawResponse } from './raw.ts'

/** Calls `work` for every item, a few at a time. */
export async function eachOf<Item>(items: Iterable<Item>, work: (item: Item) => Promise<void>, atOnce = 16): Promise<void> {
  const iterator = items[Symbol.iterator]()
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await work(next.value)
  }))
}

/** As `call`, when the server must answer. A connection that the last server's death closed may be tried again. */
export async function mustCall(world: World, method: string, path: string, body?: Uint8Array): Promise<RawResponse> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const response = await call(world, method, path, body)
    if (response !== null) return response
  }
  throw new Error(`${method} ${path}: no answer`)
}

/** Every promise that the server made to the clients, compared with what it has. Returns what is broken; nobody may write meanwhile. */
export async function brokenPromises(world: World): Promise<string[]> {
  const broken: string[] = [...world.wrong]
  const etags = new Map<string, string>()
  await eachOf(world.uploads.values(), async (upload) => {
    const problem = await finishUpload(world, upload)
    if (problem !== null) broken.push(problem)
  })
  await eachOf(world.ledger.keys(), async (key) => {
    const response = await mustCall(world, 'GET', `/${world.bucket}/${key}`)
    const found = stateOf(response)
    if (found === undefined || !world.ledger.allows(key, found)) {
      broken.push(`${key}: ${response.status} ${JSON.stringify(found)}, not one of ${JSON.stringify(world.ledger.possible(key))}`)
      return
    }
    world.ledger.settle(key, found)
    if (found === null) return
    const etag = response.headers['etag'] ?? ''
    etags.set(key, etag)
    if (!etag.includes('-') && etag !== `"${createHash('md5').update(response.body).digest('hex')}"`) broken.push(`${key}: ETag ${etag} is not the MD5 of the body`)
  })
  broken.push(...(await compareListing(world, etags)))
  const listed = await listVersions(world)
  await eachOf(world.versions, async ([key, history]) => void broken.push(...(await compareVersions(world, key, history, listed.get(key) ?? []))))
  return broken
}

/** An upload that the server's death interrupted goes on: its parts are there, and Complete answers as if nothing had been. */
async function finishUpload(world: World, upload: OpenUpload): Promise<string | null> {
  const { key, uploadId, parts, completing } = upload
  if (!completing) {
    const listed = await mustCall(world, 'GET', `/${world.bucket}/${key}?uploadId=${uploadId}`)
    const etags = xmlTexts(listed.text, 'ETag')
    const missing = [...parts.values()].filter(({ etag }) => !etags.includes(etag))
    if (listed.status !== 200 || missing.length > 0) return `upload of ${key}: ${listed.status}, ${missing.length} acknowledged parts are missing`
    if (parts.size === 0) {
      world.uploads.delete(uploadId)
      return null
    }
  }
  const attempt = completing ? null : world.ledger.begin(key, contentOf(bodyOf(upload)))
  const completed = await complete(world, upload)
  if (completed === null || completed.status !== 200 || !completed.text.includes('<CompleteMultipartUploadResult')) {
    return `complete of ${key} (${completing ? 'again' : 'first'}): ${completed?.status} ${completed?.text.slice(0, 300)}`
  }
  attempt?.acknowledged()
  if (completing) {
    // Whatever was written to the key after the first try may be newer than it, or older than this one.
    const content = contentOf(bodyOf(upload))
    if (same(world.ledger.possible(key).at(-1) ?? null, content)) world.ledger.settle(key, content)
    else world.ledger.begin(key, content)
  }
  world.uploads.delete(uploadId)
  return null
}

async function compareListing(world: World, etags: ReadonlyMap<string, string>): Promise<string[]> {
  const broken: string[] = []
  const listed = new Map<string, { size: number; etag: string }>()
  let token = ''
  do {
    const page = await mustCall(world, 'GET', `/${world.bucket}?list-type=2&max-keys=300${token === '' ? '' : `&continuation-token=${encodeURIComponent(token)}`}`)
    for (const block of xmlBlocks(page.text, 'Contents')) {
      listed.set(xmlText(block, 'Key') ?? '', { size: Number(xmlText(block, 'Size')), etag: xmlText(block, 'ETag') ?? '' })
    }
    token = xmlText(page.text, 'NextContinuationToken') ?? ''
  } while (token !== '')
  for (const key of world.ledger.keys()) {
    const [state] = world.ledger.possible(key)
    const entry = listed.get(key)
    listed.delete(key)
    if (state === null || state === undefined ? entry !== undefined : entry?.size !== state.size || entry.etag !== etags.get(key)) {
      broken.push(`${key}: the listing says ${JSON.stringify(entry)}, the object is ${JSON.stringify(state)} ${etags.get(key)}`)
    }
  }
  for (const key of listed.keys()) broken.push(`${key} is listed, and nobody wrote it`)
  return broken
}

interface ListedVersion {
  readonly versionId: string
  readonly marker: boolean
  readonly size: number
}

async function listVersions(world: World): Promise<Map<string, ListedVersion[]>> {
  const found = new Map<string, ListedVersion[]>()
  let markers = ''
  do {
    const page = await mustCall(world, 'GET', `/${world.versionedBucket}?versions&max-keys=500${markers}`)
    for (const name of ['Version', 'DeleteMarker']) {
      for (const block of xmlBlocks(page.text, name)) {
        const key = xmlText(block, 'Key') ?? ''
        found.set(key, [...(found.get(key) ?? []), { versionId: xmlText(block, 'VersionId') ?? '', marker: name !== 'Version', size: Number(xmlText(block, 'Size') ?? 0) }])
      }
    }
    const next = { key: xmlText(page.text, 'NextKeyMarker'), version: xmlText(page.text, 'NextVersionIdMarker') }
    markers = next.key === undefined || next.version === undefined ? '' : `&key-marker=${encodeURIComponent(next.key)}&version-id-marker=${encodeURIComponent(next.version)}`
  } while (markers !== '')
  return found
}

async function compareVersions(world: World, key: string, history: VersionHistory, listed: readonly ListedVersion[]): Promise<string[]> {
  const broken: string[] = []
  const ids = new Set(listed.map(({ versionId }) => versionId))
  for (const versionId of history.kept.keys()) {
    if (ids.has(versionId)) continue
    if (!history.maybeGone.has(versionId)) broken.push(`${key}: version ${versionId} was acknowledged and is not listed`)
    history.kept.delete(versionId)
  }
  for (const versionId of history.markers) if (!ids.has(versionId)) broken.push(`${key}: delete marker ${versionId} was acknowledged and is not listed`)
  for (const versionId of history.gone) if (ids.has(versionId)) broken.push(`${key}: version ${versionId} was deleted and is listed`)
  for (const { versionId, marker, size } of listed) {
    if (marker) continue
    const response = await mustCall(world, 'GET', `/${world.versionedBucket}/${key}?versionId=${versionId}`)
    const content = contentOf(response.body)
    const known = history.kept.get(versionId)
    const right = known === undefined ? history.maybe.some((maybe) => same(maybe, content)) : same(known, content)
    if (response.status !== 200 || !right || size !== content.size) broken.push(`${key}: version ${versionId} is ${response.status}, ${JSON.stringify(content)}, listed with ${size} bytes, not ${JSON.stringify(known ?? history.maybe)}`)
    if (known === undefined && right) history.kept.set(versionId, content)
  }
  history.maybeGone.clear()
  return broken
}
