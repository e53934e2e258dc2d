import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { cliHelp, completionScript, parseCli, type Parsed } from './cli/commands.ts'
import { UsageError } from './cli/options.ts'
import { list, seriesOf, table, topOf, topText } from './cli/view.ts'
import { ConfigError, shownConfig, type Config } from './config.ts'
import { openControlClient, Unreachable, type ControlClient } from './control-client.ts'
import { yaml } from './domain/yaml.ts'

/** Composition root of the commands that ask a running server, or look at its configuration. */

export interface CliProgram {
  readonly config: () => Config
  readonly write: (text: string) => void
  readonly warn: (text: string) => void
  /** Whether standard output is one: colours, and a view that is drawn over. */
  readonly isTerminal: boolean
}

const done = 0
const refused = 1
const misunderstood = 2
const unreachable = 3

/** Runs one command; resolves with its exit code. */
export async function runCli(argv: readonly string[], program: CliProgram): Promise<number> {
  try {
    const parsed = parseCli(argv)
    if (parsed === null) {
      program.write(cliHelp())
      return done
    }
    return await run(parsed, program)
  } catch (error) {
    program.warn(`${error instanceof ConfigError ? '' : 'holdfast: '}${error instanceof Error ? error.message : String(error)}\n`)
    if (error instanceof UsageError) return misunderstood
    return error instanceof Unreachable ? unreachable : refused
  }
}

async function run(parsed: Parsed, program: CliProgram): Promise<number> {
  const { command, takes: [first = ''], json } = parsed
  const print = (text: string, value: unknown): void => program.write(json ? `${JSON.stringify(value, null, 2)}\n` : text)
  if (command.words === 'completion') {
    const script = completionScript(first)
    if (script === null) throw new UsageError('completion is for bash, zsh or fish')
    program.write(script)
    return done
  }
  const config = program.config()
  if (command.words === 'config check') {
    print('The configuration is in order.\n', { ok: true })
    return done
  }
  if (command.words === 'config print') {
    const shown = shownConfig(config)
    print(table(shown.map((field) => ({ ...field })), ['variable', 'value', 'default'], program.isTerminal), shown)
    return done
  }
  const client = await openControlClient(config, parsed.control)
  return command.words === 'top' ? top(parsed, client, program) : call(parsed, client, program, print)
}

type Print = (text: string, value: unknown) => void

/** The columns of each list. */
const columns: Readonly<Record<string, readonly string[]>> = {
  'config running': ['variable', 'value', 'default'], 'accounts list': ['id', 'displayName', 'email', 'root', 'buckets', 'createdAt'], 'accounts users': ['name', 'path', 'createdAt'],
  'keys list': ['accessKeyId', 'accountId', 'userName', 'enabled', 'admin', 'createdAt'],
  buckets: ['name', 'accountId', 'versioning', 'objects', 'versions', 'bytes', 'createdAt'],
  jobs: ['name', 'passes', 'lastPassAt', 'stopped', 'figures'],
}

async function call({ command: { words }, takes, options }: Parsed, client: ControlClient, program: CliProgram, print: Print): Promise<number> {
  const shownColumns = columns[words]
  if (shownColumns !== undefined) {
    const items = await allItems(client, listPath(words, takes[0] ?? '', options['account']))
    print(items.length === 0 ? 'none\n' : table(items, shownColumns, program.isTerminal), items)
    return done
  }
  if (words === 'limits') {
    const set = options['set']
    const limits = JSON.parse(await (set === undefined ? client.ask('GET', '/admin/v1/limits') : client.ask('PUT', '/admin/v1/limits', limitsOf(set)))) as Limits
    print(limitsText(limits), limits)
    return done
  }
  const answer = JSON.parse(await single(client, words, encodeURIComponent(takes[0] ?? ''), options)) as Record<string, unknown>
  print(list(answer), answer)
  return words === 'status' && answer['ready'] !== true ? refused : done
}

type Limits = Readonly<Record<'file' | 'readAt' | 'refusal' | 'server' | 'limits', unknown>>

