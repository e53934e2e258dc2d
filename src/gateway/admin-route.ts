import type { Query } from '../protocol/request.ts'

/** What a value may be, in the words of JSON Schema: the part of it that is used here. */
export type Schema =
  | { readonly type: 'string'; readonly description?: string; readonly enum?: readonly string[]; readonly pattern?: string; readonly nullable?: boolean }
  | { readonly type: 'integer' | 'number' | 'boolean'; readonly description?: string; readonly nullable?: boolean }
  | { readonly type: 'array'; readonly items: Schema; readonly description?: string }
  | { readonly type: 'object'; readonly properties: Readonly<Record<string, Schema>>; readonly required?: readonly string[]; readonly description?: string; readonly nullable?: boolean }
  | { readonly type: 'object'; readonly additionalProperties: true; readonly description?: string }

/** One call of the admin API as data: routes, the checks of what is sent, and the OpenAPI document come from it. */
export interface AdminRoute {
  readonly name: string
  readonly method: 'GET' | 'POST' | 'PUT'
  /** Below `/admin/v1`, with `{name}` for what stands in the path. */
  readonly path: string
  readonly summary: string
  /** Parameters of the query, all optional. */
  readonly query?: Readonly<Record<string, Schema>>
  readonly body?: Schema & { readonly type: 'object' }
  readonly answer: Schema
  /** Default 200. */
  readonly status?: 201 | 202
  /** signature: a token does not open it. */
  readonly needs?: 'signature'
  run(asked: Asked): Promise<unknown> | unknown
}

export interface Asked {
  readonly path: Readonly<Record<string, string>>
  readonly query: Query
  /** As the route's schema says. */
  readonly body: Readonly<Record<string, unknown>>
  readonly by: Asker
}

/** Whose signature or token it was. */
export interface Asker {
  readonly accessKeyId: string
  /** One of the root account's own keys; else an admin key. */
  readonly root: boolean
}

/** What an operator asked wrongly, or what cannot be now. */
export class AdminError extends Error {
  readonly status: 400 | 403 | 404 | 409 | 503
  constructor(status: 400 | 403 | 404 | 409 | 503, message: string) {
    super(message)
    this.name = 'AdminError'
    this.status = status
  }
}

/** Why the value is not what the schema says, null when it is. */
export function schemaProblem(schema: Schema, value: unknown, at: string): string | null {
  if ('nullable' in schema && schema.nullable === true && value === null) return null
  if (schema.type === 'object' && 'properties' in schema) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return `${at} must be an object`
    const fields = value as Record<string, unknown>
    const unknown = Object.keys(fields).find((name) => !(name in schema.properties))
    if (unknown !== undefined) return `${at}.${unknown}: there is no such field; allowed: ${Object.keys(schema.properties).join(', ')}`
    const missing = (schema.required ?? []).find((name) => fields[name] === undefined)
    if (missing !== undefined) return `${at}.${missing} is missing`
    for (const [name, field] of Object.entries(schema.properties)) {
      const problem = fields[name] === undefined ? null : schemaProblem(field, fields[name], `${at}.${name}`)
      if (problem !== null) return problem
    }
    return null
  }
  if (schema.type === 'string') {
    if (typeof value !== 'string') return `${at} must be a text`
    if (schema.enum !== undefined && !schema.enum.includes(value)) return `${at} must be one of: ${schema.enum.join(', ')}`
    return schema.pattern !== undefined && !new RegExp(schema.pattern).test(value) ? `${at} must match ${schema.pattern}` : null
  }
  if (schema.type === 'integer') return Number.isInteger(value) ? null : `${at} must be a whole number`
  if (schema.type === 'array') return Array.isArray(value) ? null : `${at} must be a list`
  if (schema.type === 'object') return typeof value === 'object' ? null : `${at} must be an object`
  return typeof value === schema.type ? null : `${at} must be a ${schema.type}`
}

