import * as strongConsistency from './promises/strong-consistency.ts'
import { testShortly } from '../support/promise.ts'

testShortly(strongConsistency)
