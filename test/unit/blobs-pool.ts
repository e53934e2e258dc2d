import { afterAll } from 'vitest'
import { createPool, type WorkerPool } from '../../src/workers/pool.ts'

/** Threads for the rooms of a test file, one after the other: they take longer to start than most tests take. */
export function poolOfFile(): WorkerPool {
  const pool = createPool({ uploadThreads: 2 })
  afterAll(() => pool.close())
  return pool
}
