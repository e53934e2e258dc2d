import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { CompleteMultipartUploadCommand, CreateBucketCommand, GetObjectCommand, ListMultipartUploadsCommand, ListPartsCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import pg from 'pg'
import { expect } from 'vitest'
import { startExternalPostgres } from '../../support/external-postgres.ts'
import { fsckReport, scrubReport } from '../../support/holdfast.ts'
import { failure, s3Client } from '../../support/s3.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { allAnswers, bodyOf } from './answers.ts'
import { keptAnswers, rootKeys } from './old-folder.ts'

/** How a data folder of the first format is opened by this program, and looked at. */

export interface UpgradePlace {
  /** A data folder of this name; nothing is made. */
  folder(name: string): string
  /** URL of a fresh database in an external PostgreSQL. */
  newDatabase(name: string): Promise<string>
  remove(): Promise<void>
}

export async function upgradePlace(): Promise<UpgradePlace> {
  const base = await mkdtemp(path.join(tmpdir(), 'holdfast-upgrade-'))
  const external = await startExternalPostgres()
  return {
    folder: (name) => path.join(base, name),
    async newDatabase(name) {
      await sql(external.url, `CREATE DATABASE ${name}`)
      return external.url.replace(/\/postgres$/, `/${name}`)
    },
    async remove() {
      await external.remove()
      await rm(base, { recursive: true, force: true })
    },
  }
}

/** Empty counts as not set: the keys are those that the program of then drew. */
export const drawnKeys = (dataDir: string) => ({ HOLDFAST_ROOT_ACCESS_KEY: '', HOLDFAST_ROOT_SECRET_KEY: '', HOLDFAST_BOOTSTRAP_FILE: path.join(dataDir, 'bootstrap.yaml') })

export async function startOn(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<{ server: TestServer; root: S3Client; second: S3Client; reader: S3Client }> {
  const server = await startServer({ dataDir, env: { ...drawnKeys(dataDir), ...env } })
  const clientOf = (keys: { accessKeyId: string; secretAccessKey: string }): S3Client => s3Client({ ...server, ...keys })
  return {
    server, root: clientOf(await rootKeys(dataDir)), second: clientOf({ accessKeyId: 'SECONDACCOUNTKEY', secretAccessKey: 'a-secret-of-the-second-account' }),
    reader: clientOf({ accessKeyId: 'READERKEY', secretAccessKey: 'a-secret-of-its-reader' }),
  }
}

export async function isAsItWas({ root, second, reader }: { root: S3Client; second: S3Client; reader: S3Client }): Promise<void> {
  expect({ root: await allAnswers(root), second: await allAnswers(second) }).toEqual(await keptAnswers())
  const { Body } = await reader.send(new GetObjectCommand({ Bucket: 'second', Key: 'mine' }))
  expect(await Body?.transformToByteArray()).toEqual(new Uint8Array(bodyOf('mine', 50)))
  expect((await failure(reader.send(new PutObjectCommand({ Bucket: 'second', Key: 'not', Body: 'x' })))).code).toBe('AccessDenied')
}

export async function findNothing(dataDir: string): Promise<void> {
  expect(await scrubReport(dataDir, '--digests')).toMatchObject({ complete: true, differences: 0, code: 0 })
  expect(await fsckReport(dataDir)).toMatchObject({ complete: true, differences: 0, code: 0 })
}

export async function sql(connection: string | pg.ClientConfig, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client(connection)
  await client.connect()
  return client.query(text).finally(() => client.end())
}

async function bytesOf(client: S3Client, Bucket: string, Key: string, sizeOfRange?: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, Range: sizeOfRange }))
  return Buffer.from(await Body?.transformToByteArray() ?? [])
}

/** What was begun then is ended, and new things are done. */
export async function goesOn(client: S3Client): Promise<void> {
  const [Bucket, Key] = ['plain', 'joined/later']
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket }))
  const UploadId = Uploads?.[0]?.UploadId
  const { Parts } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }))
  const named = Parts?.map(({ PartNumber, ETag, ChecksumCRC32 }) => ({ PartNumber, ETag, ChecksumCRC32 }))
  const done = await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts: named } }))
  const [first, last] = [bodyOf('part 1', 5 * 1024 ** 2), bodyOf('part 7', 1000)]
  const digests = [first, last].map((part) => createHash('md5').update(part).digest())
  expect(done.ETag).toBe(`"${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-2"`)
  expect((await bytesOf(client, Bucket, Key)).equals(Buffer.concat([first, last]))).toBe(true)
  expect((await bytesOf(client, Bucket, Key, `bytes=${first.length - 5}-${first.length + 4}`)).equals(Buffer.concat([first.subarray(-5), last.subarray(0, 5)]))).toBe(true)

  await client.send(new CreateBucketCommand({ Bucket: 'today' }))
  for (const bytes of [100, 400_000]) {
    await client.send(new PutObjectCommand({ Bucket: 'today', Key: String(bytes), Body: bodyOf('today', bytes) }))
    await client.send(new PutObjectCommand({ Bucket: 'history', Key: 'document', Body: bodyOf('today', bytes) }))
  }
}

export async function wentOn(client: S3Client): Promise<void> {
  for (const bytes of [100, 400_000]) expect((await bytesOf(client, 'today', String(bytes))).equals(bodyOf('today', bytes))).toBe(true)
  expect((await bytesOf(client, 'history', 'document')).equals(bodyOf('today', 400_000))).toBe(true)
  expect((await bytesOf(client, 'plain', 'joined/later')).length).toBe(5 * 1024 ** 2 + 1000)
}
