import { randomBytes, randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'

export interface KeyPair {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** Who the root account is; drawn once for a data folder and kept. */
export interface RootIdentity {
  readonly id: string
  readonly canonicalId: string
}

export interface KeyFolder {
  /** 32 bytes that encrypt the secrets in the database. */
  masterKey(): Promise<Buffer>
  rootIdentity(): Promise<RootIdentity>
  /** The generated root key pair; `fresh` when this call made it, which is the one time that its secret is shown. */
  rootKeyPair(): Promise<KeyPair & { readonly fresh: boolean }>
  /** File of the generated root key pair, for the banner. */
  readonly rootKeyFile: string
}

/**
 * The keys that a data folder keeps, each in a file of mode 0600 below `<dataDir>/keys`, made at the first use. A file that is
 * there but damaged is an error: a new master key would make every stored secret unreadable.
 *
 * @param keep writes a file of the folder durably; it must not replace one.
 */
export function openKeyFolder(folder: string, keep: (name: string, text: string) => Promise<void>): KeyFolder {
  async function kept<T>(name: string, parse: (text: string) => T | null, make: () => string): Promise<{ value: T; fresh: boolean }> {
    const file = path.join(folder, name)
    const before = await readIfThere(file)
    const text = before ?? make()
    const value = parse(text)
    if (value === null) throw new Error(`${file} is damaged. Restore it from a backup of the data folder.`)
    if (before !== null) return { value, fresh: false }
    try {
      await keep(name, text)
      return { value, fresh: true }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      // Another replica that starts just now was first: its key is the one for both.
      return kept(name, parse, make)
    }
  }

  return {
    rootKeyFile: path.join(folder, 'root-key.json'),
    async masterKey() {
      const { value } = await kept('master.key', parseMasterKey, () => `${randomBytes(32).toString('hex')}\n`)
      return value
    },
    async rootIdentity() {
      const { value } = await kept('root-account.json', parseIdentity, () => json({ id: String(randomInt(100_000_000_000, 999_999_999_999)), canonicalId: randomBytes(32).toString('hex') }))
      return value
    },
    async rootKeyPair() {
      const { value, fresh } = await kept('root-key.json', parseKeyPair, () => json(newKeyPair()))
      return { ...value, fresh }
    },
  }
}

const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`

/** A pair that nobody has. */
export function newKeyPair(): KeyPair {
  return { accessKeyId: newAccessKeyId(), secretAccessKey: randomBytes(30).toString('base64url') }
}

/** 20 characters of A-Z and 2-7 behind `HF`, as long as AWS's, so that tools which check the form take it. */
function newAccessKeyId(): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return `HF${Array.from(randomBytes(18), (byte) => alphabet[byte % 32]).join('')}`
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

function parseMasterKey(text: string): Buffer | null {
  const hex = text.trim()
  return /^[0-9a-f]{64}$/i.test(hex) ? Buffer.from(hex, 'hex') : null
}

function parseIdentity(text: string): RootIdentity | null {
  const { id, canonicalId } = record(text)
  return typeof id === 'string' && typeof canonicalId === 'string' && /^\d{12}$/.test(id) && /^[0-9a-f]{64}$/.test(canonicalId) ? { id, canonicalId } : null
}

function parseKeyPair(text: string): KeyPair | null {
  const { accessKeyId, secretAccessKey } = record(text)
  return typeof accessKeyId === 'string' && typeof secretAccessKey === 'string' && accessKeyId !== '' && secretAccessKey !== '' ? { accessKeyId, secretAccessKey } : null
}

function record(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}
