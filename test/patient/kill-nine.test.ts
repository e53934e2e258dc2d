import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { contentOf } from '../support/ledger.ts'
import { freshBody } from '../support/load.ts'
import { testShortly } from '../support/promise.ts'
import { signedRequest, signRequest } from '../support/raw.ts'
import { newBucket } from '../support/s3.ts'
import { startServer } from '../support/server.ts'
import * as processKill from '../faults/promises/process-kill.ts'

testShortly(processKill, { seconds: 5 })

test('SIGTERM: an upload on its way finishes and is there after the next start; new connections are refused', async () => {
  const server = await startServer()
  const body = freshBody(3_000_000)
  const path = `/${await newBucket(server.client)}/drained`
  const { headers } = signRequest({ server, method: 'PUT', path, headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': String(body.length) } })
  const status = new Promise<number>((resolve, reject) => {
    const request = http.request(server.url + path, { method: 'PUT', headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
    request.on('error', reject)
    request.write(body.subarray(0, 1_500_000))
    setTimeout(() => process.kill(server.pid, 'SIGTERM'), 200)
    setTimeout(() => request.end(body.subarray(1_500_000)), 700)
  })
  await sleep(450)
  await expect(fetch(server.url)).rejects.toThrow()
  expect(await status).toBe(200)
  expect(await server.exited()).toBe(0)
  await server.restart()
  expect(contentOf((await signedRequest({ server, path })).body)).toEqual(contentOf(body))
  expect(server.output()).not.toContain('nobody handled')
  await server.remove()
})
