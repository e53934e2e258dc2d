import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/**
 * Projects by what a test needs. `s3` shares one real server, started once; `processes` runs the models of `s3` against two server
 * processes; `faults` starts, kills and restarts its own;
 * `patient` has what takes too long for every day, and runs by `npm run test:patient` only, as part of CI;
 * `clients` needs the tools of Debian's packages and runs by `npm run test:clients` only.
 * Files of `unit` and `s3` share a process, one after the other: to load the program and the SDK anew for each took a third of their time.
 */
export default defineConfig({
  test: {
    globalSetup: ['test/support/cluster.ts'],
    pool: 'forks',
    // On two cores the default is one file at a time, while most of them wait for servers, disks and timers.
    maxWorkers: Math.max(4, availableParallelism() - 1),
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'tidy', include: ['test/tidy.test.ts'] } },
      { extends: true, test: { name: 'unit', include: ['test/{unit,conformance}/**/*.test.ts'], isolate: false } },
      { extends: true, test: { name: 's3', include: ['test/s3/**/*.test.ts'], isolate: false, globalSetup: ['test/support/shared.ts'] } },
      {
        extends: true,
        test: {
          name: 'processes', include: ['test/s3/{versioning-model,versioning,conditions}.test.ts'], globalSetup: ['test/support/shared.ts'], setupFiles: ['test/support/spread.ts'],
          env: { HOLDFAST_TEST_SPREAD: '1', HOLDFAST_TEST_SEQUENCES: String(Math.ceil(Number(process.env['HOLDFAST_TEST_SEQUENCES'] ?? 320) / 4)) },
        },
      },
      { extends: true, test: { name: 'faults', include: ['test/faults/**/*.test.ts'], testTimeout: 240_000 } },
      { extends: true, test: { name: 'patient', include: ['test/patient/**/*.test.ts'], testTimeout: 900_000 } },
      { extends: true, test: { name: 'clients', include: ['test/clients/**/*.test.ts'], testTimeout: 600_000, maxWorkers: 1 } },
    ],
  },
})
