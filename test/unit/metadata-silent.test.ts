import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openCommitter } from '../../src/metadata/postgres/committer.ts'
import { isConnectionLoss, openLine, readSetup, send, type Line } from '../../src/metadata/postgres/connect.ts'
import { roundTrip } from '../../src/metadata/postgres/round-trip.ts'
import type { PutCommand } from '../../src/metadata/store.ts'
import { createMeters } from '../../src/telemetry/metrics.ts'
import { contentOf, freshExtent, makeBucket, startTestPostgres, testAccountId, type TestPostgres } from '../support/postgres.ts'

/** A database that takes connections and then says nothing: its machine hangs, or what stands before it has lost it. */

let postgres: TestPostgres
let folder: string
let line: Line
let closers: (() => Promise<unknown>)[]

beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'holdfast-silent-'))
  closers = []
})
afterEach(async () => {
  for (const close of closers) await close()
  await rm(folder, { recursive: true, force: true })
})

interface Place {
  /** Connections so far. */
  taken(): number
  /** Those that the other side has not given up wholly: it may have said that it sends no more, and wait for ours to be said. */
  held(): number
  close(): Promise<void>
}

/** Takes the place of a PostgreSQL that was there before. */
async function standIn(serve: (socket: Socket) => void): Promise<Place> {
  const file = path.join(folder, '.s.PGSQL.5432')
  const open = new Set<Socket>()
  let taken = 0
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    taken += 1
    open.add(socket)
    socket.on('error', () => undefined).on('close', () => open.delete(socket)).resume()
    serve(socket)
  })
  rmSync(file, { force: true })
  await new Promise<void>((resolve) => server.listen(file, resolve))
  const close = async (): Promise<void> => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  closers.push(close)
  const held = (): number => {
    // A write to who is gone fails, and the connection with it.
    for (const socket of open) if (socket.readableEnded) socket.write('\0')
    return open.size
  }
  return { taken: () => taken, held, close }
}

const authenticationOk = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
const silent = (): void => undefined
const greets = (socket: Socket): void => void socket.once('data', () => socket.write(Buffer.concat([authenticationOk, readyForQuery])))

/** In front of the real one; deaf and dumb once `halted` says so, which sees what comes. */
const forwards = (halted: (bytes?: Buffer) => boolean) => (socket: Socket): void => {
  const upstream = connect(path.join(postgres.connection.host, '.s.PGSQL.5432'))
  socket.on('data', (bytes: Buffer) => halted(bytes) || upstream.write(bytes))
  upstream.on('data', (bytes: Buffer) => halted() || socket.write(bytes)).on('error', () => undefined)
  socket.on('close', () => upstream.destroy())
}

const patience = { connectMs: 500, setupMs: 500, answerMs: 500, goodbyeMs: 100 }

function open(pipeline: boolean, onConnect?: (client: pg.Client) => Promise<void>): Line {
  const opened = openLine({
    connection: { ...postgres.connection, host: folder }, setup: readSetup, pipeline, ...onConnect === undefined ? {} : { onConnect }, log: () => undefined, waitMs: 300, patience,
  })
  closers.unshift(() => opened.close())
  return opened
}

const refused = { code: 'ServiceUnavailable', headers: { 'retry-after': '1' } }
const one = { name: 'one', text: 'SELECT 1', values: [] }

describe.each([
  ['answers nothing', silent],
  ['greets and then answers nothing', greets],
])('a database that %s', (_, serve) => {
  describe.each([[true], [false]])('with pipelining: %s', (pipeline) => {
    test('is refused to callers, tried again, and once it answers everything works', async () => {
      const place = await standIn(serve)
      line = open(pipeline)
      await expect(line.client()).rejects.toMatchObject(refused)
      await expect(line.query(one)).rejects.toMatchObject(refused)
      await expect.poll(place.taken, { timeout: 10_000 }).toBeGreaterThan(1)
      await expect.poll(place.held, { timeout: 10_000 }).toBeLessThanOrEqual(1)
      await place.close()
      await standIn(forwards(() => false))
      await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    })

    test('holds up no close', async () => {
      const place = await standIn(serve)
      line = open(pipeline)
      await expect.poll(place.taken, { timeout: 10_000 }).toBeGreaterThan(0)
      await line.close()
      const taken = place.taken()
      await expect(line.client()).rejects.toMatchObject(refused)
      await expect.poll(place.held, { timeout: 10_000 }).toBe(0)
      expect(place.taken()).toBe(taken)
    })
  })
})