/** The document that describes the routes. */
export function openApi(routes: readonly AdminRoute[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  const content = (schema: unknown): unknown => ({ 'application/json': { schema } })
  const error = { description: 'What is wrong, and what to do', content: content({ $ref: '#/components/schemas/Error' }) }
  for (const { name, method, path, summary, query, body, answer, status, needs } of routes) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, each]) => ({ name: each, in: 'path', required: true, schema: { type: 'string' } }))
    const inQuery = Object.entries(query ?? {}).map(([each, schema]) => ({ name: each, in: 'query', schema: converted(schema), ...schema.description === undefined ? {} : { description: schema.description } }))
    const fields = { name: 'fields', in: 'query', schema: { type: 'string' }, description: 'Names with commas between them, below others with dots: only these are answered, of each item of a list.' }
    const place = paths[`/admin/v1${path}`] ??= {}
    place[method.toLowerCase()] = {
      operationId: name, summary, parameters: [...inPath, ...inQuery, fields], security: needs === 'signature' ? [{ signature: [] }] : [{ signature: [] }, { token: [] }],
      ...body === undefined ? {} : { requestBody: { required: (body as { required?: unknown }).required !== undefined, content: content(converted(body)) } },
      responses: { [status ?? 200]: { description: summary, content: content(converted(answer)) }, default: error },
    }
  }
  return {
    openapi: '3.1.0', info: { title: 'Holdfast admin API', version },
    paths,
    components: {
      schemas: { Error: { type: 'object', required: ['error', 'message'], properties: { error: { type: 'string' }, message: { type: 'string' }, next: { type: 'string' } } } },
      securitySchemes: {
        signature: { type: 'apiKey', in: 'header', name: 'Authorization', description: 'AWS signature version 4 for the service s3, by the root account’s own keys or by an admin key' },
        token: { type: 'http', scheme: 'bearer', description: 'From POST /admin/v1/token; valid for a quarter of an hour, as long as the key that asked for it is' },
      },
    },
  }
}

/** JSON Schema of OpenAPI 3.1 has no `nullable`. */
function converted(schema: Schema): unknown {
  const { nullable, ...rest } = schema as Schema & { nullable?: boolean }
  const own: Record<string, unknown> = { ...rest }
  if (nullable === true) own['type'] = [schema.type, 'null']
  if (schema.type === 'array') own['items'] = converted(schema.items)
  if ('properties' in schema) own['properties'] = Object.fromEntries(Object.entries(schema.properties).map(([name, each]) => [name, converted(each)]))
  return own
}

/** Only the fields that were asked for; of each item where the answer is a list of them. Throws AdminError for one that is not there. */
export function selected(answer: unknown, fields: string, schema: Schema): unknown {
  const items = 'properties' in schema ? schema.properties['items'] : undefined
  const names = fields.split(',').map((name) => name.trim()).filter((name) => name !== '')
  if (names.length === 0) throw new AdminError(400, 'fields names nothing.')
  if (items === undefined || items.type !== 'array') return picked(answer, names, schema)
  const list = answer as { readonly items: readonly unknown[] }
  // Of an empty list, too, a wrong name is told.
  picked({}, names, items.items)
  return { ...list, items: list.items.map((item) => picked(item, names, items.items)) }
}

function picked(value: unknown, names: readonly string[], schema: Schema): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  const tops = [...new Set(names.map((name) => name.split('.')[0] ?? ''))]
  for (const top of tops) {
    const known = 'properties' in schema ? schema.properties : null
    if (known !== null && known[top] === undefined) throw new AdminError(400, `fields: there is no field ${top}; there are: ${Object.keys(known).join(', ')}.`)
    const below = names.filter((name) => name.startsWith(`${top}.`)).map((name) => name.slice(top.length + 1))
    const own = (value as Readonly<Record<string, unknown>> | null)?.[top]
    const whole = names.includes(top) || below.length === 0 || typeof own !== 'object' || own === null || Array.isArray(own)
    result[top] = whole ? own : picked(own, below, known?.[top] ?? { type: 'object', additionalProperties: true })
  }
  return result
}
