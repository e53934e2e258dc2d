import { GetBucketVersioningCommand, GetObjectCommand, ListObjectVersionsCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { xmlBlocks, xmlText, xmlTexts } from '../support/raw.ts'
import { bucketSender, failure, newBucket, outcome, s3Client, setVersioning } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)

type Send = ReturnType<typeof bucketSender>
type Status = 'Enabled' | 'Suspended'

async function bucketWith(status?: Status): Promise<{ bucket: string; send: Send }> {
  const bucket = await newBucket(client, status)
  return { bucket, send: bucketSender(server, bucket) }
}

/** Puts a body and returns the version id of the answer. */
async function put(send: Send, key: string, body: string): Promise<string> {
  const answer = await send('PUT', key, { body })
  expect(answer.status).toBe(200)
  return answer.headers['x-amz-version-id'] ?? 'none'
}

async function remove(send: Send, target: string): Promise<{ id: string; marker: boolean }> {
  const answer = await send('DELETE', target)
  expect(answer.status).toBe(204)
  return { id: answer.headers['x-amz-version-id'] ?? 'none', marker: answer.headers['x-amz-delete-marker'] === 'true' }
}

/** `kind id latest` of each row of a listing of versions. */
async function versions(send: Send): Promise<string[]> {
  const { text } = await send('GET', '?versions')
  return [...text.matchAll(/<(Version|DeleteMarker)>([\s\S]*?)<\/\1>/g)]
    .map(([, kind, row = '']) => {
      const latest = xmlText(row, 'IsLatest') === 'true' ? ' latest' : ''
      return `${xmlText(row, 'Key')} ${kind === 'Version' ? 'version' : 'marker'} ${xmlText(row, 'VersionId')}${latest}`
    })
}

describe('never enabled', () => {
  test('no answer has a version id, and the one version is listed as null', async () => {
    const { bucket, send } = await bucketWith()
    expect((await client.send(new GetBucketVersioningCommand({ Bucket: bucket }))).Status).toBeUndefined()
    expect(await put(send, 'k', 'one')).toBe('none')
    expect(await put(send, 'k', 'two')).toBe('none')
    expect((await send('GET', 'k')).headers).not.toHaveProperty('x-amz-version-id')
    expect(await versions(send)).toEqual(['k version null latest'])
    expect(await remove(send, 'k')).toEqual({ id: 'none', marker: false })
    expect(await versions(send)).toEqual([])
  })
})

