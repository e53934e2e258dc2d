import { beforeAll, expect, test } from 'vitest'
import { complete, createUpload, putPart, putParts } from '../support/multipart.ts'
import { xmlTexts } from '../support/raw.ts'
import { bucketName, bucketSender, newBucket, outcome, s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)
let send: ReturnType<typeof bucketSender>

beforeAll(async () => {
  send = bucketSender(server, await newBucket(client))
})

const abort = (key: string, uploadId: string, headers: Record<string, string> = {}) => send('DELETE', `${key}?uploadId=${uploadId}`, { headers })

test('an aborted upload is gone with its parts, and an object of its key stays', async () => {
  await send('PUT', 'k', { body: 'object' })
  const uploadId = await createUpload(send, 'k')
  const parts = await putParts(send, 'k', uploadId, [[1, 'part']])
  const gone = await abort('k', uploadId)
  expect([gone.status, gone.text]).toEqual([204, ''])
  expect(outcome(await send('GET', `k?uploadId=${uploadId}`))).toBe('404 NoSuchUpload')
  expect(outcome(await putPart(send, 'k', uploadId, 2, 'x'))).toBe('404 NoSuchUpload')
  expect(outcome(await complete(send, 'k', uploadId, parts))).toBe('404 NoSuchUpload')
  expect(outcome(await abort('k', uploadId))).toBe('404 NoSuchUpload')
  expect((await send('GET', 'k')).text).toBe('object')
})

test('an upload that never was, or is of another key, answers 404 NoSuchUpload', async () => {
  const uploadId = await createUpload(send, 'mine')
  expect(outcome(await abort('mine', 'x'))).toBe('404 NoSuchUpload')
  expect(outcome(await abort('other', uploadId))).toBe('404 NoSuchUpload')
  expect(outcome(await bucketSender(server, bucketName())('DELETE', 'k?uploadId=x'))).toBe('404 NoSuchBucket')
  expect((await abort('mine', uploadId)).status).toBe(204)
})

test('a completed upload cannot be aborted, and its object stays', async () => {
  const uploadId = await createUpload(send, 'done')
  await complete(send, 'done', uploadId, await putParts(send, 'done', uploadId, [[1, 'x']]))
  expect(outcome(await abort('done', uploadId))).toBe('404 NoSuchUpload')
  expect((await send('GET', 'done')).text).toBe('x')
})

test('an expected owner that is another account answers 403 and the upload stays open', async () => {
  const uploadId = await createUpload(send, 'owner')
  expect(outcome(await abort('owner', uploadId, { 'x-amz-expected-bucket-owner': '999988887777' }))).toBe('403 AccessDenied')
  expect((await putPart(send, 'owner', uploadId, 1, 'x')).status).toBe(200)
})

test('abort, complete and parts at once: the upload ends once, as one of the two', async () => {
  for (let round = 0; round < 30; round++) {
    const key = `race-${round}`
    const uploadId = await createUpload(send, key)
    const parts = await putParts(send, key, uploadId, [[1, 'one']])
    const calls = [() => complete(send, key, uploadId, parts), () => abort(key, uploadId)]
    if (round % 2 === 0) calls.reverse()
    const [answers, late] = await Promise.all([Promise.all(calls.map((call) => call())), putPart(send, key, uploadId, 1, 'one')])
    const [completed, aborted] = round % 2 === 0 ? answers.toReversed() : answers
    expect(['200', '404 NoSuchUpload']).toContain(outcome(late))
    const object = await send('GET', key)
    if (completed?.status === 200) {
      expect([outcome(aborted ?? late), object.text]).toEqual(['404 NoSuchUpload', 'one'])
    } else {
      expect([completed && outcome(completed), aborted?.status, outcome(object)]).toEqual(['404 NoSuchUpload', 204, '404 NoSuchKey'])
    }
    expect(outcome(await putPart(send, key, uploadId, 3, 'x'))).toBe('404 NoSuchUpload')
  }
  expect(xmlTexts((await send('GET', '?uploads&prefix=race')).text, 'Key')).toEqual([])
})
