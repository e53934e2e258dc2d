import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { signRequest, type Endpoint } from '../../support/raw.ts'
import { findTool } from '../../support/tools.ts'

/** Signers that share nothing with the code under test. */

export type Form = 'v4-header' | 'v4-unsigned' | 'v4-trailer' | 'v4-query' | 'v2-header' | 'v2-query'

export interface Ask {
  readonly form: Form
  readonly method: string
  readonly bucket: string
  readonly key: string
  readonly params: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Of a body in chunks. */
  readonly chunk: number
}

/** As it goes over the wire. */
export interface SignedRequest {
  readonly form: Form
  readonly method: string
  readonly path: string
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

export interface Signer {
  readonly name: string
  readonly forms: readonly Form[]
  sign(ask: Ask): Promise<SignedRequest>
  close(): void
}

/** Why botocore cannot sign on this machine, which needs nothing but Node and npm otherwise; null where it can. In CI it must. */
export async function botocoreMissing(server: Endpoint): Promise<string | null> {
  const signer = await openBotocore(server).catch((error: Error) => error)
  if (!(signer instanceof Error)) {
    signer.close()
    return null
  }
  if (process.env['CI'] === 'true') throw signer
  return signer.message
}

export async function openBotocore(server: Endpoint & { readonly region?: string }): Promise<Signer> {
  const missing = 'Independent signatures need botocore: install Debian\'s package python3-botocore (apt-get install python3-botocore).'
  const child = spawn(findTool('python3'), [fileURLToPath(new URL('sign.py', import.meta.url))], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '', PYTHONDONTWRITEBYTECODE: '1' } })
  let said = ''
  child.stderr.on('data', (piece: Buffer) => { said += piece.toString() })
  const lines: ((line: string) => void)[] = []
  const failed: ((error: Error) => void)[] = []
  const waitFor = (): Promise<string> => new Promise((resolve, reject) => {
    lines.push(resolve)
    failed.push(reject)
  })
  const hello = waitFor()
  child.once('error', (error) => failed.splice(0).forEach((reject) => reject(error)))
  child.once('close', () => failed.splice(0).forEach((reject) => reject(new Error(/No module named/.test(said) ? missing : said))))
  child.stdin.on('error', () => undefined)
  createInterface({ input: child.stdout }).on('line', (line) => {
    failed.shift()
    lines.shift()?.(line)
  })
  const { version } = JSON.parse(await hello) as { version: string }
  return {
    name: `botocore ${version}`,
    forms: ['v4-header', 'v4-unsigned', 'v4-trailer', 'v4-query', 'v2-header', 'v2-query'],
    async sign({ form, method, bucket, key, params, headers, body, chunk }) {
      const answer = waitFor()
      child.stdin.write(`${JSON.stringify({
        form, method, path: key === '' ? bucket : `${bucket}/${key}`, params, headers, body: Buffer.from(body).toString('base64'), chunk,
        host: new URL(server.url).host, region: server.region ?? 'us-east-1', accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey,
      })}\n`)
      const signed = JSON.parse(await answer) as { url: string; headers: Record<string, string>; body: string }
      const bytes = Buffer.from(signed.body, 'base64')
      const { 'content-length': _length, ...others } = signed.headers
      return { form, method, path: signed.url.replace(/^https?:\/\/[^/]*/, ''), headers: { host: new URL(server.url).host, ...others }, body: bytes }
    },
    close: () => child.stdin.end(),
  }
}

/** The signer of our own tests' requests, which is nobody's of this house. */
export function aws4Signer(server: Endpoint): Signer {
  return {
    name: 'aws4',
    forms: ['v4-header', 'v4-query'],
    async sign({ form, method, bucket, key, params, headers, body }) {
      const encode = (text: string): string => encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
      const query = Object.entries(params).map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&')
      const sends = method === 'PUT' || method === 'POST'
      const { path, headers: signed } = signRequest({
        server, method, path: `/${bucket}${key === '' ? '' : `/${encode(key).replaceAll('%2F', '/')}`}${query === '' ? '' : `?${query}`}`, headers, sign: form === 'v4-query' ? 'presigned' : 'header', ...(sends ? { body } : {}),
      })
      return { form, method, path, headers: signed, body: Buffer.from(sends ? body : '') }
    },
    close: () => undefined,
  }
}