describe('enabled', () => {
  test('each put is a version of its own, listed newest first, read by its id', async () => {
    const { bucket, send } = await bucketWith('Enabled')
    expect((await client.send(new GetBucketVersioningCommand({ Bucket: bucket }))).Status).toBe('Enabled')
    const ids = [await put(send, 'k', 'one'), await put(send, 'k', 'two'), await put(send, 'k', 'three')]
    expect(new Set([...ids, 'none', 'null']).size).toBe(5)
    expect(await versions(send)).toEqual([`k version ${ids[2]} latest`, `k version ${ids[1]}`, `k version ${ids[0]}`])
    const current = await send('GET', 'k')
    expect([current.text, current.headers['x-amz-version-id']]).toEqual(['three', ids[2]])
    for (const [index, text] of ['one', 'two', 'three'].entries()) {
      for (const method of ['GET', 'HEAD']) {
        const read = await send(method, `k?versionId=${ids[index]}`)
        expect(read.headers).toMatchObject({ 'x-amz-version-id': ids[index], 'content-length': String(text.length) })
        if (method === 'GET') expect(read.text).toBe(text)
      }
    }
  })

  test('the object from before is the version null', async () => {
    const { bucket, send } = await bucketWith()
    await put(send, 'k', 'before')
    await setVersioning(client, bucket, 'Enabled')
    expect((await send('GET', 'k')).headers['x-amz-version-id']).toBe('null')
    const id = await put(send, 'k', 'after')
    expect(await versions(send)).toEqual([`k version ${id} latest`, 'k version null'])
    expect((await send('GET', 'k?versionId=null')).text).toBe('before')
    expect(await remove(send, 'k?versionId=null')).toEqual({ id: 'null', marker: false })
    expect(await versions(send)).toEqual([`k version ${id} latest`])
  })

  test('a delete adds a marker: reads answer 404 and say why, old versions stay readable', async () => {
    const { send } = await bucketWith('Enabled')
    const id = await put(send, 'k', 'one')
    const marker = await remove(send, 'k')
    expect(marker).toMatchObject({ marker: true })
    expect(await versions(send)).toEqual([`k marker ${marker.id} latest`, `k version ${id}`])
    for (const method of ['GET', 'HEAD']) {
      const read = await send(method, 'k')
      expect(read.status).toBe(404)
      expect(read.headers).toMatchObject({ 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker.id })
    }
    expect(outcome(await send('GET', 'k'))).toBe('404 NoSuchKey')
    expect((await send('GET', `k?versionId=${id}`)).text).toBe('one')
    expect(xmlTexts((await send('GET', '?list-type=2')).text, 'Key')).toEqual([])
  })

  test('a marker read by its id answers 405 MethodNotAllowed with Allow: DELETE and Last-Modified', async () => {
    const { send } = await bucketWith('Enabled')
    const marker = await remove(send, 'k')
    for (const method of ['GET', 'HEAD']) {
      const read = await send(method, `k?versionId=${marker.id}`)
      expect(read.status).toBe(405)
      expect(read.headers).toMatchObject({ 'x-amz-delete-marker': 'true', 'allow': 'DELETE' })
      expect(read.headers['last-modified']).toMatch(/GMT$/)
    }
    expect(outcome(await send('GET', `k?versionId=${marker.id}`))).toBe('405 MethodNotAllowed')
  })

  test('each delete adds one more marker, also where no object ever was', async () => {
    const { send } = await bucketWith('Enabled')
    const [one, two] = [await remove(send, 'k'), await remove(send, 'k')]
    expect([one.marker, two.marker, one.id === two.id]).toEqual([true, true, false])
    expect(await versions(send)).toEqual([`k marker ${two.id} latest`, `k marker ${one.id}`])
  })

  test('deleting the marker brings the object back', async () => {
    const { send } = await bucketWith('Enabled')
    const id = await put(send, 'k', 'one')
    const marker = await remove(send, 'k')
    expect(await remove(send, `k?versionId=${marker.id}`)).toEqual({ id: marker.id, marker: true })
    expect((await send('GET', 'k')).text).toBe('one')
    expect(await versions(send)).toEqual([`k version ${id} latest`])
  })

  test('deleting a version removes it for good, and the newest of the rest becomes current', async () => {
    const { send } = await bucketWith('Enabled')
    const ids = [await put(send, 'k', 'one'), await put(send, 'k', 'two'), await put(send, 'k', 'three')]
    expect(await remove(send, `k?versionId=${ids[1]}`)).toEqual({ id: ids[1], marker: false })
    expect(outcome(await send('GET', `k?versionId=${ids[1]}`))).toBe('404 NoSuchVersion')
    await remove(send, `k?versionId=${ids[2]}`)
    expect((await send('GET', 'k')).text).toBe('one')
    expect(await versions(send)).toEqual([`k version ${ids[0]} latest`])
    await remove(send, `k?versionId=${ids[0]}`)
    expect(outcome(await send('GET', 'k'))).toBe('404 NoSuchKey')
    expect((await send('GET', 'k')).headers).not.toHaveProperty('x-amz-delete-marker')
    expect((await send('DELETE', `k?versionId=${ids[0]}`)).status).toBe(204)
  })

  test('a version id belongs to its key', async () => {
    const { send } = await bucketWith('Enabled')
    const id = await put(send, 'one', '1')
    await put(send, 'two', '2')
    expect(outcome(await send('GET', `two?versionId=${id}`))).toBe('404 NoSuchVersion')
    await send('DELETE', `two?versionId=${id}`)
    expect((await send('GET', 'one')).text).toBe('1')
    expect((await send('GET', 'two')).text).toBe('2')
  })

  test.each(['x', 'NULL', '../k', '0'.repeat(31), 'a'.repeat(2000), '%00'])('the version id %s is malformed: 400', async (id) => {
    const { send } = await bucketWith('Enabled')
    await put(send, 'k', '1')
    for (const method of ['GET', 'HEAD', 'DELETE']) expect((await send(method, `k?versionId=${id}`)).status).toBe(400)
    expect((await send('GET', 'k')).text).toBe('1')
  })

  test('the SDK reports a missing version by its code and fields', async () => {
    const { bucket, send } = await bucketWith('Enabled')
    const id = await put(send, 'k', '1')
    await put(send, 'k', '2')
    await remove(send, `k?versionId=${id}`)
    expect(await failure(client.send(new GetObjectCommand({ Bucket: bucket, Key: 'k', VersionId: id })))).toMatchObject({ code: 'NoSuchVersion', status: 404 })
    const { text } = await send('GET', `k?versionId=${id}`)
    expect([xmlText(text, 'Key'), xmlText(text, 'VersionId')]).toEqual(['k', id])
  })

  test('puts of one key at once are all kept, each with its bytes', async () => {
    const { send } = await bucketWith('Enabled')
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => put(send, 'k', `body ${i}`)))
    expect(new Set(ids).size).toBe(20)
    expect(await versions(send)).toHaveLength(20)
    const bodies = await Promise.all(ids.map(async (id) => (await send('GET', `k?versionId=${id}`)).text))
    expect(bodies).toEqual(ids.map((_, i) => `body ${i}`))
  })
})

