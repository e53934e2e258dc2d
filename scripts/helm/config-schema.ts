import type { Field } from '../../src/config-fields.ts'

/** The part of the chart's values that the program decides: its configuration fields, as JSON schema. */

export interface Schema {
  readonly [keyword: string]: unknown
}

/**
 * Variables that the chart sets itself, by the value that does: its own folders, ports and files, and secrets, which come from a
 * Secret and never from a ConfigMap. All other fields are values below `config`, by the same names.
 */
export const setByTheChart: Readonly<Record<string, string>> = {
  HOLDFAST_CONFIG: 'config',
  HOLDFAST_DATA_DIR: 'persistence',
  HOLDFAST_PORT: 'service.port',
  HOLDFAST_CONTROL_PORT: 'controlService.port',
  HOLDFAST_ROOT_ACCESS_KEY: 'auth',
  HOLDFAST_ROOT_SECRET_KEY: 'auth',
  HOLDFAST_MASTER_KEY: 'auth',
  HOLDFAST_DATABASE_URL: 'database',
  HOLDFAST_BOOTSTRAP_FILE: 'bootstrap',
  HOLDFAST_TLS_CERT_FILE: 'tls',
  HOLDFAST_TLS_KEY_FILE: 'tls',
  HOLDFAST_TLS_CLIENT_CA_FILE: 'tls.clientCaSecret',
  HOLDFAST_LIMITS_FILE: 'limits',
  HOLDFAST_DATA_SHARED: 'mode',
  HOLDFAST_DRAIN_DELAY_SECONDS: 'drainDelaySeconds',
  HOLDFAST_METRICS_TOKEN_FILE: 'metrics',
}

/** Of processes the table's bound is this machine's; the chart's servers run on Linux. */
const linuxBounds: Readonly<Record<string, readonly [number, number]>> = { processes: [1, 64] }

export function configSchema(fields: readonly Field[]): Schema {
  const own = fields.filter((field) => !(field.variable in setByTheChart))
  return {
    description: 'Fields of the program’s configuration; written from src/config-fields.ts by npm run check:helm -- --update.',
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(own.map((field) => [field.name, { description: field.variable, ...valueSchema(field) }])),
  }
}

/** What a value may be, from the words that tell people: a range of numbers, a choice, or a text that the program looks at itself. */
export function valueSchema(field: Field): Schema {
  const accepts = (text: string): boolean => 'value' in field.parse(text)
  const bounds = linuxBounds[field.name] ?? range(field.allowed)
  if (bounds !== null) return { type: isFraction(field, bounds) ? 'number' : 'integer', minimum: bounds[0], maximum: bounds[1] }
  const choices = field.allowed.split(/, | or /)
  if (choices.length > 1 && choices.every((choice) => /^[a-z-]+$/.test(choice) && accepts(choice))) {
    // YAML reads an unquoted on and off as booleans, as the program's own file does.
    return { enum: choices.includes('on') ? [...choices, true, false] : choices }
  }
  return { type: 'string', minLength: 1 }
}

function range(allowed: string): readonly [number, number] | null {
  const match = /^(\d+)(?: \([^)]*\))? to (\d+)(?: \([^)]*\))?(?:$|;)/.exec(allowed)
  return match === null ? null : [Number(match[1]), Number(match[2])]
}

function isFraction(field: Field, [min, max]: readonly [number, number]): boolean {
  return 'value' in field.parse(String((min + max) / 2 + 0.25))
}
