import { ListBucketsCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { runCheckEndpoint } from '../../src/check-endpoint.ts'
import { loadConfig } from '../../src/config.ts'
import { s3Client } from '../support/s3.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const keys = { HOLDFAST_ROOT_ACCESS_KEY: server.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: server.secretAccessKey }

async function run(argv: readonly string[], env: Readonly<Record<string, string>> = keys): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', '']
  const code = await runCheckEndpoint(argv, { config: () => loadConfig(env), write: (text) => void (out += text), warn: (text) => void (err += text) })
  return { code, out, err }
}

test('goes all the way round, and leaves nothing behind', async () => {
  const { code, out, err } = await run([server.url])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(out.split('\n').map((line) => line.split(':')[0])).toEqual(['make a bucket', 'write', 'read', 'list', 'delete', 'remove the bucket', ''])
  const { Buckets } = await s3Client(server).send(new ListBucketsCommand({}))
  expect(Buckets?.filter(({ Name }) => Name?.startsWith('holdfast-check-'))).toEqual([])
})

test('says which step failed, and why', async () => {
  const wrong = await run([server.url], { ...keys, HOLDFAST_ROOT_SECRET_KEY: 'not-the-secret-of-this-server' })
  expect(wrong.code).toBe(1)
  expect(wrong.err).toMatch(/^make a bucket: 200 was expected, the answer is 403 [^]*SignatureDoesNotMatch/)
  const nobody = await run(['http://127.0.0.1:1'])
  expect(nobody.code).toBe(1)
  expect(nobody.err).toMatch(/GET \/ at http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/)
})

test.each([
  ['no URL', [], keys, /takes one URL/],
  ['a URL with a path', ['http://127.0.0.1:9000/bucket'], keys, /takes one URL/],
  ['an unknown option', ['http://127.0.0.1:9000', '--bucket', 'x'], keys, /--bucket/],
  ['half a certificate', ['http://127.0.0.1:9000', '--cert', 'x.pem'], keys, /--cert and --key/],
  ['no keys', ['http://127.0.0.1:9000'], {}, /HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY/],
] as const)('refuses %s with exit code 2', async (_name, argv, env, message) => {
  const { code, err } = await run(argv, env)
  expect(code).toBe(2)
  expect(err).toMatch(message)
})
