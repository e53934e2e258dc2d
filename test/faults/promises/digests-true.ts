import { createHash } from 'node:crypto'
import { algorithms, compositeOf, digestOf, etagOfParts, md5Of, type Algorithm } from '../consistency/digests.ts'
import { randomOf } from '../journal/states.ts'
import { completeDocument, createUpload, type UploadedPart } from '../../support/multipart.ts'
import { sendRequest, xmlBlocks, xmlText, type RawResponse } from '../../support/raw.ts'
import { bucketSender, newBucket, outcome } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { signedChunks } from '../../support/signing.ts'
import { noiseBuffer } from '../../support/tools.ts'

export const row = 'digests true'
export const promise = 'ETags and checksums are those of the bytes that are served, however these came in: plain, in chunks, with trailers, in parts, as copies'
export const method = 'random sizes around every threshold; GET, HEAD and GetObjectAttributes against digests computed from their definitions'

interface Options {
  readonly seed: number
  readonly seconds: number
  say(text: string): void
}

const smallBytesMax = 131_072
const partBytes = 5 * 1024 ** 2
/** Where something changes its way: a segment or a file, blocks and slabs, buffers of the framing. */
const thresholds = [0, 64, 512, 4096, 8192, 16_384, 65_536, smallBytesMax, 262_144, 1024 ** 2, 2 * 1024 ** 2, 3 * 1024 ** 2]

interface Expected {
  readonly etag: string
  readonly algorithm: Algorithm
  readonly type: 'FULL_OBJECT' | 'COMPOSITE'
  readonly value: string
  readonly body: Buffer
  /** Of an object of parts. */
  readonly parts?: readonly Buffer[]
}

interface World {
  readonly server: TestServer
  readonly bucket: string
  readonly send: ReturnType<typeof bucketSender>
  pick(count: number): number
  noise(size: number): Buffer
  /** What was stored and may be copied. */
  readonly sources: { readonly key: string; readonly body: Buffer; readonly expected: Expected }[]
}

/** One case is one object, stored and looked at in every way. */
export async function run({ seed, seconds, say }: Options): Promise<{ cases: number; violations: string[] }> {
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  const server = await startServer()
  const violations: string[] = []
  const ways = new Map<string, number>()
  let cases = 0
  try {
    const bucket = await newBucket(server.client)
    const world: World = { server, bucket, send: bucketSender(server, bucket), pick, noise: (size) => noiseBuffer(size, `${seed} ${cases} ${pick(2 ** 31)}`), sources: [] }
    for (const until = Date.now() + seconds * 1000; violations.length < 10 && (Date.now() < until || cases < allWays.length); cases++) {
      const [name, store] = allWays[cases < allWays.length ? cases : pick(allWays.length)] ?? ['plain', plain]
      ways.set(name, (ways.get(name) ?? 0) + 1)
      const key = `${name.replaceAll(' ', '-')}-${cases}`
      const at = `seed ${seed}, case ${cases}, ${name}`
      try {
        const expected = await store(world, key)
        violations.push(...(await look(world, key, expected)).map((text) => `${at}, ${expected.body.length} bytes, ${expected.algorithm} ${expected.type}: ${text}`))
        world.sources.push({ key, body: expected.body, expected })
        if (world.sources.length > 20) await world.send('DELETE', world.sources.splice(world.pick(20), 1)[0]?.key ?? '')
      } catch (error) {
        violations.push(`${at}: ${String(error)}`)
      }
    }
  } finally {
    await server.remove()
  }
  say(`${cases} objects: ${[...ways].map(([name, count]) => `${count} ${name}`).join(', ')}`)
  return { cases, violations }
}

function anySize({ pick }: World): number {
  const near = thresholds[pick(thresholds.length)] ?? 0
  return Math.max(0, pick(3) === 0 ? pick(1_500_000) : near + pick(5) - 2)
}

const anyAlgorithm = ({ pick }: World): Algorithm => algorithms[pick(algorithms.length)] ?? 'CRC32'
const headerOf = (algorithm: Algorithm): string => `x-amz-checksum-${algorithm.toLowerCase()}`

