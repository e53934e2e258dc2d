import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import {
  CompleteMultipartUploadCommand, CopyObjectCommand, CreateBucketCommand, CreateMultipartUploadCommand, DeleteObjectCommand, PutBucketTaggingCommand, PutBucketVersioningCommand, PutObjectCommand,
  PutObjectTaggingCommand, S3Client, UploadPartCommand, UploadPartCopyCommand, type PutObjectCommandInput,
} from '@aws-sdk/client-s3'
import { startEmbedded } from '../../../src/metadata/postgres/embedded.ts'
import { allAnswers, bodyOf } from './answers.ts'
import { keepAnswers, keepFiles, keepRows, rootKeys } from './old-folder.ts'

/**
 * Makes the data folder of `old-folder.ts`, with the program of an old checkout:
 *
 *   git worktree add /tmp/first 80ed49e && ln -s "$PWD/node_modules" /tmp/first/node_modules && node test/faults/upgrade/make.ts /tmp/first
 */

const bootstrap = `accounts:
  - id: "222222222222"
    canonicalId: "${'2'.repeat(64)}"
    displayName: second
    email: second@example.com
    accessKeys:
      - accessKeyId: SECONDACCOUNTKEY
        secretAccessKey: a-secret-of-the-second-account
    users:
      - name: reader
        accessKeys:
          - accessKeyId: READERKEY
            secretAccessKey: a-secret-of-its-reader
        policies:
          - name: read
            document: { Version: "2012-10-17", Statement: [{ Effect: Allow, Action: "s3:Get*", Resource: "*" }] }
`
const oddKeys = ['a b+c%2F&=?#.txt', '日本語/ключ', 'dir/', 'dir/inner', '../up', 'dots/./..', '🦭', '\u{10ffff}', `long/${'k'.repeat(1000)}`, '"quoted" <tag>']

async function makeObjects(client: S3Client): Promise<void> {
  const [plain, history, paused] = ['plain', 'history', 'paused']
  for (const Bucket of [plain, history, paused]) await client.send(new CreateBucketCommand({ Bucket }))
  const put = (Bucket: string, Key: string, bytes: number, more: Partial<PutObjectCommandInput> = {}) => client.send(new PutObjectCommand({ Bucket, Key, Body: bodyOf(`${Key}${more.Tagging ?? ''}`, bytes), ...more }))
  const versioning = (Bucket: string, Status: 'Enabled' | 'Suspended') => client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }))
  const remove = (Bucket: string, Key: string, VersionId?: string) => client.send(new DeleteObjectCommand({ Bucket, Key, VersionId }))

  await client.send(new PutBucketTaggingCommand({ Bucket: plain, Tagging: { TagSet: [{ Key: 'cost', Value: 'centre 1' }] } }))
  await put(plain, 'small.txt', 700, {
    ContentType: 'text/plain; charset=utf-8', CacheControl: 'max-age=60', ContentDisposition: 'attachment', ContentLanguage: 'de', Expires: new Date(Date.UTC(2030, 0)),
    Metadata: { colour: 'blue', 'two-words': 'with  spaces' }, Tagging: 'a=1&b=two%20words',
  })
  await put(plain, 'empty', 0)
  for (const algorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const) await put(plain, `checksum/${algorithm}`, 300, { ChecksumAlgorithm: algorithm })
  await put(plain, 'packed-largest', 128 * 1024)
  await put(plain, 'large.bin', 300_000, { ChecksumAlgorithm: 'SHA256', Metadata: { is: 'large' } })
  for (const key of oddKeys) await put(plain, key, 100)
  // Bytes that the sweeper of then had not removed yet.
  await put(plain, 'overwritten', 400, { Tagging: 'first=1' })
  await put(plain, 'overwritten', 500)
  for (const bytes of [600, 200_000]) {
    await put(plain, 'deleted', bytes)
    await remove(plain, 'deleted')
  }
  await client.send(new CopyObjectCommand({ Bucket: plain, Key: 'copy/large', CopySource: `${plain}/large.bin` }))
  await client.send(new CopyObjectCommand({ Bucket: plain, Key: 'copy/small', CopySource: `${plain}/small.txt`, MetadataDirective: 'REPLACE', ContentType: 'x/y', Metadata: { new: 'yes' } }))
  await remove(plain, 'large.bin')

  await multipart(client, plain, 'joined/composite', 'SHA256')
  await multipart(client, plain, 'joined/whole', 'CRC64NVME')
  await multipart(client, plain, 'joined/later', 'CRC32', false)

  await versioning(history, 'Enabled')
  for (const tagging of ['v=1', 'v=2', 'v=3']) await put(history, 'document', 900, { Tagging: tagging })
  const gone = await put(history, 'deleted', 1000)
  await remove(history, 'deleted')
  await client.send(new PutObjectTaggingCommand({ Bucket: history, Key: 'deleted', VersionId: gone.VersionId, Tagging: { TagSet: [{ Key: 'old', Value: 'version' }] } }))
  await put(history, 'undeleted', 800, { Tagging: 'v=1' })
  const marker = await remove(history, 'undeleted')
  await remove(history, 'undeleted', marker.VersionId)
  await put(history, 'large', 150_000, { Tagging: 'v=1' })
  const between = await put(history, 'large', 160_000, { Tagging: 'v=2' })
  await put(history, 'large', 170_000, { Tagging: 'v=3' })
  await remove(history, 'large', between.VersionId)

  await put(paused, 'key', 100, { Tagging: 'v=1' })
  await versioning(paused, 'Enabled')
  await put(paused, 'key', 200, { Tagging: 'v=2' })
  await put(paused, 'marked', 200)
  await versioning(paused, 'Suspended')
  await put(paused, 'key', 300, { Tagging: 'v=3' })
  await remove(paused, 'marked')
}

