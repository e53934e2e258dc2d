import { readFileSync } from 'node:fs'
import path from 'node:path'
import { calledBy } from './cli/called-by.ts'
import { yaml } from './domain/yaml.ts'
import { redacted, redactedText } from './telemetry/redact.ts'
import { fields, type Config, type Field } from './config-fields.ts'

export type { Config } from './config-fields.ts'

/** Everything that is wrong with a configuration, one line each. */
export class ConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The configuration has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/**
 * The configuration from the environment and the file that HOLDFAST_CONFIG names; the environment wins. This is the only
 * reader of either: everybody else gets the frozen result handed down. An empty variable counts as not set.
 *
 * @throws ConfigError with all problems at once: unknown names, values that are not allowed, combinations that make no sense.
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, argv: readonly string[] = []): Config {
  const problems: string[] = argv.map((argument) => `${argument}: unknown argument; --help shows what there is`)
  const file = readConfigFile(env['HOLDFAST_CONFIG'], problems)
  for (const name of Object.keys(env)) {
    if (!name.startsWith('HOLDFAST_') || name === 'HOLDFAST_CONFIG' || fields.some((field) => field.variable === name)) continue
    problems.push(`${name}: there is no such variable${suggestion(name, fields.map((field) => field.variable))}`)
  }
  for (const name of Object.keys(file)) {
    if (!fields.some((field) => field.name === name)) {
      problems.push(`${name} in ${env['HOLDFAST_CONFIG']}: there is no such field${suggestion(name, fields.map((field) => field.name))}`)
    }
  }
  const values: Record<string, unknown> = {}
  for (const field of fields) values[field.name] = readField(field, env, file, problems)
  const config = Object.freeze(values) as unknown as Config
  if (problems.length === 0) checkTogether(config, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

/** What `--help` prints: every field with its unit, default and reason, from the table that also parses them. */
export function helpText(): string {
  const lines = [
    'Holdfast: S3-compatible, self-hosted storage.',
    '',
    `Usage: ${calledBy} [serve] [--help | --version]`,
    ...[
      ['scrub [--help]', 'compares what the database says with the bytes that are there'], ['fsck [--help]', 'accounts for each byte of the drives, and repairs'],
      ['check-endpoint [--help]', 'writes, reads, lists and deletes an object at a URL'], ['help', 'status, configuration, accounts, keys, limits, buckets, top of a running server'],
    ].map(([command = '', what]) => `       ${calledBy} ${command.padEnd(24)} ${what}`),
    '',
    'Configuration comes from the environment, or from a YAML file with the names in brackets:',
    '',
    '  HOLDFAST_CONFIG',
    '      Path of that YAML file. The environment wins over it.',
  ]
  for (const field of fields) {
    const unit = field.unit ? ` (${field.unit})` : ''
    lines.push('', `  ${field.variable} [${field.name}]`, `      ${field.reason}`, `      Allowed: ${field.allowed}${unit}. Default: ${field.initial ?? field.whenUnset}.`)
  }
  return `${lines.join('\n')}\n`
}

export interface ShownField {
  readonly name: string
  readonly variable: string
  readonly value: string | number | boolean | null
  readonly default: string | null
  readonly reason: string
}

/** The configuration as it is in force, without its secrets. */
export function shownConfig(config: Config): readonly ShownField[] {
  return fields.map((field) => {
    const value = config[field.name]
    // Of a database all but the password may be known; of a key nothing.
    const shown = field.secret !== true || value === null ? value : field.name === 'databaseUrl' ? redacted(String(value)) : redactedText
    return { name: field.name, variable: field.variable, value: shown, default: field.initial, reason: field.reason }
  })
}

function readConfigFile(file: string | undefined, problems: string[]): Record<string, unknown> {
  if (!file) return {}
  try {
    const document: unknown = yaml().parse(readFileSync(path.resolve(file), 'utf8'))
    if (document === null || document === undefined) return {}
    if (typeof document === 'object' && !Array.isArray(document)) return document as Record<string, unknown>
    problems.push(`HOLDFAST_CONFIG=${file}: must be a YAML mapping of field names to values`)
  } catch (error) {
    problems.push(`HOLDFAST_CONFIG=${file}: cannot be read: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`)
  }
  return {}
}

function readField(field: Field, env: Readonly<Record<string, string | undefined>>, file: Record<string, unknown>, problems: string[]): unknown {
  const fromEnvironment = env[field.variable]
  const given = fromEnvironment !== undefined && fromEnvironment !== '' ? fromEnvironment : file[field.name]
  if (given === undefined || given === null) return initialValue(field)
  const from = given === fromEnvironment ? field.variable : `${field.name} in ${env['HOLDFAST_CONFIG']}`
  // A YAML number or boolean is read as its text, so that one rule serves both sources.
  const text = typeof given === 'string' ? given : typeof given === 'number' ? String(given) : typeof given === 'boolean' ? (given ? 'on' : 'off') : null
  const result = text === null ? { problem: `must be a text or a number; allowed: ${field.allowed}` } : field.parse(text)
  if ('value' in result) return result.value
  const shown = field.secret ? `(${text?.length ?? 0} characters, not shown)` : JSON.stringify(text ?? given)
  problems.push(`${from}=${shown}: ${result.problem ?? `allowed: ${field.allowed}`}`)
  return initialValue(field)
}

function initialValue(field: Field): unknown {
  if (field.initial === null) return null
  const parsed = field.parse(field.initial)
  return 'value' in parsed ? parsed.value : null
}

function checkTogether(config: Config, problems: string[]): void {
  if ((config.rootAccessKey === null) !== (config.rootSecretKey === null)) {
    problems.push('HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY: set both or neither (then a pair is generated)')
  }
  if (config.rootAccessKey !== null && config.rootAccessKey === config.rootSecretKey) {
    problems.push('HOLDFAST_ROOT_SECRET_KEY: must differ from HOLDFAST_ROOT_ACCESS_KEY')
  }
  if ((config.tlsCertFile === null) !== (config.tlsKeyFile === null)) {
    problems.push('HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE: set both or neither')
  }
  if (config.tlsClientCaFile !== null && config.tlsCertFile === null) {
    problems.push('HOLDFAST_TLS_CLIENT_CA_FILE: only HTTPS asks for certificates; set HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE too')
  }
  if (config.dataShared && config.databaseUrl === null) {
    problems.push('HOLDFAST_DATA_SHARED=on: replicas share a database too, which the embedded one cannot be; set HOLDFAST_DATABASE_URL')
  }
  if (config.port !== 0 && config.port === config.controlPort) {
    problems.push(`HOLDFAST_CONTROL_PORT=${config.controlPort}: is the S3 port already (HOLDFAST_PORT); allowed: another port`)
  }
}

/** ` (did you mean X?)` for a name that is a slip of one or two letters away. */
function suggestion(name: string, known: readonly string[]): string {
  const best = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) })).sort((a, b) => a.distance - b.distance)[0]
  return best && best.distance <= 2 ? `; did you mean ${best.candidate}?` : '; --help lists them'
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] ?? 0
}
