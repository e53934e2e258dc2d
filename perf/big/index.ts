import type { Big } from './bench.ts'
import { churn } from './churn.ts'
import { connections } from './connections.ts'
import { growth } from './growth.ts'
import { memory } from './memory.ts'
import { multipart } from './multipart.ts'
import { overload } from './overload.ts'
import { start } from './start.ts'
import { tenants } from './tenants.ts'

/** The scenarios that take minutes, disk and memory: `node perf/big/run.ts NAME`. */
export const bigScenarios: readonly Big[] = [growth, start, multipart, churn, connections, overload, tenants, memory]
