import { createHash } from 'node:crypto'
import type { PolicyDocument } from '../domain/model.ts'
import { yaml } from '../domain/yaml.ts'
import type { Bootstrap, BootstrapAccount, BootstrapKey } from '../metadata/store.ts'

type KeyPair = BootstrapAccount['accessKeys'][number]
type User = BootstrapAccount['users'][number]

/** Everything that is wrong with a bootstrap file, one line each. */
export class BootstrapError extends Error {
  constructor(file: string, problems: readonly string[]) {
    super(`The bootstrap file ${file} cannot be applied:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
    this.name = 'BootstrapError'
  }
}

export interface BootstrapRules {
  /** Reads one identity policy; throws an Error that says what cannot be honoured. */
  readonly parsePolicy: (json: unknown) => PolicyDocument
  /** The managed policy of a name or ARN; throws an Error that says which there are. */
  readonly managedPolicy: (nameOrArn: string) => PolicyDocument
  /** Why a key pair is refused, null when it is fine. Secrets are never part of the answer. */
  readonly keyProblem: (pair: KeyPair) => string | null
}

/**
 * Reads a bootstrap document (YAML, of which JSON is a part): accounts with their root access keys, users, policies. Nothing in
 * it is ignored: what this version cannot honour is an error. Ids that are left out are derived from the display name, so
 * that applying the same file again names the same accounts.
 */
export function parseBootstrap(text: string, file: string, rules: BootstrapRules): Bootstrap {
  const problems: string[] = []
  let document: unknown
  try {
    document = yaml().parse(text)
  } catch (error) {
    throw new BootstrapError(file, [error instanceof Error ? error.message.split('\n')[0] ?? '' : String(error)])
  }
  const reader = createReader(problems, rules)
  const top = reader.object(document, 'the document', ['accounts'])
  const accounts = reader.list(top['accounts'], 'accounts').map((item, index) => reader.account(item, `accounts[${index}]`, index))
  const keys = accounts.flatMap((account) => [...account.accessKeys, ...account.users.flatMap((user) => user.accessKeys)])
  unique(accounts.map((account) => account.id), 'account id', problems)
  unique(accounts.map((account) => account.canonicalId), 'canonicalId', problems)
  unique(accounts.map((account) => account.email.toLowerCase()).filter((email) => email !== ''), 'email', problems)
  unique(keys.map((key) => key.accessKeyId), 'accessKeyId', problems)
  for (const account of accounts) unique(account.users.map((user) => user.name), `user name in account ${account.id}`, problems)
  if (problems.length > 0) throw new BootstrapError(file, problems)
  return { accounts }
}

function createReader(problems: string[], rules: BootstrapRules) {
  function object(value: unknown, at: string, allowed: readonly string[]): Record<string, unknown> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      problems.push(`${at}: must be a mapping of ${allowed.join(', ')}`)
      return {}
    }
    for (const name of Object.keys(value)) {
      if (!allowed.includes(name)) problems.push(`${at}.${name}: there is no such field; allowed: ${allowed.join(', ')}`)
    }
    return value as Record<string, unknown>
  }

  function list(value: unknown, at: string): readonly unknown[] {
    if (value === undefined || value === null) return []
    if (Array.isArray(value)) return value
    problems.push(`${at}: must be a list`)
    return []
  }

  /** A text of this form; numbers are taken as their digits, because YAML reads an unquoted id as a number. */
  function text(value: unknown, at: string, form: RegExp, allowed: string, initial: string | null): string {
    if (value === undefined || value === null) {
      if (initial === null) problems.push(`${at}: is missing; allowed: ${allowed}`)
      return initial ?? ''
    }
    const given = typeof value === 'number' ? String(value) : value
    if (typeof given === 'string' && form.test(given)) return given
    problems.push(`${at}: ${JSON.stringify(value)} is not allowed; allowed: ${allowed}`)
    return initial ?? ''
  }

  function keyPair(value: unknown, at: string, root: boolean): BootstrapKey {
    const fields = object(value, at, ['accessKeyId', 'secretAccessKey', 'admin'])
    const pair = { accessKeyId: String(fields['accessKeyId'] ?? ''), secretAccessKey: String(fields['secretAccessKey'] ?? '') }
    const problem = rules.keyProblem(pair)
    if (problem !== null) problems.push(`${at}: ${problem}`)
    const admin = fields['admin'] ?? false
    if (typeof admin !== 'boolean') problems.push(`${at}.admin: must be true or false`)
    if (admin === true && root) problems.push(`${at}.admin: the root account's own keys open the admin API already`)
    return admin === true ? { ...pair, admin } : pair
  }

  function policy(value: unknown, at: string): PolicyDocument {
    const named = typeof value === 'object' && value !== null && 'document' in value
    const json = named ? object(value, at, ['name', 'document'])['document'] : value
    try {
      if (typeof json !== 'string') return rules.parsePolicy(json)
      return json.trimStart().startsWith('{') ? rules.parsePolicy(JSON.parse(json)) : rules.managedPolicy(json)
    } catch (error) {
      problems.push(`${at}: ${error instanceof Error ? error.message : String(error)}`)
      return { statements: [] }
    }
  }

  function user(value: unknown, at: string): User {
    const fields = object(value, at, ['name', 'path', 'accessKeys', 'policies', 'groups'])
    if (list(fields['groups'], `${at}.groups`).length > 0) problems.push(`${at}.groups: groups are not supported by this version; give the user the policies themselves`)
    return {
      name: text(fields['name'], `${at}.name`, /^[\w+=,.@-]{1,64}$/, '1 to 64 characters of A-Z a-z 0-9 + = , . @ _ -', null),
      path: text(fields['path'], `${at}.path`, /^\/([\x21-\x7e]{0,510}\/)?$/, 'a path that begins and ends with /', '/'),
      accessKeys: list(fields['accessKeys'], `${at}.accessKeys`).map((item, index) => keyPair(item, `${at}.accessKeys[${index}]`, false)),
      policies: list(fields['policies'], `${at}.policies`).map((item, index) => policy(item, `${at}.policies[${index}]`)),
    }
  }

  function account(value: unknown, at: string, index: number): BootstrapAccount {
    const fields = object(value, at, ['root', 'id', 'canonicalId', 'displayName', 'email', 'accessKeys', 'users'])
    const displayName = text(fields['displayName'], `${at}.displayName`, /^[^\0-\x1f]{1,255}$/, '1 to 255 printable characters', null)
    const root = fields['root'] ?? false
    if (typeof root !== 'boolean') problems.push(`${at}.root: must be true or false`)
    if (root === true && index > 0) problems.push(`${at}.root: only the first account can be the root account`)
    const digest = createHash('sha256').update(`holdfast account: ${displayName}`).digest('hex')
    return {
      root: root === true,
      id: text(fields['id'], `${at}.id`, /^\d{12}$/, '12 digits, in quotes', derivedId(digest)),
      canonicalId: text(fields['canonicalId'], `${at}.canonicalId`, /^[0-9a-f]{64}$/, '64 hex digits in lower case', digest),
      displayName,
      email: text(fields['email'], `${at}.email`, /^[^\s@]+@[^\s@]+$/, 'an e-mail address', ''),
      accessKeys: list(fields['accessKeys'], `${at}.accessKeys`).map((item, position) => keyPair(item, `${at}.accessKeys[${position}]`, root === true)),
      users: list(fields['users'], `${at}.users`).map((item, position) => user(item, `${at}.users[${position}]`)),
    }
  }

  return { object, list, account }
}

/** 12 digits out of a hash, never with a leading zero. */
function derivedId(hex: string): string {
  return String(100_000_000_000n + (BigInt(`0x${hex.slice(0, 16)}`) % 900_000_000_000n))
}

function unique(values: readonly string[], what: string, problems: string[]): void {
  const seen = new Set<string>()
  for (const value of values) {
    if (value !== '' && seen.has(value)) problems.push(`${what} ${value}: is there more than once`)
    seen.add(value)
  }
}
