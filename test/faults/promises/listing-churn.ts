import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { judge, Namespace, oddKey, type Walk } from '../consistency/namespace.ts'
import { randomOf, type Random } from '../journal/states.ts'
import { compareKeys, rowsOf, urlDecoded } from '../../support/listing-model.ts'
import { md5 } from '../../support/multipart.ts'
import { signedRequest, xmlBlocks, xmlText, xmlTexts, type RawResponse } from '../../support/raw.ts'
import { keyPath, newBucket, outcome } from '../../support/s3.ts'
import { startServer } from '../../support/server.ts'

export const row = 'listing complete under churn'
export const promise = 'While others come and go, a walk lists each name that stays exactly once and none that was never there, in UTF-8 byte order'
export const method = 'walks with random pages, prefixes and delimiters over ListObjects (V1, V2), ListObjectVersions, ListMultipartUploads and ListParts beside six writers'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const writersAtOnce = 6
const walkersAtOnce = 4
const roundMs = 1500
/** Of one row each: more than all names. */
const pagesMax = 20_000
/** Between two uploads of a key: their order is told in milliseconds. */
const initiationMs = 3

type Send = (method: string, target: string, options?: { body?: string; headers?: Readonly<Record<string, string>> }) => Promise<RawResponse>

interface Kind {
  readonly name: string
  readonly space: Namespace
  /** Names made before all walks that stay to the end. */
  fill(send: Send, random: Random): Promise<void>
  /** One change by writer number `writer`, who alone touches his names. */
  change(send: Send, random: Random, writer: number): Promise<void>
  page(send: Send, question: { readonly prefix: string; readonly delimiter: string; readonly limit: number; readonly marker: string }): Promise<Page>
  /** It knows neither prefixes nor delimiters. */
  readonly plain?: true
  order?(a: string, b: string): number
  keyOf?(name: string): string
}

interface Page {
  readonly seen: Walk['seen']
  /** Parameters of the next page; null: this was the last. */
  readonly next: string | null
}

