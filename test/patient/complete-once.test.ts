import * as completeOnce from '../faults/promises/complete-once.ts'
import { testShortly } from '../support/promise.ts'

testShortly(completeOnce)
