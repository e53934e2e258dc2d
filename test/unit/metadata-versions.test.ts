import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Extent, VersionContent } from '../../src/domain/model.ts'
import type { Command, DeleteResult, MetadataStore, PutResult, PutTagsResult } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'
import { emptyModel, modelDelete, modelPut, modelVersion, type Model } from '../support/version-model.ts'

let postgres: TestPostgres
let store: MetadataStore

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore()
})
afterAll(() => postgres.stop())

const key = fc.constantFrom('a', 'a/b', 'é')
/** Which version a command names: none, the null one, one that never was, or the nth that there is. */
const which = fc.oneof(
  { weight: 3, arbitrary: fc.constant('current' as const) }, fc.constant('null' as const), fc.constant('unknown' as const),
  { weight: 3, arbitrary: fc.nat({ max: 4 }) },
)
const etagChoice = fc.constantFrom(undefined, '*' as const, 'right' as const, 'wrong' as const)

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), key, ifMatch: etagChoice, ifNoneMatch: fc.constantFrom(undefined, undefined, '*' as const, 'right' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('copy' as const), key, from: key, which }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('delete' as const), key, which, ifMatch: etagChoice }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('put-tags' as const), key, which }) },
)
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

const round = fc.record({
  versioning: fc.constantFrom(undefined, undefined, 'enabled' as const, 'suspended' as const),
  steps: fc.array(step, { minLength: 1, maxLength: 8 }),
  /** Together: all commands at once, so that they share a transaction and see each other's effect in order. */
  together: fc.boolean(),
})

type Round = typeof round extends fc.Arbitrary<infer Value> ? Value : never

/** Blobs that some version named at some time. */
const everPut = new Set<string>()
const unknownId = '0123456789abcdef0123456789abcdef'

function namedId(model: Model, keyName: string, choice: Step extends { which: infer Which } ? Which : string | number): string | undefined {
  if (choice === 'current') return undefined
  if (choice === 'null') return 'null'
  if (choice === 'unknown') return unknownId
  return model.keys.get(keyName)?.[choice as number]?.versionId ?? unknownId
}

const etagOf = (model: Model, keyName: string, versionId: string | undefined, choice: '*' | 'right' | 'wrong'): string => {
  if (choice === '*') return '*'
  return (choice === 'right' ? modelVersion(model, keyName, versionId)?.content?.etag : undefined) ?? 'ffffffffffffffffffffffffffffffff'
}

interface Prepared {
  readonly command: Command
  readonly check: (model: Model, result: unknown) => void
}

/** The command, and what the model says to its result; the model is only as far as the commands before, so checks run in order. */
function prepare(bucketId: number, before: Model, one: Step): Prepared {
  switch (one.kind) {
    case 'put': return preparePut(bucketId, one.key, contentOf([freshExtent()]), {
      ...(one.ifMatch === undefined ? {} : { ifMatch: etagOf(before, one.key, undefined, one.ifMatch) }),
      ...(one.ifNoneMatch === undefined ? {} : { ifNoneMatch: etagOf(before, one.key, undefined, one.ifNoneMatch) }),
    })
    case 'copy': return preparePutTags(bucketId, one.from, namedId(before, one.from, one.which))
    case 'put-tags': return preparePutTags(bucketId, one.key, namedId(before, one.key, one.which))
    case 'delete': return prepareDelete(bucketId, before, one.key, namedId(before, one.key, one.which), one.ifMatch)
  }
}

function preparePut(bucketId: number, keyName: string, content: VersionContent, when: { ifMatch?: string; ifNoneMatch?: string }, sharedFrom?: { bucketId: number; key: string; seq: number }): Prepared {
  return {
    command: { kind: 'put', bucketId, key: keyName, ownerAccountId: testAccountId, when, content, ...(sharedFrom === undefined ? {} : { sharedFrom }) },
    check: (model, answer) => {
      const result = answer as PutResult
      const current = modelVersion(model, keyName, undefined)?.content?.etag
      const expected = when.ifNoneMatch !== undefined && current !== undefined && (when.ifNoneMatch === '*' || when.ifNoneMatch === current) ? 'PreconditionFailed'
        : when.ifMatch !== undefined && current === undefined ? 'NoSuchKey'
        : when.ifMatch !== undefined && when.ifMatch !== '*' && when.ifMatch !== current ? 'PreconditionFailed' : null
      if (expected !== null) return expect(result).toMatchObject({ ok: false, code: expected })
      expect(result).toMatchObject({ ok: true, versioning: model.versioning })
      if (!result.ok) return
      expect(result.version.versionId === 'null').toBe(model.versioning !== 'enabled')
      for (const { blob } of content.manifest) everPut.add(blob)
      modelPut(model, keyName, content, result.version.versionId)
    },
  }
}

function preparePutTags(bucketId: number, keyName: string, versionId: string | undefined): Prepared {
  const tags = [{ key: 'k', value: String(Math.random()) }]
  return {
    command: { kind: 'put-tags', bucketId, key: keyName, tags, ...(versionId === undefined ? {} : { versionId }) },
    check: (model, answer) => {
      const result = answer as PutTagsResult
      const version = modelVersion(model, keyName, versionId)
      if (version?.content) {
        expect(result).toMatchObject({ ok: true, versionId: version.versionId })
        version.content = { ...version.content, tags }
      } else {
        expect(result).toMatchObject({ ok: false, code: versionId === undefined ? 'NoSuchKey' : version ? 'MethodNotAllowed' : 'NoSuchVersion' })
      }
    },
  }
}

