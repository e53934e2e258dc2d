import { expect, test } from 'vitest'
import { bucketSender, newBucket, outcome, type Send } from '../support/s3.ts'
import { startServer } from '../support/server.ts'

/** A server that is alone answers from what a put has made; after a restart it has only what the database has. */

const puts: Readonly<Record<string, { readonly body?: string; readonly headers?: Readonly<Record<string, string>> }>> = {
  'plain': { body: 'hello' },
  'empty': { body: '' },
  'ünïcode key': { body: 'x' },
  'headers': {
    body: 'y', headers: {
      'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache', 'content-disposition': 'attachment; filename="a.txt"', 'content-language': 'de', 'content-encoding': 'gzip',
      'expires': 'Wed, 21 Oct 2026 07:28:00 GMT', 'x-amz-website-redirect-location': '/elsewhere', 'x-amz-storage-class': 'STANDARD',
    },
  },
  'metadata': { body: 'z', headers: { 'x-amz-meta-Name': 'K\u00e4se', 'x-amz-meta-empty': '', 'x-amz-meta-spaces': '  a  b  ' } },
  'tags': { body: 't', headers: { 'x-amz-tagging': 'a=1&b=&c=%C3%BC' } },
  'crc32': { body: 'hello', headers: { 'x-amz-checksum-crc32': 'NhCmhg==' } },
  'sha1': { body: 'hello', headers: { 'x-amz-checksum-sha1': 'qvTGHdzF6KLavt4PO0gs2a6pQ00=' } },
  'a copy': { headers: { 'x-amz-copy-source': '/BUCKET/metadata' } },
  'a copy with its own': { headers: { 'x-amz-copy-source': '/BUCKET/tags', 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-own': '1', 'x-amz-tagging-directive': 'REPLACE', 'x-amz-tagging': 'd=4' } },
  'large': { body: 'l'.repeat(300_000) },
}

const notOfTheObject = new Set(['date', 'x-amz-request-id', 'x-amz-id-2'])

async function toldOf(send: Send): Promise<unknown> {
  const told: Record<string, unknown> = {}
  for (const key of Object.keys(puts)) {
    for (const [method, query] of [['HEAD', ''], ['GET', ''], ['GET', '?tagging'], ['GET', '?attributes']] as const) {
      const answer = await send(method, `${encodeURIComponent(key)}${query}`, { headers: query === '?attributes' ? { 'x-amz-object-attributes': 'ETag,Checksum,ObjectSize,StorageClass' } : { 'x-amz-checksum-mode': 'ENABLED' } })
      told[`${method} ${key}${query}`] = [answer.status, Object.entries(answer.headers).filter(([name]) => !notOfTheObject.has(name)).sort(([a], [b]) => (a < b ? -1 : 1)), answer.text]
    }
  }
  return told
}

test.each(['off', 'Enabled'] as const)('what is told of an object that was just put is what is told after a restart: versioning %s', async (versioning) => {
  const server = await startServer()
  try {
    const bucket = await newBucket(server.client, versioning === 'off' ? undefined : versioning)
    const send = bucketSender(server, bucket)
    for (const [key, { body, headers = {} }] of Object.entries(puts)) {
      const own = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replace('BUCKET', bucket)]))
      expect(outcome(await send('PUT', encodeURIComponent(key), { ...body === undefined ? {} : { body }, headers: own })), key).toBe('200')
    }
    const before = await toldOf(send)
    expect(await server.stop()).toBe(0)
    await server.restart()
    expect(await toldOf(send)).toEqual(before)
  } finally {
    await server.remove()
  }
})
