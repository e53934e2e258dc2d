import { expect, test } from 'vitest'
import { startExternalPostgres } from '../support/external-postgres.ts'
import { testShortly } from '../support/promise.ts'
import { startServer } from '../support/server.ts'
import * as databaseDeath from '../faults/promises/database-death.ts'

testShortly(databaseDeath, { seconds: 5 })

test('a server whose database is away stops when it is told to', async () => {
  const postgres = await startExternalPostgres()
  const server = await startServer({ env: { HOLDFAST_DATABASE_URL: postgres.url } })
  await postgres.stop('immediate')
  expect(await server.stop()).toBe(0)
  await server.remove()
  await postgres.remove()
})
