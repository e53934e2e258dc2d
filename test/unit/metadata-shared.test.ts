import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MetadataStore } from '../../src/metadata/store.ts'
import { startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

/** Stores of several processes over one database: what one has answered, all others know. */

let postgres: TestPostgres
let stores: MetadataStore[]

beforeAll(async () => {
  postgres = await startTestPostgres()
  stores = await Promise.all([1, 2, 3].map(() => postgres.openStore()))
})
afterAll(() => postgres.stop())

const storeOf = (turn: number): MetadataStore => stores[turn % stores.length] as MetadataStore

/** Requests that keep what is remembered of these buckets in use, so that a change meets look-ups at every moment of theirs. */
function startReaders(names: readonly string[]): { stop(): Promise<void> } {
  let stopped = false
  const readers = stores.flatMap((store) => names.map(async (name) => {
    while (!stopped) {
      await store.catchUp()
      await store.bucket(name)
    }
  }))
  return {
    async stop() {
      stopped = true
      await Promise.all(readers)
    },
  }
}

test('a bucket that is made, changed, deleted and made again by one is so for the others at once', async () => {
  const names = ['one-of-all', 'two-of-all', 'three-of-all']
  const readers = startReaders(names)
  const seen = async (turn: number, name: string) => {
    const store = storeOf(turn)
    await store.catchUp()
    return store.bucket(name)
  }
  await Promise.all(names.map(async (name, index) => {
    for (let turn = index; turn < index + 40; turn++) {
      const made = await storeOf(turn).createBucket({ name, accountId: testAccountId, region: 'us-east-1' })
      const id = made.ok ? made.bucket.id : 0
      expect(await seen(turn + 1, name)).toMatchObject({ id, versioning: 'off' })
      await storeOf(turn + 1).setVersioning(id, 'enabled')
      expect(await seen(turn + 2, name)).toMatchObject({ id, versioning: 'enabled' })
      expect(await seen(turn, name)).toMatchObject({ id, versioning: 'enabled' })
      expect(await storeOf(turn + 2).deleteBucket(id)).toEqual({ ok: true })
      expect(await seen(turn, name)).toBeNull()
      expect(await seen(turn + 1, name)).toBeNull()
    }
  }))
  await readers.stop()
})

test('who asks is told that what it read meanwhile may have been old, whosever look finds the change', async () => {
  const [here, there] = [storeOf(0), storeOf(1)]
  const made = await there.createBucket({ name: 'changed-meanwhile', accountId: testAccountId, region: 'us-east-1' })
  await here.catchUp()
  expect(await here.catchUp()).toBe(false)
  let bothUnderWay = false
  while (!bothUnderWay) {
    await there.setVersioning(made.ok ? made.bucket.id : 0, 'enabled')
    let answered = false
    const first = here.catchUp()?.finally(() => void (answered = true))
    // Calls of one turn share a look.
    for (let turns = 0; turns < 2; turns++) await turn()
    const second = here.catchUp()
    bothUnderWay = !answered
    expect(await first).toBe(true)
    if (bothUnderWay) expect(await second).toBe(true)
    else await second
  }
  expect(await here.catchUp()).toBe(false)
})

test('who is alone with the database asks nothing', async () => {
  const alone = await postgres.openStore({ shared: false })
  expect(alone.catchUp()).toBeNull()
  const made = await alone.createBucket({ name: 'of-one-alone', accountId: testAccountId, region: 'us-east-1' })
  expect(await alone.bucket('of-one-alone')).toMatchObject({ versioning: 'off' })
  await alone.setVersioning(made.ok ? made.bucket.id : 0, 'suspended')
  expect(await alone.bucket('of-one-alone')).toMatchObject({ versioning: 'suspended' })
})
