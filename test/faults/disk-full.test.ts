import { testShortly } from '../support/promise.ts'
import * as fullDisk from './promises/full-disk.ts'

testShortly(fullDisk, { seconds: 1 })
