import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startBalancer } from '../support/balancer.ts'
import { newWorld, startLoad } from '../support/load.ts'
import { startReplicas } from '../support/replicas.ts'
import { newBucket } from '../support/s3.ts'
import { brokenPromises } from '../support/verify.ts'

const requestsMin = 20_000
const restartsMin = 4

test(`two replicas that are restarted in turn under load: none of ${requestsMin} requests fails, and no write is lost`, async () => {
  const set = await startReplicas(2, { HOLDFAST_DRAIN_DELAY_SECONDS: '2', HOLDFAST_SWEEP_GRACE_SECONDS: '2', HOLDFAST_SWEEP_INTERVAL_SECONDS: '1' })
  const [first, second] = set.servers
  if (first === undefined || second === undefined) throw new Error('two replicas were asked for')
  const balancer = await startBalancer(set.servers)
  try {
    const world = newWorld({ ...first, url: `http://127.0.0.1:${balancer.port}` }, await newBucket(first.client), await newBucket(second.client, 'Enabled'))
    const load = startLoad(world, { clients: 48 })
    const sent = (): number => [...world.answers.values()].reduce((sum, count) => sum + count, 0)
    let restarts = 0
    while (sent() < requestsMin || restarts < restartsMin) {
      for (const server of [first, second]) {
        await sleep(1000)
        expect(await server.stop()).toBe(0)
        await server.restart()
        restarts += 1
        await expect.poll(() => balancer.ready(), { timeout: 20_000 }).toBe(2)
      }
    }
    await load.stop()
    console.log(`rolling restart: ${restarts} restarts, ${sent()} requests, ${world.ledger.acknowledged} acknowledged writes, ${JSON.stringify(Object.fromEntries(world.answers))}`)
    expect(world.wrong).toEqual([])
    expect([...world.answers.keys()].filter((status) => status === 'lost' || Number(status) >= 500)).toEqual([])
    expect(await brokenPromises(world)).toEqual([])
    for (const server of set.servers) expect(server.output().split('\n').filter((line) => line.includes('"level":"error"'))).toEqual([])
  } finally {
    await balancer.close()
    await set.remove()
  }
})