/** Three parts: a large one, a copied range, a small one. */
async function multipart(client: S3Client, Bucket: string, Key: string, ChecksumAlgorithm: 'SHA256' | 'CRC64NVME' | 'CRC32', complete = true): Promise<void> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm, Metadata: { of: 'parts' }, ContentType: 'x/parts', Tagging: 'up=load' }))
  const part = { Bucket, Key, UploadId, ChecksumAlgorithm }
  const first = await client.send(new UploadPartCommand({ ...part, PartNumber: 1, Body: bodyOf('part 1', 5 * 1024 ** 2) }))
  const third = await client.send(new UploadPartCommand({ ...part, PartNumber: 7, Body: bodyOf('part 7', 1000) }))
  if (!complete) return
  const { CopyPartResult: second } = await client.send(new UploadPartCopyCommand({ Bucket, Key, UploadId, PartNumber: 8, CopySource: `${Bucket}/copy/large`, CopySourceRange: 'bytes=1000-9999' }))
  const Parts = [{ ...first, PartNumber: 1 }, ...ChecksumAlgorithm === 'SHA256' ? [] : [{ ...second, PartNumber: 8 }]]
  await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts: ChecksumAlgorithm === 'SHA256' ? [...Parts, { ...third, PartNumber: 7 }] : Parts } }))
}

async function main(checkout: string): Promise<void> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'holdfast-first-'))
  await writeFile(path.join(dataDir, 'bootstrap.yaml'), bootstrap)
  const env = { PATH: process.env['PATH'], HOLDFAST_DATA_DIR: dataDir, HOLDFAST_BOOTSTRAP_FILE: path.join(dataDir, 'bootstrap.yaml'), HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0' }
  const server = spawn(process.execPath, ['src/main.ts'], { cwd: checkout, env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => server.once('exit', resolve))
  const endpoint = await new Promise<string>((resolve, reject) => {
    let banner = ''
    server.stdout.on('data', (chunk: Buffer) => {
      banner += chunk.toString()
      const url = /S3 endpoint\s+(\S+)\s/.exec(banner)?.[1]
      if (url !== undefined) resolve(url)
    })
    server.once('exit', () => reject(new Error('the server of then did not start')))
  })
  const clientOf = (credentials: { accessKeyId: string; secretAccessKey: string }): S3Client => new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1, credentials })
  const root = clientOf(await rootKeys(dataDir))
  const second = clientOf({ accessKeyId: 'SECONDACCOUNTKEY', secretAccessKey: 'a-secret-of-the-second-account' })
  await makeObjects(root)
  await second.send(new CreateBucketCommand({ Bucket: 'second' }))
  await second.send(new PutObjectCommand({ Bucket: 'second', Key: 'mine', Body: bodyOf('mine', 50) }))
  await keepAnswers({ root: await allAnswers(root), second: await allAnswers(second) })
  server.kill('SIGTERM')
  await ended
  const embedded = await startEmbedded({ dataDir, log: () => {} })
  await keepRows(embedded.connection)
  await embedded.stop()
  await keepFiles(dataDir, ['bootstrap.yaml', 'drive', 'keys'])
  await rm(dataDir, { recursive: true })
}

await main(process.argv[2] ?? '')
