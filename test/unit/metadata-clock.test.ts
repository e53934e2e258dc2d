import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MetadataStore } from '../../src/metadata/store.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

const dayMs = 86_400_000
let postgres: TestPostgres
let store: MetadataStore
let now = Date.now()

beforeAll(async () => {
  postgres = await startTestPostgres()
  store = await postgres.openStore({ now: () => now })
})
afterAll(() => postgres.stop())

test.each([['back', -dayMs], ['ahead', dayMs]])('a clock that jumps a day %s with each write changes nothing of the order of versions', async (_, jumpMs) => {
  now = Date.now()
  const bucketId = await makeBucket(store, 'enabled')
  const written: string[] = []
  for (let count = 0; count < 8; count++) {
    const target = { bucketId, key: 'k', ownerAccountId: testAccountId, when: {} }
    // A marker among them is a version like the others.
    const result = count === 3 ? await store.commit({ ...target, kind: 'delete' }) : await store.commit({ ...target, kind: 'put', content: contentOf([freshExtent()]) })
    written.unshift(!result.ok ? 'refused' : 'version' in result ? result.version.versionId : result.versionId ?? '')
    now += jumpMs
  }
  const listed = async (): Promise<string[]> => {
    const found: string[] = []
    for (let marker: { after: string; afterVersionId?: string } | null = { after: '' }; marker !== null;) {
      const page = await store.listVersions(bucketId, { prefix: '', delimiter: '', limit: 3, ...marker })
      found.push(...page.rows.map(({ versionId }) => versionId))
      marker = page.truncated ? { after: page.next, ...(page.nextVersionId === null ? {} : { afterVersionId: page.nextVersionId }) } : null
    }
    return found
  }
  while (written.length > 0) {
    expect(await listed()).toEqual(written)
    expect((await store.version(bucketId, 'k'))?.versionId).toBe(written[0])
    // The one before it is current again.
    await store.commit({ kind: 'delete', bucketId, key: 'k', ownerAccountId: testAccountId, when: {}, versionId: written.shift() as string })
  }
  expect(await listed()).toEqual([])
})
