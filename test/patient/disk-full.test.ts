import { testShortly } from '../support/promise.ts'
import * as fullDisk from '../faults/promises/full-disk.ts'

testShortly(fullDisk, { seconds: 1 })
