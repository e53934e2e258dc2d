import { crc32 } from 'node:zlib'
import { rawSocket, signedRequest, signRequest, xmlTexts, type Endpoint } from '../../support/raw.ts'
import { bucketName, bucketSender } from '../../support/s3.ts'
import { signHeaders } from '../../support/signing.ts'
import { statusesOf } from './wire.ts'

/** Requests hidden in others: two readers of the same bytes must never see different requests. */

type Hidden = readonly [what: string, expected: 'refused' | 'read over', bytes: (scene: HiddenScene) => string]

interface HiddenScene {
  readonly server: Endpoint
  readonly bucket: string
  /** A good signed request that stores a key; seen by the server, it would be obeyed. */
  readonly second: string
}

const line = (headers: Readonly<Record<string, string>>): string => Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')

/** A signed PUT whose body's length is told by `framing`, as it stands. */
function put({ server, bucket }: HiddenScene, framing: string, body: string): string {
  const { path, headers } = signHeaders({ server, method: 'PUT', path: `/${bucket}/first` })
  return `PUT ${path} HTTP/1.1\r\n${line(headers)}${framing}\r\n${body}`
}

/** A signed PUT in chunks of HTTP around S3's own, so that its body is wanted and read. */
function chunked(scene: HiddenScene, body: string, headers: Readonly<Record<string, string>> = {}): string {
  const signed = signHeaders({ server: scene.server, method: 'PUT', path: `/${scene.bucket}/first`, payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    headers: { 'x-amz-decoded-content-length': '5', 'x-amz-trailer': 'x-amz-checksum-crc32', 'content-encoding': 'aws-chunked', ...headers } })
  return `PUT ${signed.path} HTTP/1.1\r\n${line(signed.headers)}Transfer-Encoding: chunked\r\n\r\n${body}`
}

const checksum = Buffer.from([24, 16, 8, 0].map((shift) => (crc32('hello') >>> shift) & 255)).toString('base64')
const inner = `5\r\nhello\r\n0\r\nx-amz-checksum-crc32:${checksum}\r\n\r\n`
const size = inner.length.toString(16)
const length = (text: string): string => `Content-Length: ${text}\r\n`

const framings: readonly (readonly [what: string, framing: string, body: string])[] = [
  ['a length beside a coding', `${length('4')}Transfer-Encoding: chunked\r\n`, '0\r\n\r\n'], ['a coding beside a length', `Transfer-Encoding: chunked\r\n${length('4')}`, '0\r\n\r\n'],
  ['two lengths', length('4') + length('5'), 'abcd'], ['two equal lengths', length('4') + length('4'), 'abcd'], ['a list of lengths', length('4, 4'), 'abcd'], ['a list of two lengths', length('4,400'), 'abcd'],
  ['a length with a sign', length('+4'), 'abcd'], ['a negative length', length('-4'), ''], ['a length in hex', length('0x4'), 'abcd'], ['a length with a point', length('4.0'), 'abcd'], ['two numbers in a length', length('4 4'), 'abcd'],
  ['an underscore in a length', length('4_0'), 'abcd'], ['an empty length', length(''), ''], ['a length beyond all numbers', length('18446744073709551620'), 'abcd'], ['a length in other digits', length('\u0664'), 'abcd'],
  ['a space before the colon of a length', 'Content-Length : 4\r\n', 'abcd'], ['a tab before the colon', 'Content-Length\t: 4\r\n', 'abcd'], ['a space before a header', ` ${length('4')}`, 'abcd'], ['a folded length', 'Content-Length:\r\n 4\r\n', 'abcd'],
  ['a folded coding', `Transfer-Encoding:\r\n chunked\r\n`, '0\r\n\r\n'], ['a header folded into the length', `X-A: b\r\n ${length('4')}`, 'abcd'], ['a bare line feed behind a header', `X-A: b\n${length('4')}`, 'abcd'],
  ['a bare line feed behind the length', 'Content-Length: 4\n', 'abcd'], ['a bare carriage return', `X-A: b\r${length('4')}`, 'abcd'], ['a NUL in a header', `X-A: a\0b\r\n${length('4')}`, 'abcd'], ['a NUL in a name', `X\0A: b\r\n${length('4')}`, 'abcd'],
  ['a name without a colon', `Nonsense\r\n${length('4')}`, 'abcd'], ['an empty name', `: x\r\n${length('4')}`, 'abcd'], ['a coding behind a control character', 'Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'], ['a name in brackets', `[X]: y\r\n${length('4')}`, 'abcd'],
  ['codings of which the last is not chunked', 'Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'], ['a coding that nobody knows', 'Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'],
  ['an old protocol with a coding and a length', `${length('4')}Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n`, 'abcd'],
]

