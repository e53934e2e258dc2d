import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAdmission, isLimited, type Admission, type Who } from '../../src/gateway/admission.ts'
import { parseLimits } from '../../src/gateway/limits-document.ts'
import { createTurns } from '../../src/gateway/turns.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

function admissionOf(text: string, processes = 1): Admission {
  const admission = createAdmission({ file: null, processes, log: silent })
  admission.apply(parseLimits(text))
  return admission
}

const who = (more: Partial<Who> = {}): Who => ({ address: '10.0.0.1', accessKey: 'KEY', account: '111111111111', bucket: 'b', ...more })

/** How many of so many requests in one moment are taken. */
async function taken(admission: Admission, count: number, more: Partial<Who> = {}, bytes = 0): Promise<number> {
  const each = await Promise.all(Array.from({ length: count }, () => (admission.begin(who(more), bytes) ?? Promise.resolve(() => undefined)).then((done) => {
    done(0)
    return 1
  }, () => 0)))
  return each.filter((one) => one === 1).length
}

describe('rates', () => {
  test('of each name, and of a name with a limit of its own', async () => {
    const admission = admissionOf('limits: [{ by: bucket, requestsPerSecond: 0.01, burstSeconds: 500 }, { by: bucket, name: wide, requestsPerSecond: 0.01, burstSeconds: 2000 }]')
    expect(await taken(admission, 50)).toBe(5)
    expect(await taken(admission, 50, { bucket: 'other' })).toBe(5)
    expect(await taken(admission, 50, { bucket: 'wide' })).toBe(20)
    expect(await taken(admission, 50, { bucket: '' })).toBe(50)
    expect(admission.refused).toEqual({ 'bucket_requests': 45 + 45 + 30 })
    admission.close()
  })

  test('a request that one limit refuses takes nothing from the others', async () => {
    const admission = admissionOf('limits: [{ by: account, requestsPerSecond: 0.01, burstSeconds: 1000 }, { by: bucket, name: tight, requestsPerSecond: 0.01 }]')
    expect(await taken(admission, 100, { bucket: 'tight' })).toBe(1)
    expect(await taken(admission, 100)).toBe(9)
    admission.close()
  })

  test('bytes are owed when they were more than there were, of requests and of answers', async () => {
    const admission = admissionOf('limits: [{ by: accessKey, bytesPerSecond: 10, burstSeconds: 10 }]')
    expect(await taken(admission, 5, {}, 1000)).toBe(1)
    const done = await admission.begin(who({ accessKey: 'READER' }), 0)
    done?.(1000)
    await expect(admission.begin(who({ accessKey: 'READER' }), 0)).rejects.toMatchObject({ code: 'SlowDown', headers: { 'retry-after': '60' } })
    expect(admission.refused).toEqual({ 'access_key_bytes': 5 })
    admission.close()
  })

  test('of addresses are judged before it is known whose the request is, and processes share them', () => {
    const admission = admissionOf('limits: [{ by: address, requestsPerSecond: 0.01, burstSeconds: 1000 }]', 2)
    for (let turn = 0; turn < 5; turn++) admission.arrive('10.0.0.1', 0)
    try {
      admission.arrive('10.0.0.1', 0)
      expect.unreachable()
    } catch (error) {
      expect(isLimited(error as object)).toBe(true)
    }
    admission.arrive('10.0.0.2', 0)
    admission.close()
  })

  test('memory above the limit refuses everybody', () => {
    const admission = admissionOf('server: { memoryBytes: 67108864 }')
    // Node alone with the tests needs more.
    expect(() => admission.arrive('10.0.0.1', 0)).toThrow()
    expect(admission.refused).toEqual({ memory: 1 })
    admission.close()
  })

  test('an event loop that is late refuses, and takes again once it is not', async () => {
    const admission = admissionOf('server: { eventLoopDelayMs: 150 }')
    admission.arrive('10.0.0.1', 0)
    const until = performance.now() + 600
    while (performance.now() < until);
    expect(() => admission.arrive('10.0.0.1', 0)).toThrow()
    await expect.poll(() => {
      try {
        admission.arrive('10.0.0.1', 0)
        return 'taken'
      } catch {
        return 'refused'
      }
    }, { timeout: 30_000 }).toBe('taken')
    admission.close()
  })

  test('without limits nothing is asked', () => {
    const admission = createAdmission({ file: null, processes: 1, log: silent })
    expect([admission.active, admission.begin(who(), 0)]).toEqual([false, null])
    admission.apply(parseLimits('server: { concurrent: 3 }'))
    expect(admission.active).toBe(true)
    admission.apply(parseLimits(''))
    expect(admission.active).toBe(false)
    admission.close()
  })
})