function mustBe200(what: string, answer: RawResponse, proof = ''): RawResponse {
  if (answer.status !== 200 || !answer.text.includes(proof)) throw new Error(`${what}: ${outcome(answer)} ${answer.text.slice(0, 300)}`)
  return answer
}

const wholeOf = (body: Buffer, algorithm: Algorithm): Expected => ({ etag: md5Of(body), algorithm, type: 'FULL_OBJECT', value: digestOf(algorithm, body), body })

async function plain(world: World, key: string): Promise<Expected> {
  const body = world.noise(anySize(world))
  const algorithm = world.pick(3) === 0 ? null : anyAlgorithm(world)
  const headers: Record<string, string> = {
    ...(algorithm === null ? {} : { [headerOf(algorithm)]: digestOf(algorithm, body) }), ...(world.pick(2) === 0 ? { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } : {}),
    ...(world.pick(3) === 0 ? { 'content-md5': createHash('md5').update(body).digest('base64') } : {}),
  }
  mustBe200('PUT', await world.send('PUT', key, { body, headers }))
  return wholeOf(body, algorithm ?? 'CRC64NVME')
}

/** Cuts a body as no client would: AWS allows only the last chunk to be small. */
function cut(world: World, body: Buffer): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < body.length;) {
    const size = 8192 + world.pick(world.pick(2) === 0 ? 200 : 300_000)
    chunks.push(body.subarray(at, at + size))
    at += size
  }
  return chunks
}

async function unsignedChunks(world: World, key: string): Promise<Expected> {
  const body = world.noise(anySize(world))
  const algorithm = anyAlgorithm(world)
  const chunks = cut(world, body).flatMap((chunk) => [Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')])
  const framed = Buffer.concat([...chunks, Buffer.from(`0\r\n${headerOf(algorithm)}:${digestOf(algorithm, body)}\r\n\r\n`)])
  const headers = {
    'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': String(body.length), 'x-amz-trailer': headerOf(algorithm),
  }
  mustBe200('PUT', await world.send('PUT', key, { body: framed, headers }))
  return wholeOf(body, algorithm)
}

async function signed(world: World, key: string, trailer: boolean): Promise<Expected> {
  const body = world.noise(anySize(world))
  const algorithm = anyAlgorithm(world)
  const { path, headers, pieces } = signedChunks(
    { server: world.server, method: 'PUT', path: `/${world.bucket}/${key}` }, cut(world, body), trailer ? [headerOf(algorithm), digestOf(algorithm, body)] : undefined,
  )
  mustBe200('PUT', await sendRequest({ server: world.server, method: 'PUT', path, headers, body: Buffer.concat(pieces) }))
  return wholeOf(body, trailer ? algorithm : 'CRC64NVME')
}

/** A copy keeps the checksum of its source or gets the one that is asked for. */
async function copy(world: World, key: string): Promise<Expected> {
  const source = await anySource(world, key)
  const algorithm = world.pick(2) === 0 ? anyAlgorithm(world) : null
  const headers = { 'x-amz-copy-source': `/${world.bucket}/${source.key}`, ...(algorithm === null ? {} : { 'x-amz-checksum-algorithm': algorithm }) }
  mustBe200('copy', await world.send('PUT', key, { headers }), '<CopyObjectResult')
  // It shares the source's bytes and stays an object of as many parts, with the ETag of these.
  const { expected } = source
  if (algorithm === null || algorithm === expected.algorithm) return expected
  return { ...expected, algorithm, type: 'FULL_OBJECT', value: digestOf(algorithm, source.body) }
}

async function anySource(world: World, key: string): Promise<World['sources'][number]> {
  const found = world.sources[world.pick(world.sources.length)]
  if (found !== undefined) return found
  const expected = await plain(world, `${key}-source`)
  return { key: `${key}-source`, body: expected.body, expected }
}

type Kind = { readonly algorithm: Algorithm; readonly type: 'FULL_OBJECT' | 'COMPOSITE' } | null

function anyKind(world: World): Kind {
  if (world.pick(4) === 0) return null
  const algorithm = anyAlgorithm(world)
  const type = algorithm === 'CRC64NVME' ? 'FULL_OBJECT' : algorithm.startsWith('SHA') || world.pick(2) === 0 ? 'COMPOSITE' : 'FULL_OBJECT'
  return { algorithm, type }
}

async function parts(world: World, key: string): Promise<Expected> {
  const kind = anyKind(world)
  const bodies = [...Array.from({ length: world.pick(3) }, () => world.noise(partBytes + world.pick(3) * (1024 ** 2 - 1))), world.noise(anySize(world))]
  return completed(world, key, kind, bodies, async (uploadId, number, body) => {
    const own = kind?.algorithm ?? null
    const headers: Record<string, string> = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...(own === null || world.pick(2) === 0 ? {} : { [headerOf(own)]: digestOf(own, body) }) }
    return mustBe200('part', await world.send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, { body, headers })).headers['etag'] ?? ''
  })
}

