import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { signedRequest, xmlText, type RawResponse } from '../support/raw.ts'
import { bucketName, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'
import { modelledOperations } from '../support/wire.ts'

/** Every operation of S3 asked for what is not there: the code, the status, and a document that any client can read. */
interface Route {
  readonly name: string
  readonly method: string
  readonly uri: string
  readonly query: readonly string[]
  readonly headers: readonly string[]
}

const server = sharedServer()
const routes = JSON.parse(readFileSync(new URL('../unit/fixtures/s3-operations.json', import.meta.url), 'utf8')) as readonly Route[]
const belowBucket = routes.filter(({ name, uri }) => uri.startsWith('/{Bucket}') && name !== 'CreateBucket')
const values: Readonly<Record<string, string>> = {
  partNumber: '1', uploadId: 'never', 'x-amz-copy-source': '/some-bucket/key', 'x-amz-object-attributes': 'ETag',
}

function ask(route: Route, bucket: string): Promise<RawResponse> {
  const path = route.uri.replace('{Bucket}', bucket).replace('{Key+}', 'no/such key').replaceAll(' ', '%20')
  const query = route.query.map((name) => `${name}=${values[name] ?? 'x'}`).join('&')
  const headers = Object.fromEntries([...route.headers, ...(route.name === 'GetObjectAttributes' ? ['x-amz-object-attributes'] : [])].map((name) => [name.toLowerCase(), values[name.toLowerCase()] ?? 'x']))
  return signedRequest({ server, method: route.method, path: query === '' ? path : `${path}${path.includes('?') ? '&' : '?'}${query}`, headers })
}

/** What every error document has, and what it has in common with its answer. */
function checkDocument(answer: RawResponse): void {
  expect(answer.headers['content-type']).toBe('application/xml')
  if (answer.text === '') return
  expect(answer.text.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>')).toBe(true)
  expect(xmlText(answer.text, 'Message')).not.toBe('')
  expect(xmlText(answer.text, 'RequestId')).toBe(answer.headers['x-amz-request-id'])
  expect(xmlText(answer.text, 'HostId')).toBe(answer.headers['x-amz-id-2'])
}

describe('in a bucket that does not exist', () => {
  test.each(belowBucket)('$name', async (route) => {
    const answer = await ask(route, bucketName())
    const missing = route.method === 'HEAD' ? '404' : '404 NoSuchBucket'
    expect(modelledOperations.includes(route.name) ? [missing] : [missing, '501 NotImplemented']).toContain(outcome(answer))
    checkDocument(answer)
  })
})

describe('for a key or an upload that does not exist', () => {
  let bucket: string
  beforeAll(async () => {
    bucket = await newBucket(s3Client(server))
  })

  const expected: Readonly<Record<string, string>> = {
    GetObject: '404 NoSuchKey', HeadObject: '404', GetObjectAttributes: '404 NoSuchKey', GetObjectTagging: '404 NoSuchKey', DeleteObjectTagging: '404 NoSuchKey', GetObjectAcl: '404 NoSuchKey',
    GetObjectLegalHold: '404 NoSuchKey', GetObjectRetention: '404 NoSuchKey', CopyObject: '404 NoSuchBucket', DeleteObject: '204',
    UploadPart: '404 NoSuchUpload', UploadPartCopy: '404 NoSuchBucket', ListParts: '404 NoSuchUpload', AbortMultipartUpload: '404 NoSuchUpload', CompleteMultipartUpload: '400 MalformedXML', PutObjectTagging: '400 MalformedXML',
  }
  test.each(routes.filter(({ name }) => expected[name] !== undefined))('$name', async (route) => {
    const answer = await ask(route, bucket)
    expect(outcome(answer)).toBe(expected[route.name])
    if (answer.status >= 300) checkDocument(answer)
  })
})
