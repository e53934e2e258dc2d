import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { signedRequest } from '../support/raw.ts'
import { startServer } from '../support/server.ts'

interface Line {
  readonly message: string
  readonly requestId: string
  readonly operation: string
  readonly path: string
  readonly status: number
  readonly code?: string
  readonly bytesIn: number
  readonly bytesOut: number
  readonly accessKeyId?: string
}

test.each(['1', '2'])('each request has a line with its id and without its secrets, with %s processes', async (processes) => {
  const server = await startServer({ env: { HOLDFAST_ACCESS_LOG: '1', HOLDFAST_PROCESSES: processes } })
  try {
    await server.client.send(new CreateBucketCommand({ Bucket: 'logged' }))
    const put = await server.client.send(new PutObjectCommand({ Bucket: 'logged', Key: 'a key', Body: 'body' }))
    await (await server.client.send(new GetObjectCommand({ Bucket: 'logged', Key: 'a key' }))).Body?.transformToString()
    const missing = await signedRequest({ server, path: '/logged/nothing', sign: 'presigned' })
    expect(missing.status).toBe(404)
    const unsigned = await signedRequest({ server, path: '/logged/a', sign: 'none' })
    await server.stop()

    const lines = server.output().split('\n').filter((line) => line.includes('"message":"request"')).map((line) => JSON.parse(line) as Line)
    expect(lines).toHaveLength(5)
    const of = (requestId: string | undefined): Line | undefined => lines.find((line) => line.requestId === requestId)
    expect(of(put.$metadata.requestId)).toMatchObject({ operation: 'PutObject', path: '/logged/a%20key', status: 200, accessKeyId: server.accessKeyId })
    expect(lines.find(({ operation, status }) => operation === 'GetObject' && status === 200)).toMatchObject({ bytesOut: 4 })
    expect(of(missing.headers['x-amz-request-id'])).toMatchObject({ operation: 'GetObject', path: '/logged/nothing', status: 404, code: 'NoSuchKey', bytesOut: 0 })
    expect(of(unsigned.headers['x-amz-request-id'])).toMatchObject({ operation: 'none', status: 403, code: 'AccessDenied' })
    expect(server.output()).not.toContain(server.secretAccessKey)
    expect(server.output()).not.toContain('X-Amz-Signature')
  } finally {
    await server.remove()
  }
})