describe.each([[true], [false]])('a database that falls silent later, with pipelining: %s', (pipeline) => {
  test.each([['a statement', 1], ['nothing', 0]])('holds up no close while %s is under way', async (_, count) => {
    let halted = false
    const place = await standIn(forwards(() => halted))
    line = open(pipeline)
    await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    halted = true
    const lost = Array.from({ length: count }, () => line.query(one).catch((error: unknown) => error))
    await line.close()
    for (const error of await Promise.all(lost)) expect(error).toMatchObject(refused)
    await expect.poll(place.held, { timeout: 10_000 }).toBe(0)
  })

  test('fails what is asked over the connection, and nothing that comes after', async () => {
    let halted = false
    const place = await standIn(forwards(() => halted))
    line = open(pipeline)
    await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    const taken = place.taken()
    const client = await line.client()
    halted = true
    // Each kind of line has its own kind of question.
    const error: unknown = await (pipeline ? send(client, one) : roundTrip(client, [one])).catch((caught: unknown) => caught)
    expect(isConnectionLoss(error)).toBe(true)
    halted = false
    await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    expect(place.taken()).toBeGreaterThan(taken)
  })

  test('is not given up while nothing is asked, nor while it answers', async () => {
    const place = await standIn(forwards(() => false))
    line = open(pipeline)
    await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    const taken = place.taken()
    await sleep(1200)
    for (let count = 0; count < 3; count++) expect(await line.query({ name: 'long', text: `SELECT pg_sleep(0.3)::text, '1'`, values: [] })).toEqual([['', '1']])
    expect(place.taken()).toBe(taken)
  })

  test('is given up also where a new session is being prepared', async () => {
    let halted = false
    let times = 0
    await standIn(forwards(() => halted))
    line = open(pipeline, async (client) => {
      times += 1
      if (times === 1) halted = true
      await send(client, one)
    })
    await expect.poll(() => times, { timeout: 10_000 }).toBe(1)
    await sleep(50)
    // What was said meanwhile is lost: the first session is never answered.
    halted = false
    await expect.poll(() => line.query(one).catch(() => null), { timeout: 10_000 }).toEqual([['1']])
    expect(times).toBeGreaterThan(1)
  })
})

test('a group that cannot be rolled back gives its answer, and its lane goes on', async () => {
  const store = await postgres.openStore()
  const bucketId = await makeBucket(store, 'off')
  await store.close()
  let rollbacks = 0
  await standIn((socket) => {
    let halted = false
    forwards((bytes) => {
      if (!halted && bytes?.includes('ROLLBACK') === true) {
        halted = true
        rollbacks += 1
      }
      return halted
    })(socket)
  })
  const committer = openCommitter({ connection: { ...postgres.connection, host: folder }, log: () => undefined, now: Date.now, waitMs: 5000, meters: createMeters(), patience })
  closers.unshift(() => committer.close())
  const put = (key: string): PutCommand => ({ kind: 'put', bucketId, key, ownerAccountId: testAccountId, when: {}, content: contentOf([freshExtent()]) })
  // Refused by the database, so that the transaction has to be ended.
  await expect(committer.commit(put('a\0b'))).rejects.toMatchObject({ code: 'InvalidArgument' })
  expect(rollbacks).toBe(1)
  // The same lane, over a new connection.
  for (const key of ['a', 'b', 'a\0b', 'c']) {
    const answer: unknown = await committer.commit(put(key)).catch((error: unknown) => error)
    expect(answer).toMatchObject(key.includes('\0') ? { code: 'InvalidArgument' } : { ok: true })
  }
})