/** Chunks of HTTP that two readers may read in two ways. */
const chunkTricks: readonly (readonly [what: string, body: string])[] = [
  ['a size with 0x', `0x${size}\r\n${inner}\r\n0\r\n\r\n`], ['a size with a sign', `+${size}\r\n${inner}\r\n0\r\n\r\n`], ['a negative size', `-1\r\n${inner}\r\n0\r\n\r\n`], ['a size beyond all numbers', `1000000000000000${size}\r\n${inner}\r\n0\r\n\r\n`],
  ['a size behind a space', ` ${size}\r\n${inner}\r\n0\r\n\r\n`], ['no size', `\r\n${inner}\r\n0\r\n\r\n`], ['a line feed alone behind a size', `${size}\n${inner}\r\n0\r\n\r\n`], ['a line feed alone behind the data', `${size}\r\n${inner}\n0\r\n\r\n`],
  ['data that are longer than their size', `2\r\n${inner}\r\n0\r\n\r\n`], ['a carriage return alone behind a size', `${size}\r${inner}\r\n0\r\n\r\n`], ['a line feed in an extension', `${size};a\nb\r\n${inner}\r\n0\r\n\r\n`], ['a NUL in a size', `${size}\0\r\n${inner}\r\n0\r\n\r\n`],
]

const cases: readonly Hidden[] = [
  ...framings.map(([what, framing, body]): Hidden => [what, 'refused', (scene) => put(scene, framing, body) + scene.second]),
  ...chunkTricks.map(([what, body]): Hidden => [`${what} of a chunk`, 'refused', (scene) => chunked(scene, body) + scene.second]),
  ['a bare line feed behind each line', 'refused', (scene) => put(scene, length('0'), '').replaceAll('\r\n', '\n') + scene.second],
  ['a bare line feed behind the request line', 'refused', (scene) => put(scene, length('0'), '').replace('\r\n', '\n') + scene.second],
  ['a second Host', 'refused', (scene) => put(scene, `Host: elsewhere\r\nConnection: close\r\n${length('4')}`, 'abcd') + scene.second],
  ['two spaces in the request line', 'refused', (scene) => put(scene, length('4'), 'abcd').replace(' HTTP', '  HTTP/1.1 x HTTP') + scene.second],
  ['a request that another protocol begins', 'refused', (scene) => `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${scene.second}`],
  // Here the second request stands where a body is, and must be read as one.
  ['a body of GET', 'read over', (scene) => inBody(scene, 'GET', 'k', true)], ['a body of DELETE', 'read over', (scene) => inBody(scene, 'DELETE', 'missing', true)], ['a body of HEAD', 'read over', (scene) => inBody(scene, 'HEAD', 'k', true)],
  ['a body of a refused PUT', 'read over', (scene) => inBody(scene, 'PUT', 'first', false)], ['a body of a refused POST', 'read over', (scene) => inBody(scene, 'POST', '?delete', false)],
  ['a body of a request that asks to go on', 'read over', (scene) => inBody(scene, 'PUT', 'first', false, 'Expect: 100-continue\r\n')],
  ['a body of a request that asks for another protocol', 'read over', (scene) => inBody(scene, 'PUT', 'first', false, 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n')],
  ['a trailer of HTTP', 'read over', (scene) => `${chunked(scene, `${size}\r\n${inner}\r\n0\r\n`)}x-amz-tagging: a=b\r\nContent-Length: 3\r\n\r\n`],
]

/** A request whose body is the second one. */
function inBody({ server, bucket, second }: HiddenScene, method: string, target: string, valid: boolean, more = ''): string {
  const { path, headers } = signRequest({ server, method, path: `/${bucket}/${target}`, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } })
  const sent = valid ? headers : { ...headers, authorization: (headers['authorization'] ?? '').replace(/.{4}$/, '0000') }
  return `${method} ${path} HTTP/1.1\r\n${line(sent)}${more}${length(String(second.length))}\r\n${second}`
}

/** Sends each; a refused one is answered 400 (or 501 for a coding) and its connection is closed, and nothing hidden was obeyed. */
export async function smuggling(server: Endpoint): Promise<{ cases: number; violations: string[] }> {
  const bucket = bucketName()
  const send = bucketSender(server, bucket)
  await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
  await send('PUT', 'k', { body: 'kept' })
  const violations: string[] = []
  await Promise.all(cases.map(async ([what, expected, bytes], index) => {
    const { path, headers } = signRequest({ server, method: 'PUT', path: `/${bucket}/hidden-${index}`, body: 'x' })
    const second = `PUT ${path} HTTP/1.1\r\n${line(headers)}\r\nx`
    const { text, closed } = await rawSocket(server, Buffer.from(bytes({ server, bucket, second }), 'latin1'), { idleMs: 1500 })
    const statuses = statusesOf(text)
    if (statuses.length !== 1) violations.push(`${what}: answers ${statuses.join(', ') || 'none'} to one request`)
    if (expected === 'refused' && (statuses[0] !== 400 && statuses[0] !== 501)) violations.push(`${what}: answered ${statuses.join(', ')}`)
    // Of a body without an end something is read before the connection closes, as it was announced.
    if (expected === 'refused' && !closed && !/\r\nconnection: close\r\n/i.test(text)) violations.push(`${what}: the connection stays open`)
  }))
  const keys = xmlTexts((await send('GET', '?list-type=2')).text, 'Key')
  for (const key of keys) {
    const index = /^hidden-(\d+)$/.exec(key)?.[1]
    if (index !== undefined) violations.push(`${cases[Number(index)]?.[0]}: the hidden request was obeyed`)
    await send('DELETE', key)
  }
  await signedRequest({ server, method: 'DELETE', path: `/${bucket}` })
  return { cases: cases.length, violations: violations.map((text) => `hidden request, ${text}`) }
}