/** One case is one walk. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  const processes = 1 + (seed % 2)
  const server = await startServer({ env: { HOLDFAST_PROCESSES: String(processes) } })
  const agents = Array.from({ length: writersAtOnce + walkersAtOnce }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
  const violations: string[] = []
  const walked = new Map<string, number>()
  let [cases, rows] = [0, 0]
  try {
    const buckets = await Promise.all([newBucket(server.client), newBucket(server.client, 'Enabled'), newBucket(server.client), newBucket(server.client)])
    const senders = agents.map((agent) => (bucket: string): Send => (method, target, options = {}) => signedRequest({ server, agent, method, path: `/${bucket}/${target}`, ...options }))
    const objects = objectKind()
    const kinds: readonly (readonly [Kind, string])[] = [
      [objects, buckets[0]], [{ ...objects, name: 'ListObjects', fill: () => Promise.resolve(), page: objectPage(false) }, buckets[0]],
      [versionKind(), buckets[1]], [uploadKind(), buckets[2]], [partKind(), buckets[3]],
    ]
    await Promise.all(kinds.map(([kind, bucket], index) => kind.fill((senders[index] as (bucket: string) => Send)(bucket), randomOf(seed + index))))
    const until = Date.now() + seconds * 1000
    for (let round = 0; violations.length < 5 && (round < kinds.length || Date.now() < until); round++) {
      const [kind, bucket] = kinds[round % kinds.length] as readonly [Kind, string]
      const end = Date.now() + Math.min(roundMs, (seconds * 1000) / kinds.length)
      const going = (): boolean => Date.now() < end
      const walks: { readonly walk: Walk; readonly limit: number }[] = []
      const writers = Array.from({ length: writersAtOnce }, async (_, writer) => {
        const own = randomOf(pick(2 ** 31))
        while (going()) await kind.change((senders[writer] as (bucket: string) => Send)(bucket), own, writer)
      })
      const walkers = Array.from({ length: walkersAtOnce }, async (_, index) => {
        const own = randomOf(pick(2 ** 31))
        do walks.push(await walk(kind, (senders[writersAtOnce + index] as (bucket: string) => Send)(bucket), own))
        while (going())
      })
      await Promise.all([...writers, ...walkers])
      for (const { walk: done, limit } of walks) {
        cases += 1
        rows += done.seen.length
        const wrong = judge(kind.space, done, kind.order, kind.keyOf)
        violations.push(...wrong.slice(0, 3).map((text) => `round ${round}, ${kind.name} with prefix ${JSON.stringify(done.prefix)}, delimiter ${JSON.stringify(done.delimiter)}, pages of ${limit}: ${text}`))
      }
      walked.set(kind.name, (walked.get(kind.name) ?? 0) + walks.length)
      kind.space.forget(kind.space.now())
    }
  } finally {
    for (const agent of agents) agent.destroy()
    await server.remove()
  }
  say(`${cases} walks over ${rows} rows, ${processes} processes: ${[...walked].map(([name, count]) => `${count} ${name}`).join(', ')}`)
  return { cases, violations: violations.map((text) => `seed ${seed}, ${processes} processes, ${text}`) }
}

async function walk(kind: Kind, send: Send, random: Random): Promise<{ walk: Walk; limit: number }> {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
  const [prefix, delimiter, limit] = [pick(['', '', '', 'a/', 'b', 'a', 'é/', 'a/b/']), pick(['', '', '/', '/', 'a', '\u{10ffff}']), pick([1, 2, 3, 7, 20, 50, 1000])]
  const [under, by] = kind.plain === true ? ['', ''] : [prefix, delimiter]
  const seen: Walk['seen'][number][] = []
  const from = kind.space.now()
  let pages = 0
  for (let marker: string | null = ''; marker !== null;) {
    const page: Page = await kind.page(send, { prefix: under, delimiter: by, limit, marker })
    if (++pages > pagesMax) throw new Error(`${kind.name} goes on after ${pagesMax} pages`)
    if (page.seen.length > limit) throw new Error(`${page.seen.length} rows on a page of ${limit}`)
    seen.push(...page.seen)
    marker = page.next
  }
  return { walk: { prefix: under, delimiter: by, from, to: kind.space.now(), seen }, limit }
}

async function must(send: Send, method: string, target: string, options: { body?: string; headers?: Readonly<Record<string, string>> } = {}): Promise<RawResponse> {
  const answer = await send(method, target, options)
  if (answer.status >= 300) throw new Error(`${method} ${target}: ${outcome(answer)} ${answer.text.slice(0, 200)}`)
  return answer
}

const queryOf = (parameters: Readonly<Record<string, string>>): string => Object.entries(parameters).filter(([, value]) => value !== '').map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')

/** Rows and common prefixes of a page in one order; rows of a key stay as they came. */
function seenOn(text: string, rowPattern: string, nameOf: (row: string) => string, keyOf: (name: string) => string): Walk['seen'] {
  const rows = rowsOf(text, rowPattern).map((row) => ({ name: nameOf(row), isPrefix: false }))
  for (const [index, { name }] of rows.entries()) if (index > 0 && compareKeys(keyOf(rows[index - 1]?.name ?? ''), keyOf(name)) > 0) throw new Error(`a page is not in order: ${text}`)
  const prefixes = xmlBlocks(text, 'CommonPrefixes').map((block) => ({ name: urlDecoded(xmlText(block, 'Prefix') ?? ''), isPrefix: true }))
  return [...rows, ...prefixes].sort((a, b) => compareKeys(keyOf(a.name), keyOf(b.name)))
}

/** Keys that no other writer has and that do not stay. */
function poolOf(random: Random, writer: number, taken: ReadonlySet<string>): string {
  for (;;) {
    const key = `${oddKey(random)}${writer}`
    if (!taken.has(key)) return key
  }
}

