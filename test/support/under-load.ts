import { setTimeout as sleep } from 'node:timers/promises'
import { startLoad, type LoadOptions, type World } from './load.ts'
import { signedRequest, type Endpoint } from './raw.ts'

/** What checks of promises share that run without a test runner. */

/** Waits until it is so. Throws when it is not within the time, which is long: a busy machine is no violation. */
export async function until(what: string, is: () => Promise<boolean> | boolean, limitMs = 60_000, everyMs = 20): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await is())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`)
    await sleep(everyMs)
  }
}

export const acknowledgesMore = (world: World, count = 1): Promise<void> => {
  const before = world.ledger.acknowledged
  return until('the server acknowledges writes', () => world.ledger.acknowledged >= before + count)
}

/** Does harm while clients do everything that clients do. */
export async function underLoad(world: World, harm: () => Promise<void>, options?: LoadOptions): Promise<void> {
  const load = startLoad(world, options)
  try {
    await acknowledgesMore(world)
    await harm()
  } finally {
    await load.stop()
  }
}

/** Whether the server answers a signed request with 200. */
export function serves(server: Endpoint): Promise<boolean> {
  return signedRequest({ server, path: '/' }).then(({ status }) => status === 200, () => false)
}

/** Waits until every connection to the database is back: each comes by itself, and one kind of request needs one, another kind another. */
export async function isBack(server: Endpoint, buckets: readonly string[]): Promise<void> {
  for (const path of ['/', ...buckets.flatMap((bucket) => [`/${bucket}?list-type=2`, `/${bucket}?versions`, `/${bucket}?uploads`, `/${bucket}/no-such-key`])]) {
    await until(`${path} is answered`, async () => (await signedRequest({ server, path })).status < 500, 60_000, 100)
  }
}