describe('suspended', () => {
  test('a put writes the null version and replaces the one that was there; other versions stay', async () => {
    const { bucket, send } = await bucketWith('Enabled')
    const id = await put(send, 'k', 'kept')
    await setVersioning(client, bucket, 'Suspended')
    expect((await client.send(new GetBucketVersioningCommand({ Bucket: bucket }))).Status).toBe('Suspended')
    expect(await put(send, 'k', 'null one')).toBe('null')
    expect(await put(send, 'k', 'null two')).toBe('null')
    expect(await versions(send)).toEqual(['k version null latest', `k version ${id}`])
    expect((await send('GET', 'k')).text).toBe('null two')
    expect((await send('GET', `k?versionId=${id}`)).text).toBe('kept')
  })

  test('a delete removes the null version and leaves a null marker', async () => {
    const { bucket, send } = await bucketWith('Enabled')
    const id = await put(send, 'k', 'kept')
    await setVersioning(client, bucket, 'Suspended')
    await put(send, 'k', 'null')
    expect(await remove(send, 'k')).toEqual({ id: 'null', marker: true })
    expect(await versions(send)).toEqual(['k marker null latest', `k version ${id}`])
    expect(await remove(send, 'k')).toEqual({ id: 'null', marker: true })
    expect(await versions(send)).toEqual(['k marker null latest', `k version ${id}`])
    expect(outcome(await send('GET', 'k?versionId=null'))).toBe('405 MethodNotAllowed')
    expect(await put(send, 'k', 'again')).toBe('null')
    expect(await versions(send)).toEqual(['k version null latest', `k version ${id}`])
  })

  test('a delete over a numbered version keeps it below a null marker', async () => {
    const { bucket, send } = await bucketWith('Enabled')
    const id = await put(send, 'k', 'kept')
    await setVersioning(client, bucket, 'Suspended')
    expect(await remove(send, 'k')).toEqual({ id: 'null', marker: true })
    expect(await remove(send, 'k?versionId=null')).toEqual({ id: 'null', marker: true })
    expect((await send('GET', 'k')).text).toBe('kept')
    expect(await versions(send)).toEqual([`k version ${id} latest`])
  })

  test('enabled again, the null version is one among the others until a suspended put replaces it', async () => {
    const { bucket, send } = await bucketWith('Suspended')
    await put(send, 'k', 'null one')
    await setVersioning(client, bucket, 'Enabled')
    const id = await put(send, 'k', 'numbered')
    await setVersioning(client, bucket, 'Suspended')
    await put(send, 'k', 'null two')
    expect(await versions(send)).toEqual(['k version null latest', `k version ${id}`])
    expect((await send('GET', 'k?versionId=null')).text).toBe('null two')
  })
})

test('PutBucketVersioning refuses what is no status, and versioning cannot be switched off again', async () => {
  const { bucket, send } = await bucketWith('Enabled')
  const status = (text: string): string => `<VersioningConfiguration><Status>${text}</Status></VersioningConfiguration>`
  for (const body of [status('Off'), status(''), status('enabled'), '<Versioning/>', 'x', '']) {
    expect((await send('PUT', '?versioning', { body })).status).toBe(400)
  }
  expect((await client.send(new GetBucketVersioningCommand({ Bucket: bucket }))).Status).toBe('Enabled')
})

test('the SDK lists versions and markers with owner, size, ETag and time', async () => {
  const { bucket, send } = await bucketWith('Enabled')
  const id = await put(send, 'k', 'one')
  const marker = await remove(send, 'k')
  const list = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }))
  expect(list.Versions).toMatchObject([{ Key: 'k', VersionId: id, IsLatest: false, Size: 3, StorageClass: 'STANDARD', ETag: expect.stringMatching(/^"[0-9a-f]{32}"$/) }])
  expect(list.DeleteMarkers).toMatchObject([{ Key: 'k', VersionId: marker.id, IsLatest: true }])
  expect(list.Versions?.[0]?.Owner?.ID).toMatch(/^[0-9a-f]{64}$/)
  expect(list.DeleteMarkers?.[0]?.LastModified).toBeInstanceOf(Date)
  const { text } = await send('GET', '?versions')
  expect(xmlBlocks(text, 'DeleteMarker')[0]).not.toContain('<Size>')
})
