import { clockMissing } from './clock/clock.ts'
import * as versionOrder from './promises/version-order.ts'
import { testShortly } from '../support/promise.ts'

testShortly(versionOrder, { missing: clockMissing })
