import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { signRequest } from './auth/sign-request.ts'
import { calledBy } from './cli/called-by.ts'
import type { Config } from './config.ts'

/**
 * `check-endpoint`: a round of S3 from outside, as a client does it: makes a bucket, writes, reads, lists and deletes an object in
 * it, removes the bucket. For `helm test` and for whoever wants to know whether an address, its certificate and its keys fit.
 */

export const checkEndpointHelp = `${calledBy} check-endpoint URL [options]

Makes a bucket with a name of its own at URL (http:// or https://, without a path), writes an object, reads, lists and deletes it, and
removes the bucket. The keys are HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY, the region HOLDFAST_REGION; NODE_EXTRA_CA_CERTS names
a file of further authorities.

  --wait SECONDS   how long to wait for the endpoint to answer at all (default: 0)
  --cert FILE      PEM file of a client's certificate, for an endpoint that asks for one
  --key FILE       PEM file of its private key
  --help           this text

Exit codes: 0 all of it worked; 1 something did not; 2 not understood.
`

export interface CheckEndpointHost {
  readonly config: () => Config
  readonly write: (text: string) => void
  readonly warn: (text: string) => void
}

interface Options {
  readonly endpoint: URL
  readonly waitMs: number
  readonly tls: { readonly cert?: Buffer; readonly key?: Buffer }
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

interface Answer {
  readonly status: number
  readonly body: Buffer
}

/** How long one request may take. */
const requestMsMax = 30_000

export async function runCheckEndpoint(argv: readonly string[], { config, write, warn }: CheckEndpointHost): Promise<number> {
  let options: Options | null
  try {
    options = parseOptions(argv, config)
  } catch (error) {
    warn(`${error instanceof Error ? error.message : String(error)}\n`)
    return 2
  }
  if (options === null) {
    write(checkEndpointHelp)
    return 0
  }
  try {
    await round(options, write)
    return 0
  } catch (error) {
    warn(`${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}

/** Null: help is wanted. @throws Error in words for the operator. */
function parseOptions(argv: readonly string[], config: () => Config): Options | null {
  const { values, positionals } = parseArgs({
    args: [...argv], allowPositionals: true, options: { wait: { type: 'string' }, cert: { type: 'string' }, key: { type: 'string' }, help: { type: 'boolean' } },
  })
  if (values.help) return null
  const [url, ...more] = positionals
  if (url === undefined || more.length > 0 || !/^https?:\/\/[^/?#]+\/?$/.test(url)) throw new Error('check-endpoint takes one URL: http:// or https:// with host and port, without a path')
  if (!/^\d{1,4}$/.test(values.wait ?? '0')) throw new Error('--wait: allowed are whole seconds')
  if ((values.cert === undefined) !== (values.key === undefined)) throw new Error('--cert and --key: give both or neither')
  const { rootAccessKey, rootSecretKey, region } = config()
  if (rootAccessKey === null || rootSecretKey === null) throw new Error('check-endpoint signs with HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY: set them')
  const tls = values.cert === undefined || values.key === undefined ? {} : { cert: readFileSync(values.cert), key: readFileSync(values.key) }
  return { endpoint: new URL(url), waitMs: Number(values.wait ?? 0) * 1000, tls, region, accessKeyId: rootAccessKey, secretAccessKey: rootSecretKey }
}

async function round(options: Options, write: (text: string) => void): Promise<void> {
  const bucket = `holdfast-check-${randomBytes(8).toString('hex')}`
  const object = `/${bucket}/round`
  const bytes = randomBytes(64 * 1024)
  const step = async (name: string, method: string, path: string, expected: number, { query = '', body }: { query?: string; body?: Buffer } = {}): Promise<Buffer> => {
    const began = performance.now()
    const answer = await send(options, method, path, query, body)
    if (answer.status !== expected) throw new Error(`${name}: ${expected} was expected, the answer is ${answer.status} ${answer.body.toString('utf8', 0, 500)}`)
    write(`${name}: ok, ${(performance.now() - began).toFixed(1)} ms\n`)
    return answer.body
  }

  await untilAnswered(options)
  await step('make a bucket', 'PUT', `/${bucket}`, 200)
  try {
    await step('write', 'PUT', object, 200, { body: bytes })
    if (!(await step('read', 'GET', object, 200)).equals(bytes)) throw new Error('read: the bytes are not those that were written')
    const listing = (await step('list', 'GET', `/${bucket}`, 200, { query: 'list-type=2&prefix=round' })).toString()
    if (!listing.includes('<Key>round</Key>')) throw new Error('list: the object is not in the listing')
    await step('delete', 'DELETE', object, 204)
  } catch (error) {
    // What was made is removed as far as that works; the first failure is what is told.
    await send(options, 'DELETE', object, '').catch(() => null)
    await send(options, 'DELETE', `/${bucket}`, '').catch(() => null)
    throw error
  }
  await step('remove the bucket', 'DELETE', `/${bucket}`, 204)
}

/** Any answer will do: what it says is looked at by the round. */
async function untilAnswered(options: Options): Promise<void> {
  const until = performance.now() + options.waitMs
  for (;;) {
    try {
      const { status } = await send(options, 'GET', '/', '')
      if (status < 500 || performance.now() >= until) return
    } catch (error) {
      if (performance.now() >= until) throw error
    }
    await sleep(500)
  }
}

function send(options: Options, method: string, path: string, query: string, body: Buffer = Buffer.alloc(0)): Promise<Answer> {
  const { endpoint, tls } = options
  const { host } = endpoint
  const headers = { ...signRequest({ method, host, path, query, body }, options), host, 'content-length': String(body.length) }
  const target = { host: endpoint.hostname.replace(/^\[|\]$/g, ''), port: endpoint.port || undefined, method, path: query === '' ? path : `${path}?${query}`, headers, agent: false as const, timeout: requestMsMax }
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(new Error(`${method} ${path} at ${endpoint.origin}: ${error.message || String(error)}`, { cause: error }))
    const request = endpoint.protocol === 'https:' ? httpsRequest({ ...target, ...tls }) : httpRequest(target)
    request.on('error', failed)
    request.on('timeout', () => request.destroy(new Error(`nothing for ${requestMsMax / 1000} seconds`)))
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', failed)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }))
    })
    request.end(body)
  })
}
