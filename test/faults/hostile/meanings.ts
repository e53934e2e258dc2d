import fc from 'fast-check'
import { createHash } from 'node:crypto'
import { anyKey, oddKeys, urlDecoded } from '../../support/listing-model.ts'
import { signedRequest, xmlBlocks, xmlText, xmlTexts, type Endpoint } from '../../support/raw.ts'
import { bucketName, bucketSender, keyPath } from '../../support/s3.ts'

/** Names that look like something else: wherever a document or a query carries one, it means exactly itself. */

const names: readonly string[] = [...oddKeys.filter((key) => key.length < 200), '1', '100000', '0x10', '1.0', '+1', '-0', 'NaN', 'Infinity', 'false', 'null', 'undefined', '{}', '[]', 'a', ' a', 'a ', '  ', '<![CDATA[x]]>', '&amp;', '&#65;', ']]>', '__proto__', 'constructor', 'toString', 'text', '#text', '\r\n', 'a\r\nb', '\u00a0', '\ufeff', '\u2028', '😀', '🏳️‍🌈', '%', '%41', 'A']

/** As XML holds it; what XML has no word for goes by its number. */
export const xmlOf = (text: string): string => text.replace(/[&<>"'\0-\x1f\x7f-\x9f\u2028\ufffe\uffff]/g, (character) => `&#${character.charCodeAt(0)};`)
const cdataOf = (text: string): string => `<![CDATA[${text.replaceAll(']]>', ']]]]><![CDATA[>')}]]>`

/** `share`: one name in so many, others for another seed. */
export async function oddMeanings(server: Endpoint, seed: number, share: number): Promise<{ cases: number; violations: string[] }> {
  const random = fc.sample(anyKey, { seed, numRuns: 60 })
  const all = [...new Set([...names, ...random])].filter((_name, index) => (index + seed) % share === 0)
  const bucket = bucketName()
  const send = bucketSender(server, bucket)
  await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
  const violations: string[] = []
  const wrong = (what: string, key: string, got: unknown): void => void violations.push(`odd name ${JSON.stringify(key)}, ${what}: ${JSON.stringify(got)?.slice(0, 300)}`)
  let cases = 0
  const each = async (work: (key: string, index: number) => Promise<void>): Promise<void> => {
    const next = all.entries()
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (let step = next.next(); step.done !== true; step = next.next()) {
        cases += 1
        await work(step.value[1], step.value[0])
      }
    }))
  }

  // Made by upload in parts, so that the document of its completion names the key.
  await each(async (key) => {
    const begun = xmlText((await send('POST', `${keyPath(key)}?uploads`)).text, 'UploadId') ?? ''
    const part = await send('PUT', `${keyPath(key)}?partNumber=1&uploadId=${begun}`, { body: `body of ${key}` })
    const etag = part.headers['etag'] ?? ''
    for (const number of ['1e0', '0x1', '1.0', '+1', '1,']) {
      const answer = await send('POST', `${keyPath(key)}?uploadId=${begun}`, { body: `<CompleteMultipartUpload><Part><PartNumber>${number}</PartNumber><ETag>${xmlOf(etag)}</ETag></Part></CompleteMultipartUpload>` })
      if (answer.status !== 400) wrong(`part ${number} taken for a number`, key, answer.text)
    }
    const done = await send('POST', `${keyPath(key)}?uploadId=${begun}`, { body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${xmlOf(etag)}</ETag></Part></CompleteMultipartUpload>` })
    if (done.status !== 200 || xmlText(done.text, 'Key') !== key) wrong('completed', key, done.text)
  })
  await each(async (key) => {
    const { text } = await send('GET', keyPath(key))
    if (text !== `body of ${key}`) wrong('read', key, text)
    const page = await send('GET', `?list-type=2&encoding-type=url&max-keys=1&prefix=${encodeURIComponent(key)}`)
    if (urlDecoded(xmlText(page.text, 'Key') ?? '') !== key || urlDecoded(xmlText(page.text, 'Prefix') ?? '') !== key) wrong('listed by its prefix', key, page.text)
    const plain = await send('GET', `?max-keys=1&prefix=${encodeURIComponent(key)}`)
    if (xmlText(plain.text, 'Key') !== key) wrong('listed without an encoding', key, plain.text)
    const after = await send('GET', `?list-type=2&encoding-type=url&max-keys=1&start-after=${encodeURIComponent(key)}`)
    if (urlDecoded(xmlText(after.text, 'StartAfter') ?? '') !== key || urlDecoded(xmlText(after.text, 'Key') ?? '') === key) wrong('listed behind it', key, after.text)
    const versions = await send('GET', `?versions&encoding-type=url&max-keys=1&prefix=${encodeURIComponent(key)}`)
    if (urlDecoded(xmlText(versions.text, 'Key') ?? '') !== key) wrong('listed by its versions', key, versions.text)
  })
  const sorted = all.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  for (const encoding of ['', '&encoding-type=url']) {
    const listed: string[] = []
    for (let token = ''; ;) {
      const { text } = await send('GET', `?list-type=2&max-keys=7${encoding}${token}`)
      listed.push(...xmlTexts(text, 'Key').map((key) => (encoding === '' ? key : urlDecoded(key))))
      const next = xmlText(text, 'NextContinuationToken')
      if (next === undefined) break
      token = `&continuation-token=${encodeURIComponent(next)}`
    }
    if (JSON.stringify(listed) !== JSON.stringify(sorted)) wrong(`all pages${encoding}`, '', listed.filter((key, at) => key !== sorted[at]).slice(0, 3))
  }
  await tags(server, all.filter((text) => /^[\p{L}\p{N} +\-=._:/@]*$/u.test(text) && text.length > 0 && text.length < 100), send, wrong)

  // Every second one goes, by references or as CDATA; the others stay.
  const doomed = all.filter((_key, index) => index % 2 === 0)
  const plain = (key: string): boolean => !/[\0-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff]/.test(key)
  const body = `<Delete>${doomed.map((key, index) => `<Object><Key>${index % 3 === 0 && plain(key) ? cdataOf(key) : xmlOf(key)}</Key></Object>`).join('')}</Delete>`
  const answer = await send('POST', '?delete', { body, headers: { 'content-md5': createHash('md5').update(body).digest('base64') } })
  const deleted = xmlBlocks(answer.text, 'Deleted').map((block) => xmlText(block, 'Key') ?? '')
  if (JSON.stringify(deleted.toSorted()) !== JSON.stringify(doomed.toSorted())) wrong('DeleteObjects', '', deleted.filter((key) => !doomed.includes(key)))
  await each(async (key, index) => {
    const { status } = await send('HEAD', keyPath(key))
    if ((status === 404) !== (index % 2 === 0)) wrong('after DeleteObjects of every second', key, status)
    await send('DELETE', keyPath(key))
  })
  await signedRequest({ server, method: 'DELETE', path: `/${bucket}` })
  return { cases, violations }
}

/** Tags in documents and in headers. */
async function tags(server: Endpoint, texts: readonly string[], send: ReturnType<typeof bucketSender>, wrong: (what: string, key: string, got: unknown) => void): Promise<void> {
  await send('PUT', 'tagged', { body: 'x' })
  const rest = texts.filter((text) => !/^aws:/i.test(text))
  for (let at = 0; at < rest.length; at += 8) {
    const few = rest.slice(at, at + 8)
    const document = `<Tagging><TagSet>${few.map((text) => `<Tag><Key>${xmlOf(text)}</Key><Value>${xmlOf(text)}</Value></Tag>`).join('')}</TagSet></Tagging>`
    for (const target of ['tagged?tagging', '?tagging']) {
      const put = await send('PUT', target, { body: document, headers: { 'content-md5': createHash('md5').update(document).digest('base64') } })
      const { text } = await send('GET', target)
      for (const name of ['Key', 'Value']) if (JSON.stringify(xmlTexts(text, name).toSorted()) !== JSON.stringify(few.toSorted())) wrong(`${name} of ${target}, ${put.status}`, few.join('|'), text)
    }
    const header = few.map((text) => `${encodeURIComponent(text)}=${encodeURIComponent(text)}`).join('&')
    const put = await send('PUT', 'tagged', { body: 'x', headers: { 'x-amz-tagging': header } })
    const { text } = await send('GET', 'tagged?tagging')
    if (JSON.stringify(xmlTexts(text, 'Value').toSorted()) !== JSON.stringify(few.toSorted())) wrong(`tags of a header, ${put.status}`, few.join('|'), text)
  }
  await send('DELETE', 'tagged')
}
