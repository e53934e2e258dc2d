import * as strongConsistency from '../faults/promises/strong-consistency.ts'
import { testShortly } from '../support/promise.ts'

testShortly(strongConsistency)