function objectKind(): Kind {
  const space = new Namespace()
  const stay = new Set<string>()
  const present = Array.from({ length: writersAtOnce }, () => [] as string[])
  const put = async (send: Send, key: string): Promise<void> => {
    const added = space.adding()
    await must(send, 'PUT', keyPath(key), { body: 'x' })
    added(key)
  }
  return {
    name: 'ListObjectsV2', space, page: objectPage(true),
    async fill(send, random) {
      for (let index = 0; index < 150; index++) stay.add(`${oddKey(random)}${index % 3 === 0 ? '' : '~'}`)
      for (const key of stay) await put(send, key)
    },
    async change(send, random, writer) {
      const own = present[writer] ?? []
      if (random() < 0.1) await must(send, 'PUT', keyPath([...stay][Math.floor(random() * stay.size)] ?? ''), { body: 'again' })
      else if (own.length > 0 && random() < own.length / 20) {
        const gone = own.splice(0, random() < 0.3 ? 5 : 1)
        const removed = gone.map((key) => space.removing(key))
        if (gone.length === 1) await must(send, 'DELETE', keyPath(gone[0] ?? ''))
        else {
          const body = `<Delete>${gone.map((key) => `<Object><Key>${[...key].map((character) => `&#${character.codePointAt(0)};`).join('')}</Key></Object>`).join('')}</Delete>`
          const answer = await must(send, 'POST', '?delete', { body, headers: { 'content-md5': Buffer.from(md5(body), 'hex').toString('base64') } })
          if (xmlBlocks(answer.text, 'Deleted').length !== gone.length) throw new Error(`DeleteObjects: ${answer.text}`)
        }
        for (const done of removed) done()
      } else {
        const key = poolOf(random, writer, new Set([...stay, ...own]))
        await put(send, key)
        own.push(key)
      }
    },
  }
}

const objectPage = (v2: boolean): Kind['page'] => async (send, { prefix, delimiter, limit, marker }) => {
  const { text } = await must(send, 'GET', `?${v2 ? 'list-type=2&' : ''}${queryOf({ prefix, delimiter, 'max-keys': String(limit), 'encoding-type': 'url' })}${marker}`)
  const seen = seenOn(text, 'Contents', (block) => urlDecoded(xmlText(block, 'Key') ?? ''), (key) => key)
  if (xmlText(text, 'IsTruncated') !== 'true') return { seen, next: null }
  if (v2) return { seen, next: `&continuation-token=${encodeURIComponent(xmlText(text, 'NextContinuationToken') ?? '')}` }
  // Without a delimiter the last key is the marker of the next page.
  const next = xmlText(text, 'NextMarker')
  return { seen, next: `&marker=${encodeURIComponent(next === undefined ? seen.at(-1)?.name ?? '' : urlDecoded(next))}` }
}

/** Of a row; a common prefix is a name of its own. */
const keyBefore = (name: string): string => (name.includes('\0') ? name.slice(0, name.indexOf('\0')) : name)

/** Newest first within a key. */
function versionKind(): Kind {
  const space = new Namespace()
  const stay = Array.from({ length: writersAtOnce }, () => [] as string[])
  const own = Array.from({ length: writersAtOnce }, () => [] as string[])
  const write = async (send: Send, key: string, method: 'PUT' | 'DELETE'): Promise<string> => {
    const added = space.adding()
    const answer = await must(send, method, keyPath(key), method === 'PUT' ? { body: 'x' } : {})
    const name = `${key}\0${answer.headers['x-amz-version-id']}`
    added(name)
    return name
  }
  return {
    name: 'ListObjectVersions', space, keyOf: keyBefore,
    order: (a, b) => compareKeys(keyBefore(a), keyBefore(b)) || space.age(b) - space.age(a),
    async fill(send, random) {
      for (let index = 0; index < 60; index++) {
        const key = `${oddKey(random)}${index}~`
        stay[index % writersAtOnce]?.push(key)
        for (let count = 1 + (index % 4); count > 0; count--) await write(send, key, random() < 0.2 ? 'DELETE' : 'PUT')
      }
    },
    async change(send, random, writer) {
      const mine = own[writer] ?? []
      const keys = stay[writer] ?? []
      if (mine.length > 0 && random() < mine.length / 20) {
        const [name = ''] = mine.splice(Math.floor(random() * mine.length), 1)
        const removed = space.removing(name)
        await must(send, 'DELETE', `${keyPath(keyBefore(name))}?versionId=${name.slice(name.indexOf('\0') + 1)}`)
        removed()
      } else {
        const key = random() < 0.6 ? keys[Math.floor(random() * keys.length)] ?? '' : `${oddKey(random)}${writer}`
        mine.push(await write(send, key, random() < 0.3 ? 'DELETE' : 'PUT'))
      }
    },
    async page(send, { prefix, delimiter, limit, marker }) {
      const { text } = await must(send, 'GET', `?versions&${queryOf({ prefix, delimiter, 'max-keys': String(limit), 'encoding-type': 'url' })}${marker}`)
      const seen = seenOn(text, 'Version|DeleteMarker', (block) => `${urlDecoded(xmlText(block, 'Key') ?? '')}\0${xmlText(block, 'VersionId')}`, keyBefore)
      const [key, id] = [urlDecoded(xmlText(text, 'NextKeyMarker') ?? ''), xmlText(text, 'NextVersionIdMarker') ?? '']
      return { seen, next: xmlText(text, 'IsTruncated') !== 'true' ? null : `&${queryOf({ 'key-marker': key, 'version-id-marker': id })}` }
    },
  }
}

