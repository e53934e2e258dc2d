import fc from 'fast-check'
import type { RawResponse } from './raw.ts'

/**
 * What S3's user guide says of versions and conditions, as plainly as it can be written, and random commands that run against
 * the model and a real server at once. Ids of versions are learnt from the server's answers; everything else is foretold.
 * Source: Amazon S3 user guide, "How S3 Versioning works", "Conditional writes", "Conditional deletes".
 */

interface Version {
  readonly id: string
  /** Null: a delete marker. */
  readonly body: string | null
}

export interface Model {
  versioning: 'off' | 'Enabled' | 'Suspended'
  /** Versions of each key, newest first. */
  readonly keys: Map<string, Version[]>
  /** Every id that ever was, also of versions that are gone. */
  readonly ids: string[]
}

export const emptyModel = (): Model => ({ versioning: 'off', keys: new Map(), ids: [] })

export interface Real {
  send(method: string, target: string, options?: { headers?: Readonly<Record<string, string>>; body?: string }): Promise<RawResponse>
  setVersioning(status: 'Enabled' | 'Suspended'): Promise<void>
  /** ETag of a body, with quotes. */
  etag(body: string): string
  /** Status and code in one; see `outcome`. */
  outcome(response: RawResponse): string
  /** `kind id latest` of each row, read in pages of that size. */
  listVersions(pageSize: number): Promise<readonly string[]>
  /** `key etag` of each current object. */
  listObjects(): Promise<readonly string[]>
}

type Command = fc.AsyncCommand<Model, Real>
type Condition = 'none' | 'absent' | 'match' | 'any' | 'mismatch' | 'size' | 'wrong-size'

const keyNames = ['a', 'a/b', 'ü']
const bodies = ['', 'one', 'two', 'three']

const versionsOf = (model: Model, key: string): Version[] => {
  const found = model.keys.get(key) ?? []
  model.keys.set(key, found)
  return found
}
const path = (key: string): string => encodeURIComponent(key).replace('%2F', '/')