describe('turns', () => {
  test('never more at once than allowed, everybody is served, and owners take turns', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.nat(4), { minLength: 1, maxLength: 120 }), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 }), async (owners, concurrent, each) => {
      const turns = createTurns({ concurrent, concurrentOf: () => each, queueMax: 1000, waitMsMax: 60_000 })
      const running = new Map<string, number>()
      let served = 0
      await Promise.all(owners.map(async (number) => {
        const owner = String(number)
        const turn = turns.begin(owner)
        if (turn === 'full') throw new Error('full')
        if (turn !== null) expect(await turn).toBe(true)
        running.set(owner, (running.get(owner) ?? 0) + 1)
        expect(running.get(owner)).toBeLessThanOrEqual(each)
        expect([...running.values()].reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(concurrent)
        await new Promise((resolve) => setImmediate(resolve))
        running.set(owner, (running.get(owner) ?? 0) - 1)
        served += 1
        turns.done(owner)
      }))
      expect([served, turns.waiting()]).toEqual([owners.length, 0])
    }), { numRuns: 100 })
  })

  test('one that asks for little waits for one turn of the others, however many those wait for', async () => {
    const turns = createTurns({ concurrent: 1, concurrentOf: () => null, queueMax: 1000, waitMsMax: 60_000 })
    const order: string[] = []
    const run = async (owner: string): Promise<void> => {
      await turns.begin(owner)
      order.push(owner)
      await new Promise((resolve) => setImmediate(resolve))
      turns.done(owner)
    }
    const noisy = Array.from({ length: 200 }, () => run('noisy'))
    await Promise.all([...noisy, run('quiet')])
    expect(order.indexOf('quiet')).toBeLessThanOrEqual(2)
  })

  test('who waits too long, or finds too many before it, is turned away', async () => {
    const turns = createTurns({ concurrent: 1, concurrentOf: () => null, queueMax: 1, waitMsMax: 50 })
    expect(turns.begin('a')).toBeNull()
    const waits = turns.begin('a')
    expect(turns.begin('a')).toBe('full')
    expect(await waits).toBe(false)
    turns.done('a')
    expect(turns.begin('a')).toBeNull()
  })
})

test.each([
  ['limits: [{ by: user, requestsPerSecond: 1 }]', 'limits[0].by'],
  ['limits: [{ by: bucket }]', 'limits nothing'],
  ['limits: [{ by: bucket, concurrent: 3 }]', 'is of accounts only'],
  ['limits: [{ by: bucket, requestsPerSecond: -1 }]', 'requestsPerSecond: -1 is not allowed'],
  ['limits: [{ by: bucket, name: 12, requestsPerSecond: 1 }]', 'must be a text'],
  ['limits: [{ by: bucket, requestPerSecond: 1 }]', 'requestPerSecond: there is no such field'],
  ['limits: [{ by: bucket, bytesPerSecond: 1 }, { by: bucket, requestsPerSecond: 1 }]', 'has a limit already'],
  ['server: { concurent: 1 }', 'there is no such field'],
  ['- 1', 'must be a mapping'],
])('%s is refused', (text, reason) => {
  expect(() => parseLimits(text)).toThrow(reason)
})
