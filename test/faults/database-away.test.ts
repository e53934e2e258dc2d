import { expect, test } from 'vitest'
import { startExternalPostgres } from '../support/external-postgres.ts'
import { startServer } from '../support/server.ts'
import { promise, run } from './promises/database-death.ts'

const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)

test(`${promise} (seed ${seed})`, async () => {
  const { cases, violations } = await run({ seed, seconds: 5, say: (text) => console.log(`database death: ${text}`) })
  expect(violations).toEqual([])
  expect(cases).toBeGreaterThan(0)
})

test('a server whose database is away stops when it is told to', async () => {
  const postgres = await startExternalPostgres()
  const server = await startServer({ env: { HOLDFAST_DATABASE_URL: postgres.url } })
  await postgres.stop('immediate')
  expect(await server.stop()).toBe(0)
  await server.remove()
  await postgres.remove()
})