/** Oldest first within a key. */
function uploadKind(): Kind {
  const space = new Namespace()
  const own = Array.from({ length: writersAtOnce }, () => [] as string[])
  const create = async (send: Send, key: string): Promise<string> => {
    const added = space.adding()
    const name = `${key}\0${xmlText((await must(send, 'POST', `${keyPath(key)}?uploads`)).text, 'UploadId')}`
    added(name)
    await sleep(initiationMs)
    return name
  }
  return {
    name: 'ListMultipartUploads', space, keyOf: keyBefore,
    order: (a, b) => compareKeys(keyBefore(a), keyBefore(b)) || space.age(a) - space.age(b),
    async fill(send, random) {
      for (let index = 0; index < 40; index++) {
        const key = `${oddKey(random)}${index}~`
        for (let count = 1 + (index % 3); count > 0; count--) await create(send, key)
      }
    },
    async change(send, random, writer) {
      const mine = own[writer] ?? []
      if (mine.length === 0 || random() > mine.length / 12) {
        const again = mine[0] !== undefined && random() < 0.4
        mine.push(await create(send, again ? keyBefore(mine[0] ?? '') : `${oddKey(random)}${writer}`))
        return
      }
      const [name = ''] = mine.splice(Math.floor(random() * mine.length), 1)
      const target = `${keyPath(keyBefore(name))}?uploadId=${name.slice(name.indexOf('\0') + 1)}`
      if (random() < 0.5) {
        const removed = space.removing(name)
        await must(send, 'DELETE', target)
        removed()
        return
      }
      await must(send, 'PUT', target.replace('?', '?partNumber=1&'), { body: 'part' })
      const removed = space.removing(name)
      await must(send, 'POST', target, { body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${md5('part')}</ETag></Part></CompleteMultipartUpload>` })
      removed()
    },
    async page(send, { prefix, delimiter, limit, marker }) {
      const { text } = await must(send, 'GET', `?uploads&${queryOf({ prefix, delimiter, 'max-uploads': String(limit), 'encoding-type': 'url' })}${marker}`)
      const seen = seenOn(text, 'Upload', (block) => `${urlDecoded(xmlText(block, 'Key') ?? '')}\0${xmlText(block, 'UploadId')}`, keyBefore)
      const [key, id] = [urlDecoded(xmlText(text, 'NextKeyMarker') ?? ''), xmlText(text, 'NextUploadIdMarker') ?? '']
      return { seen, next: xmlText(text, 'IsTruncated') !== 'true' ? null : `&${queryOf({ 'key-marker': key, 'upload-id-marker': id })}` }
    },
  }
}

/** Parts come and are replaced; only their upload's end takes them. */
function partKind(): Kind {
  const space = new Namespace()
  const known = new Set<number>()
  let uploadId = ''
  const put = async (send: Send, number: number): Promise<void> => {
    const isNew = !known.has(number)
    known.add(number)
    const added = space.adding()
    await must(send, 'PUT', `parts?partNumber=${number}&uploadId=${uploadId}`, { body: `part ${number} ${Math.random()}` })
    if (isNew) added(nameOf(number))
  }
  const nameOf = (number: number | string): string => String(number).padStart(5, '0')
  return {
    name: 'ListParts', space, plain: true,
    async fill(send) {
      uploadId = xmlText((await must(send, 'POST', 'parts?uploads')).text, 'UploadId') ?? ''
      for (let number = 1; number < 10_000; number += 150) await put(send, number)
    },
    change: (send, random) => put(send, 1 + Math.floor(random() * 10_000)),
    async page(send, { limit, marker }) {
      const { text } = await must(send, 'GET', `parts?uploadId=${uploadId}&max-parts=${limit}${marker}`)
      const seen = xmlTexts(text, 'PartNumber').map((number) => ({ name: nameOf(number), isPrefix: false }))
      return { seen, next: xmlText(text, 'IsTruncated') !== 'true' ? null : `&part-number-marker=${xmlText(text, 'NextPartNumberMarker')}` }
    },
  }
}