function same(what: string, actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what}: the server says ${JSON.stringify(actual)}, the model ${JSON.stringify(expected)}`)
}

/** Adds a version (a marker for null) as the status says: numbered, or in the place of the null version. */
function add(model: Model, key: string, body: string | null, id: string): void {
  const versions = versionsOf(model, key)
  if (model.versioning !== 'Enabled') dropVersion(versions, 'null')
  versions.unshift({ id, body })
  if (!model.ids.includes(id)) model.ids.push(id)
}

function dropVersion(versions: Version[], id: string): void {
  const at = versions.findIndex((version) => version.id === id)
  if (at >= 0) versions.splice(at, 1)
}

/** The id that an answer gives for a new version; checks that it is the right kind of id. */
function newId(model: Model, answer: RawResponse, what: string): string {
  const id = answer.headers['x-amz-version-id']
  if (model.versioning !== 'Enabled') {
    same(`${what}, x-amz-version-id`, id ?? 'none', model.versioning === 'off' ? 'none' : 'null')
    return 'null'
  }
  if (id === undefined || id === 'null' || model.ids.includes(id)) throw new Error(`${what}: ${id} is no new version id`)
  return id
}

/** Headers of a condition, made from what the model knows of the current object. */
function conditionHeaders(condition: Condition, body: string | null | undefined, real: Real): Record<string, string> {
  switch (condition) {
    case 'none': return {}
    case 'absent': return { 'if-none-match': '*' }
    case 'match': return { 'if-match': real.etag(body ?? 'one') }
    case 'any': return { 'if-match': '*' }
    case 'mismatch': return { 'if-match': '"00000000000000000000000000000000"' }
    case 'size': return { 'x-amz-if-match-size': String(Buffer.byteLength(body ?? 'one')) }
    case 'wrong-size': return { 'x-amz-if-match-size': '77' }
  }
}

/** What a conditional write answers instead of 200; null when it goes through. Markers are no objects to it. */
function refusedPut(condition: Condition, current: Version | undefined): string | null {
  const exists = current !== undefined && current.body !== null
  if (condition === 'absent') return exists ? '412 PreconditionFailed' : null
  if (condition !== 'match' && condition !== 'mismatch') return null
  if (!exists) return '404 NoSuchKey'
  return condition === 'match' ? null : '412 PreconditionFailed'
}

/** The same for a delete of `version`: the current one, or the one that was named. */
function refusedDelete(condition: Condition, version: Version | undefined): string | null {
  const needsObject = condition === 'match' || condition === 'any' || condition === 'mismatch'
  if (version === undefined) return needsObject ? '404 NoSuchKey' : null
  if (version.body === null) return needsObject ? '412 PreconditionFailed' : null
  return condition === 'mismatch' || condition === 'wrong-size' ? '412 PreconditionFailed' : null
}

function command(text: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return { check: () => true, run, toString: () => text }
}

const put = (key: string, body: string, condition: Condition): Command => command(`put ${key} '${body}' if ${condition}`, async (model, real) => {
  const current = versionsOf(model, key)[0]
  const refused = refusedPut(condition, current)
  const answer = await real.send('PUT', path(key), { body, headers: conditionHeaders(condition, current?.body, real) })
  same(`put ${key}`, real.outcome(answer), refused ?? '200')
  if (refused !== null) return
  same(`put ${key}, etag`, answer.headers['etag'], real.etag(body))
  add(model, key, body, newId(model, answer, `put ${key}`))
})

const remove = (key: string, condition: Condition): Command => command(`delete ${key} if ${condition}`, async (model, real) => {
  const versions = versionsOf(model, key)
  const refused = refusedDelete(condition, versions[0])
  const answer = await real.send('DELETE', path(key), { headers: conditionHeaders(condition, versions[0]?.body, real) })
  same(`delete ${key}`, real.outcome(answer), refused ?? '204')
  if (refused !== null) return
  same(`delete ${key}, marker`, answer.headers['x-amz-delete-marker'] ?? 'none', model.versioning === 'off' ? 'none' : 'true')
  if (model.versioning === 'off') versions.shift()
  else add(model, key, null, newId(model, answer, `delete ${key}`))
})

/** A version id that there is, or was, or never could be. */
function pick(model: Model, choice: number): string {
  const known = ['null', ...model.ids.filter((id) => id !== 'null')]
  return known[choice % known.length] ?? 'null'
}

const removeVersion = (key: string, choice: number, condition: Condition): Command => command(`delete ${key} version #${choice} if ${condition}`, async (model, real) => {
  const versions = versionsOf(model, key)
  const id = pick(model, choice)
  const named = versions.find((version) => version.id === id)
  const refused = refusedDelete(condition, named)
  const answer = await real.send('DELETE', `${path(key)}?versionId=${id}`, { headers: conditionHeaders(condition, named?.body, real) })
  same(`delete ${key} ${id}`, real.outcome(answer), refused ?? '204')
  if (refused !== null) return
  same(`delete ${key} ${id}, marker`, answer.headers['x-amz-delete-marker'] ?? 'none', named?.body === null ? 'true' : 'none')
  if (named !== undefined) same(`delete ${key} ${id}, id`, answer.headers['x-amz-version-id'] ?? 'none', model.versioning === 'off' ? 'none' : id)
  dropVersion(versions, id)
})

/** GET and HEAD of the current version, or of one by id. */
const read = (method: 'GET' | 'HEAD', key: string, choice: number | null): Command => command(`${method} ${key}${choice === null ? '' : ` version #${choice}`}`, async (model, real) => {
  const versions = versionsOf(model, key)
  const id = choice === null ? null : pick(model, choice)
  const found = id === null ? versions[0] : versions.find((version) => version.id === id)
  const answer = await real.send(method, id === null ? path(key) : `${path(key)}?versionId=${id}`)
  const what = `${method} ${key} ${id ?? 'current'}`
  const missing = id === null ? '404 NoSuchKey' : found === undefined ? '404 NoSuchVersion' : '405 MethodNotAllowed'
  const expected = found === undefined || found.body === null ? missing : '200'
  same(what, real.outcome(answer), method === 'HEAD' ? expected.slice(0, 3) : expected)
  if (found === undefined) return
  same(`${what}, marker`, answer.headers['x-amz-delete-marker'] ?? 'none', found.body === null ? 'true' : 'none')
  same(`${what}, id`, answer.headers['x-amz-version-id'] ?? 'none', model.versioning === 'off' ? 'none' : found.id)
  if (found.body === null) return
  same(`${what}, etag`, answer.headers['etag'], real.etag(found.body))
  same(`${what}, length`, answer.headers['content-length'], String(Buffer.byteLength(found.body)))
  if (method === 'GET') same(`${what}, body`, answer.text, found.body)
})

