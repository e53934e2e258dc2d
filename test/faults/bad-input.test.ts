import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testShortly } from '../support/promise.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { runBatch, type Attack } from './hostile/fuzz.ts'
import { openWire, type Wire } from './hostile/wire.ts'
import * as badInput from './promises/bad-input.ts'

// CI takes the time for a hundred thousand.
testShortly(badInput, { seconds: 4, patientSeconds: 60, casesMin: 501 })

interface Found {
  /** What it did when it was found. */
  readonly found: string
  readonly attacks: readonly Attack[]
  /** What each is answered now, where that is certain. */
  readonly answers: readonly string[]
  readonly times: number
}

const corpus = new URL('corpus/', import.meta.url)
let server: TestServer
let wire: Wire

beforeAll(async () => {
  server = await startServer()
  wire = openWire(server.port, 8)
})
afterAll(async () => {
  wire.close()
  await server.remove()
})

test.each(readdirSync(corpus))('what was found once does no harm again: %s', async (name) => {
  const { attacks, answers, times } = JSON.parse(readFileSync(new URL(name, corpus), 'utf8')) as Found
  const all = Array.from({ length: times }, () => attacks).flat()
  const { violations, outcomes } = await runBatch(server, wire, all, 1, 4)
  expect(violations).toEqual([])
  expect(await badInput.afterwards(server)).toEqual([])
  for (const answer of answers) expect([...outcomes.keys()]).toContain(answer)
})
