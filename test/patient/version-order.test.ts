import { clockMissing } from '../faults/clock/clock.ts'
import * as versionOrder from '../faults/promises/version-order.ts'
import { testShortly } from '../support/promise.ts'

testShortly(versionOrder, { missing: clockMissing })
