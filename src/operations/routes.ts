import { S3Error } from '../domain/errors.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Routing as data. A route is `METHOD scope ?param&param=value +header`:
 * scope is service, bucket or object; each `param` must be in the query (with that value, when one is given), each header
 * must be present. The route with the most conditions that hold wins; order never matters and a duplicate throws at boot.
 */
export interface Routed {
  readonly name: string
  readonly route: string
}

interface CompiledRoute<Entry> {
  readonly entry: Entry
  readonly params: readonly (readonly [name: string, value: string | null])[]
  readonly headers: readonly string[]
  readonly weight: number
}

export interface Routes<Entry> {
  /** Throws MethodNotAllowed (405) when a sub-resource of S3 is named that does not take the method. */
  match(request: Pick<S3Request, 'method' | 'target' | 'query' | 'headers'>): Entry
}

/** Query parameters that name a thing of its own: a request that carries one must not fall through to the plain operation. */
function subResources(routes: readonly CompiledRoute<Routed>[]): ReadonlySet<string> {
  const names = new Set<string>()
  for (const route of routes) for (const [name, value] of route.params) if (value === null) names.add(name)
  // These also are ordinary parameters of other operations.
  for (const name of ['partNumber', 'id', 'annotationName']) names.delete(name)
  return names
}

/** By method and scope. */
type Slots<Entry> = Map<string, Map<string, CompiledRoute<Entry>[]>>

function compile<Entry extends Routed>(entry: Entry): { method: string; scope: string; compiled: CompiledRoute<Entry> } {
  const [method = '', scope = '', ...conditions] = entry.route.split(' ')
  const params: [string, string | null][] = []
  const headers: string[] = []
  for (const condition of conditions) {
    if (condition.startsWith('+')) headers.push(condition.slice(1))
    else for (const param of condition.replace(/^\?/, '').split('&')) {
      const equals = param.indexOf('=')
      params.push(equals < 0 ? [param, null] : [param.slice(0, equals), param.slice(equals + 1)])
    }
  }
  const weight = params.length * 2 + headers.length
  return { method, scope, compiled: { entry, params, headers, weight } }
}

function identity(route: CompiledRoute<Routed>): string {
  return [...route.params.map(([name, value]) => `?${name}=${value ?? ''}`), ...route.headers.map((name) => `+${name}`)].toSorted().join(' ')
}

export function compileRoutes<Entry extends Routed>(entries: readonly Entry[]): Routes<Entry> {
  const slots: Slots<Entry> = new Map()
  for (const entry of entries) {
    const { method, scope, compiled } = compile(entry)
    const scopes = slots.get(method) ?? new Map<string, CompiledRoute<Entry>[]>()
    slots.set(method, scopes)
    const others = scopes.get(scope) ?? []
    const twin = others.find((other) => identity(other) === identity(compiled))
    if (twin !== undefined) throw new Error(`two operations have the route '${entry.route}': ${twin.entry.name} and ${entry.name}`)
    others.push(compiled)
    others.sort((a, b) => b.weight - a.weight)
    scopes.set(scope, others)
  }
  const named = subResources([...slots.values()].flatMap((scopes) => [...scopes.values()].flat()))
  return { match: (request) => match(slots, named, request) }
}

function match<Entry extends Routed>(
  slots: Slots<Entry>,
  named: ReadonlySet<string>,
  request: Pick<S3Request, 'method' | 'target' | 'query' | 'headers'>,
): Entry {
  const candidates = slots.get(request.method)?.get(request.target.scope) ?? []
  for (const route of candidates) {
    if (!route.params.every(([name, value]) => (value === null ? request.query.has(name) : request.query.get(name) === value))) continue
    if (!route.headers.every((name) => request.headers.has(name))) continue
    if (strayed(route, named, request)) break
    return route.entry
  }
  throw new S3Error('MethodNotAllowed', undefined, { fields: { Method: request.method, ResourceType: resourceType(request, named) } })
}

/** True when the query names a sub-resource that the route does not: `DELETE /bucket?acl` must never delete the bucket. */
function strayed(route: CompiledRoute<Routed>, named: ReadonlySet<string>, request: Pick<S3Request, 'query'>): boolean {
  for (const [name] of request.query.entries) {
    if (named.has(name) && !route.params.some(([own]) => own === name)) return true
  }
  return false
}

function resourceType(request: Pick<S3Request, 'query' | 'target'>, named: ReadonlySet<string>): string {
  const name = request.query.entries.find(([param]) => named.has(param))?.[0]
  return name === undefined ? request.target.scope.toUpperCase() : name.toUpperCase()
}
