import * as completeOnce from './promises/complete-once.ts'
import { testShortly } from '../support/promise.ts'

testShortly(completeOnce)