function limitsOf(file: string): object {
  const document: unknown = yaml().parse(readFileSync(file, 'utf8'))
  if (typeof document !== 'object' || document === null) throw new UsageError(`${file} is no document of limits`)
  return document
}

/** A document that can be changed and set again, below what is to be known of it. */
function limitsText({ file, readAt, refusal, server, limits }: Limits): string {
  const { at, reason } = (refusal ?? {}) as { at?: string; reason?: string }
  const from = file === null ? 'No limits: HOLDFAST_LIMITS_FILE is not set.' : `In force as read from ${String(file)} at ${String(readAt)}.`
  const newer = refusal === null ? [] : [`What it says since ${at} is refused:`, ...String(reason).split('\n')]
  return `${[from, ...newer].map((line) => `# ${line}\n`).join('')}${yaml().stringify({ server, limits })}`
}

function listPath(words: string, first: string, account: string | undefined): string {
  switch (words) {
    case 'config running': return '/admin/v1/config'
    case 'accounts list': return '/admin/v1/accounts'
    case 'accounts users': return `/admin/v1/accounts/${encodeURIComponent(first)}/users`
    case 'keys list': return account === undefined ? '/admin/v1/keys' : `/admin/v1/keys?account=${encodeURIComponent(account)}`
    default: return `/admin/v1/${words}`
  }
}

async function allItems(client: ControlClient, path: string): Promise<Record<string, unknown>[]> {
  const items: Record<string, unknown>[] = []
  for (let after: string | null = ''; after !== null;) {
    const target: string = after === '' ? path : `${path}?after=${encodeURIComponent(after)}`
    const page = JSON.parse(await client.ask('GET', target)) as { items: Record<string, unknown>[]; next: string | null }
    items.push(...page.items)
    after = page.next
  }
  return items
}

function single(client: ControlClient, words: string, id: string, options: Parsed['options']): Promise<string> {
  switch (words) {
    case 'accounts create': return client.ask('POST', '/admin/v1/accounts', { displayName: options['name'], ...options['email'] === undefined ? {} : { email: options['email'] } })
    case 'keys create': return client.ask('POST', '/admin/v1/keys', { accountId: options['account'], userName: options['user'] ?? null, admin: options['admin'] !== undefined })
    case 'keys rotate': case 'keys disable': case 'keys enable': return client.ask('POST', `/admin/v1/keys/${id}/${words.slice('keys '.length)}`)
    case 'sweep': return client.ask('POST', '/admin/v1/jobs/sweeper/run')
    case 'drain': return client.ask('POST', '/admin/v1/drain')
    case 'log-level': return options['set'] === undefined ? client.ask('GET', '/admin/v1/log-level') : client.ask('PUT', '/admin/v1/log-level', { level: options['set'] })
    default: return client.ask('GET', `/admin/v1/${words}`)
  }
}

/** Looks at the metrics again and again, and shows what happened between two looks. */
async function top({ options, json }: Parsed, client: ControlClient, program: CliProgram): Promise<number> {
  const number = (name: string, initial: number): number => {
    const value = Number(options[name] ?? initial)
    if (!(value > 0)) throw new UsageError(`--${name} must be a number above 0`)
    return value
  }
  const [seconds, count] = [number('seconds', 2), number('count', Number.POSITIVE_INFINITY)]
  let before = seriesOf(await client.ask('GET', '/metrics'))
  let at = performance.now()
  for (let look = 0; look < count; look++) {
    await sleep(seconds * 1000)
    const after = seriesOf(await client.ask('GET', '/metrics'))
    const now = performance.now()
    const view = topOf(before, after, (now - at) / 1000)
    program.write(json ? `${JSON.stringify(view)}\n` : `${program.isTerminal ? `\x1b[H\x1b[2J${client.url}  ${new Date().toTimeString().slice(0, 8)}\n` : ''}${topText(view, program.isTerminal)}`)
    before = after
    at = now
  }
  return done
}