/** Parts that are copies, of ranges too. */
async function copiedParts(world: World, key: string): Promise<Expected> {
  const kind = anyKind(world)
  const big = world.noise(partBytes + 1_000_000 + world.pick(1_000_000))
  mustBe200('PUT', await world.send('PUT', `${key}-source`, { body: big, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }))
  const source = await anySource(world, key)
  const from = world.pick(big.length - partBytes)
  const ranges: { readonly key: string; readonly body: Buffer; readonly range: string | null }[] = [{ key: `${key}-source`, body: big.subarray(from, from + partBytes), range: `bytes=${from}-${from + partBytes - 1}` }]
  if (source.body.length === 0 || world.pick(3) === 0) ranges.push({ key: source.key, body: source.body, range: null })
  else {
    const first = world.pick(source.body.length)
    const last = first + world.pick(source.body.length - first)
    ranges.push({ key: source.key, body: source.body.subarray(first, last + 1), range: `bytes=${first}-${last}` })
  }
  return completed(world, key, kind, ranges.map(({ body }) => body), async (uploadId, number) => {
    const piece = ranges[number - 1]
    const headers: Record<string, string> = { 'x-amz-copy-source': `/${world.bucket}/${piece?.key}`, ...(typeof piece?.range === 'string' ? { 'x-amz-copy-source-range': piece.range } : {}) }
    const answer = mustBe200('copy of a part', await world.send('PUT', `${key}?partNumber=${number}&uploadId=${uploadId}`, { headers }), '<CopyPartResult')
    return xmlText(answer.text, 'ETag') ?? ''
  })
}

async function completed(world: World, key: string, kind: Kind, bodies: readonly Buffer[], put: (uploadId: string, number: number, body: Buffer) => Promise<string>): Promise<Expected> {
  const headers: Record<string, string> = kind === null ? {} : { 'x-amz-checksum-algorithm': kind.algorithm, 'x-amz-checksum-type': kind.type }
  const uploadId = await createUpload(world.send, key, headers)
  const list: UploadedPart[] = []
  for (const [index, body] of bodies.entries()) {
    const etag = await put(uploadId, index + 1, body)
    if (etag !== `"${md5Of(body)}"`) throw new Error(`part ${index + 1} has the ETag ${etag}`)
    const value = kind === null ? '' : digestOf(kind.algorithm, body)
    list.push({ number: index + 1, etag, ...(kind === null ? {} : { more: `<Checksum${kind.algorithm}>${value}</Checksum${kind.algorithm}>` }) })
  }
  const body = Buffer.concat(bodies)
  const [algorithm, type] = [kind?.algorithm ?? 'CRC64NVME', kind?.type ?? 'FULL_OBJECT'] as const
  const value = type === 'COMPOSITE' ? compositeOf(algorithm, bodies) : digestOf(algorithm, body)
  const answer = mustBe200('complete', await world.send('POST', `${key}?uploadId=${uploadId}`, { body: completeDocument(list) }), '<CompleteMultipartUploadResult')
  if (xmlText(answer.text, `Checksum${algorithm}`) !== value) throw new Error(`complete answers ${answer.text}, not ${value}`)
  return { etag: etagOfParts(bodies), algorithm, type, value, body, parts: bodies }
}