const copy = (from: string, choice: number | null, to: string): Command => command(`copy ${from}${choice === null ? '' : ` version #${choice}`} to ${to}`, async (model, real) => {
  const versions = versionsOf(model, from)
  const id = choice === null ? null : pick(model, choice)
  const source = id === null ? versions[0] : versions.find((version) => version.id === id)
  const headers = { 'x-amz-copy-source': `BUCKET/${path(from)}${id === null ? '' : `?versionId=${id}`}`, 'x-amz-metadata-directive': 'REPLACE' }
  const answer = await real.send('PUT', path(to), { headers })
  const missing = id === null ? '404 NoSuchKey' : source === undefined ? '404 NoSuchVersion' : '400 InvalidRequest'
  same(`copy ${from} ${id ?? 'current'}`, real.outcome(answer), source === undefined || source.body === null ? missing : '200')
  if (source === undefined || source.body === null) return
  same('copy, source id', answer.headers['x-amz-copy-source-version-id'] ?? 'none', model.versioning === 'off' ? 'none' : source.id)
  add(model, to, source.body, newId(model, answer, `copy to ${to}`))
})

const versioning = (status: 'Enabled' | 'Suspended'): Command => command(`versioning ${status}`, async (model, real) => {
  await real.setVersioning(status)
  model.versioning = status
})

const list = (pageSize: number): Command => command(`list by ${pageSize}`, async (model, real) => {
  const names = [...model.keys.keys()].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const rows = names.flatMap((key) => versionsOf(model, key).map((version, index) =>
    `${key} ${version.body === null ? 'marker' : `version ${real.etag(version.body)}`} ${version.id}${index === 0 ? ' latest' : ''}`))
  same('versions', await real.listVersions(pageSize), rows)
  const objects = names.flatMap((key) => {
    const body = versionsOf(model, key)[0]?.body
    return body === null || body === undefined ? [] : [`${key} ${real.etag(body)}`]
  })
  same('objects', await real.listObjects(), objects)
})

/** Random sequences of commands over three keys; the last one always compares the whole bucket. */
export function commandSequences(): fc.Arbitrary<Iterable<Command>> {
  const key = fc.constantFrom(...keyNames)
  const body = fc.constantFrom(...bodies)
  const choice = fc.nat(30)
  const some = <Value>(value: fc.Arbitrary<Value>, weight: number): { arbitrary: fc.Arbitrary<Value>; weight: number } => ({ arbitrary: value, weight })
  const often = (condition: readonly Condition[]): fc.Arbitrary<Condition> => fc.oneof(some(fc.constant<Condition>('none'), 2), some(fc.constantFrom(...condition), 1))
  const putCondition = often(['absent', 'match', 'mismatch'])
  const deleteCondition = often(['match', 'any', 'mismatch', 'size', 'wrong-size'])
  const all: fc.Arbitrary<Command>[] = [
    fc.tuple(key, body, putCondition).map(([name, text, condition]) => put(name, text, condition)),
    fc.tuple(key, body, putCondition).map(([name, text, condition]) => put(name, text, condition)),
    fc.tuple(key, deleteCondition).map(([name, condition]) => remove(name, condition)),
    fc.tuple(key, choice, deleteCondition).map(([name, which, condition]) => removeVersion(name, which, condition)),
    fc.tuple(key, choice, deleteCondition).map(([name, which, condition]) => removeVersion(name, which, condition)),
    fc.tuple(fc.constantFrom('GET' as const, 'HEAD' as const), key, fc.option(choice)).map(([method, name, which]) => read(method, name, which)),
    fc.tuple(key, fc.option(choice), key).map(([from, which, to]) => copy(from, which, to)),
    fc.constantFrom('Enabled' as const, 'Enabled' as const, 'Suspended' as const).map(versioning),
    fc.constantFrom(1, 2, 1000).map(list),
  ]
  return fc.commands(all, { maxCommands: 24, size: 'max' }).map((commands) => appended(commands, list(1000)))
}

/** The commands and one more at the end, still printed as fast-check prints them. */
function appended(commands: Iterable<Command>, last: Command): Iterable<Command> {
  return {
    * [Symbol.iterator]() {
      yield* commands
      yield last
    },
    toString: () => `${String(commands)},${String(last)}`,
  } as Iterable<Command>
}