function prepareDelete(bucketId: number, before: Model, keyName: string, versionId: string | undefined, ifMatchChoice: '*' | 'right' | 'wrong' | undefined): Prepared {
  const when = ifMatchChoice === undefined ? {} : { ifMatch: etagOf(before, keyName, versionId, ifMatchChoice) }
  return {
    command: { kind: 'delete', bucketId, key: keyName, ownerAccountId: testAccountId, when, ...(versionId === undefined ? {} : { versionId }) },
    check: (model, answer) => {
      const result = answer as DeleteResult
      const version = modelVersion(model, keyName, versionId)
      if (when.ifMatch !== undefined && !(version?.content && (when.ifMatch === '*' || when.ifMatch === version.content.etag))) {
        return expect(result).toMatchObject({ ok: false, code: version ? 'PreconditionFailed' : 'NoSuchKey' })
      }
      expect(result.ok).toBe(true)
      if (!result.ok) return
      if (versionId !== undefined) expect(result).toMatchObject({ versionId, deleteMarker: version !== undefined && version.content === null })
      else if (model.versioning === 'off') expect(result).toMatchObject({ versionId: null, deleteMarker: false })
      else expect(result.deleteMarker).toBe(true)
      modelDelete(model, keyName, versionId, result.versionId)
    },
  }
}

async function copy(bucketId: number, model: Model, one: Step & { kind: 'copy' }): Promise<void> {
  const source = await store.version(bucketId, one.from, namedId(model, one.from, one.which))
  if (source === null || source.isDeleteMarker) return
  const shared = preparePut(bucketId, one.key, contentOf(source.manifest), {}, { bucketId, key: one.from, seq: source.seq })
  shared.check(model, await commit(shared.command))
}

const commit = (command: Command): Promise<unknown> => (store.commit as (command: Command) => Promise<unknown>)(command)

async function runRound(bucketId: number, model: Model, { versioning, steps, together }: Round): Promise<void> {
  if (versioning !== undefined) {
    await store.setVersioning(bucketId, versioning)
    model.versioning = versioning
  }
  if (together) {
    const prepared = steps.map((one) => prepare(bucketId, model, one))
    const results = await Promise.all(prepared.map(({ command }) => commit(command)))
    for (const [index, { check }] of prepared.entries()) check(model, results[index])
    return
  }
  for (const one of steps) {
    if (one.kind === 'copy') await copy(bucketId, model, one)
    else {
      const { command, check } = prepare(bucketId, model, one)
      check(model, await commit(command))
    }
  }
}

async function compareAll(bucketId: number, model: Model): Promise<void> {
  const listed = await store.listVersions(bucketId, { prefix: '', delimiter: '', after: '', limit: 1000 })
  const expected = [...model.keys].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .flatMap(([name, versions]) => versions.map((version, index) => ({ key: name, versionId: version.versionId, isLatest: index === 0, isDeleteMarker: version.content === null, etag: version.content?.etag ?? '' })))
  expect(listed.rows.map(({ key: name, versionId, isLatest, isDeleteMarker, etag }) => ({ key: name, versionId, isLatest, isDeleteMarker, etag }))).toEqual(expected)
  const objects = await store.listObjects(bucketId, { prefix: '', delimiter: '', after: '', limit: 1000 })
  expect(objects.rows.map(({ key: name, etag }) => ({ key: name, etag }))).toEqual(expected.filter((version) => version.isLatest && !version.isDeleteMarker).map(({ key: name, etag }) => ({ key: name, etag })))
  for (const [name, versions] of model.keys) {
    expect((await store.version(bucketId, name))?.versionId).toBe(versions[0]?.versionId)
    for (const { versionId, content } of versions) {
      const found = await store.version(bucketId, name, versionId)
      expect(found?.isDeleteMarker).toBe(content === null)
      if (content !== null) expect(found).toMatchObject({ etag: content.etag, manifest: content.manifest, tags: content.tags, size: content.size })
    }
  }
  const all = [...model.keys.values()].flat()
  expect(await store.usage(bucketId)).toEqual({
    objects: [...model.keys.values()].filter((versions) => versions[0]?.content).length,
    versions: all.length,
    bytes: all.reduce((sum, { content }) => sum + (content?.size ?? 0), 0),
  })
}

/** After the sweep, the blobs that are given up are exactly those that no version names. */
async function compareBlobs(models: readonly Model[]): Promise<void> {
  const live = new Set(models.flatMap((model) => [...model.keys.values()].flat()).flatMap(({ content }) => content?.manifest ?? []).map((extent: Extent) => extent.blob))
  const dead = new Set<string>()
  for (;;) {
    const released = await store.released(-1000, 1000)
    if (released.length === 0) break
    for (const { blob } of released) dead.add(blob)
    await store.forgetReleased(released.map(({ id }) => id))
  }
  expect([...dead].filter((blob) => live.has(blob))).toEqual([])
  expect([...everPut].filter((blob) => !live.has(blob) && !dead.has(blob))).toEqual([])
}

describe('versions', () => {
  test('any sequence of puts, copies, deletes and tags leaves what S3 says, in all states of versioning', async () => {
    const models: Model[] = []
    await fc.assert(fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 6 }), async (rounds) => {
      const bucketId = await makeBucket(store)
      const model = emptyModel()
      models.push(model)
      for (const one of rounds) await runRound(bucketId, model, one)
      await compareAll(bucketId, model)
    }), { numRuns: 300 })
    await compareBlobs(models)
  })
})