const allWays: readonly (readonly [name: string, store: (world: World, key: string) => Promise<Expected>])[] = [
  ['plain', plain], ['unsigned chunks', unsignedChunks], ['signed chunks', (world, key) => signed(world, key, false)], ['signed trailer', (world, key) => signed(world, key, true)],
  ['copy', copy], ['parts', parts], ['copied parts', copiedParts], ['plain', plain],
]

/** What is not as it was stored. */
async function look({ send, pick }: World, key: string, expected: Expected): Promise<string[]> {
  const wrong: string[] = []
  const same = (what: string, found: string | undefined, should: string): void => void (found === should || wrong.push(`${what} is ${found}, not ${should}`))
  const mode = { 'x-amz-checksum-mode': 'ENABLED' }
  const got = await send('GET', key, { headers: mode })
  if (got.status !== 200 || !got.body.equals(expected.body)) wrong.push(`GET: ${outcome(got)} with ${got.body.length} bytes, which are not those that were sent`)
  for (const [what, { headers }] of [['GET', got], ['HEAD', await send('HEAD', key, { headers: mode })]] as const) {
    same(`${what}: ETag`, headers['etag'], `"${expected.etag}"`)
    same(`${what}: length`, headers['content-length'], String(expected.body.length))
    checksums(what, (algorithm) => headers[headerOf(algorithm)], headers['x-amz-checksum-type'])
  }
  const attributes = await send('GET', `${key}?attributes`, { headers: { 'x-amz-object-attributes': 'ETag,Checksum,ObjectSize,ObjectParts' } })
  same('attributes: ETag', xmlText(attributes.text, 'ETag'), expected.etag)
  same('attributes: size', xmlText(attributes.text, 'ObjectSize'), String(expected.body.length))
  const [checksum = ''] = xmlBlocks(attributes.text, 'Checksum')
  checksums('attributes', (algorithm) => xmlText(checksum, `Checksum${algorithm}`), xmlText(checksum, 'ChecksumType'))
  if (expected.parts !== undefined) await partsOf(expected.parts, attributes)
  if (expected.body.length > 0) {
    const first = pick(expected.body.length)
    const last = first + pick(expected.body.length - first)
    const ranged = await send('GET', key, { headers: { range: `bytes=${first}-${last}`, ...mode } })
    if (ranged.status !== 206 || !ranged.body.equals(expected.body.subarray(first, last + 1))) wrong.push(`range ${first} to ${last}: ${outcome(ranged)}, wrong bytes`)
  }
  return wrong

  /** The one that belongs to it and no other. */
  function checksums(what: string, found: (algorithm: Algorithm) => string | undefined, type: string | undefined): void {
    for (const algorithm of algorithms) {
      const value = found(algorithm)
      same(`${what}: ${algorithm}`, value ?? 'none', algorithm === expected.algorithm ? expected.value : 'none')
    }
    same(`${what}: type`, type, expected.type)
  }

  async function partsOf(bodies: readonly Buffer[], answer: RawResponse): Promise<void> {
    same('attributes: parts', xmlText(answer.text, 'PartsCount') ?? xmlText(answer.text, 'TotalPartsCount'), String(bodies.length))
    const number = 1 + pick(bodies.length)
    const own = bodies[number - 1] ?? Buffer.alloc(0)
    const one = await send('GET', `${key}?partNumber=${number}`, { headers: mode })
    if (one.status !== 206 || !one.body.equals(own)) wrong.push(`part ${number}: ${outcome(one)} with ${one.body.length} bytes, not its ${own.length}`)
    for (const [index, block] of xmlBlocks(answer.text, 'Part').entries()) {
      const body = bodies[index] ?? Buffer.alloc(0)
      same(`attributes: size of part ${index + 1}`, xmlText(block, 'Size'), String(body.length))
      for (const algorithm of algorithms) {
        const value = xmlText(block, `Checksum${algorithm}`)
        if (value !== undefined) same(`attributes: ${algorithm} of part ${index + 1}`, value, digestOf(algorithm, body))
      }
    }
  }
}
