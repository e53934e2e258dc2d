import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { endpointOf } from './admin/banner.ts'
import type { KeyPair } from './admin/keys.ts'
import { signRequest } from './auth/sign-request.ts'
import { readBootstrap } from './bootstrap-file.ts'
import type { Config } from './config.ts'

/** What the command line asks a running server, over its control port. */
export interface ControlClient {
  readonly url: string
  /** The answer as it came: JSON, or text. Rejects with Refused, or with Unreachable. */
  ask(method: 'GET' | 'POST' | 'PUT', path: string, body?: object): Promise<string>
}

/** The server answered that it will not. */
export class Refused extends Error {}
/** Nobody answers there. */
export class Unreachable extends Error {}

const answerMsMax = 30_000
const tokenPath = '/admin/v1/token'

export async function openControlClient(config: Config, given: string | null): Promise<ControlClient> {
  const url = (given ?? endpointOf(config.host, config.controlPort, config.tlsCertFile !== null)).replace(/\/$/, '')
  const pair = await rootPair(config)

  async function send(method: string, target: string, headers: Record<string, string>, body: string | undefined): Promise<string> {
    const answer = await fetch(`${url}${target}`, { method, headers, redirect: 'error', signal: AbortSignal.timeout(answerMsMax), ...body === undefined ? {} : { body } }).catch((error: unknown) => {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
      throw new Unreachable(`${url} does not answer (${cause}). Is the server running? --control names another address.`, { cause: error })
    })
    const text = await answer.text()
    if (!answer.ok) throw new Refused(reasonOf(text) ?? `the server answered ${answer.status}`)
    return text
  }

  let token: Promise<string> | null = null
  const newToken = async (): Promise<string> => {
    const headers = signRequest({ method: 'POST', host: new URL(url).host, path: tokenPath }, { ...pair, region: config.region })
    return (JSON.parse(await send('POST', tokenPath, headers, undefined)) as { token: string }).token
  }
  return {
    url,
    async ask(method, target, body) {
      token ??= newToken()
      const text = body === undefined ? undefined : JSON.stringify(body)
      return send(method, target, { authorization: `Bearer ${await token}`, ...text === undefined ? {} : { 'content-type': 'application/json' } }, text)
    },
  }
}

function reasonOf(text: string): string | null {
  try {
    const { message, next } = JSON.parse(text) as { message?: string; next?: string }
    return message === undefined ? null : [message, next].filter((part) => part !== undefined).join(' ')
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

/** The root account's own keys, where a start would find them. */
async function rootPair({ rootAccessKey, rootSecretKey, dataDir, bootstrapFile }: Config): Promise<KeyPair> {
  if (rootAccessKey !== null && rootSecretKey !== null) return { accessKeyId: rootAccessKey, secretAccessKey: rootSecretKey }
  const [first] = (await readBootstrap({ bootstrapFile })).accounts
  const [ofFile] = first?.root === true ? first.accessKeys : []
  if (ofFile !== undefined) return ofFile
  const file = path.join(dataDir, 'keys', 'root-key.json')
  try {
    return JSON.parse(await readFile(file, 'utf8')) as KeyPair
  } catch (error) {
    throw new Refused(`No root keys: HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY are not set, and ${file} cannot be read. HOLDFAST_DATA_DIR names the data folder.`, { cause: error })
  }
}
