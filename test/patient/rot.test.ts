import { testShortly } from '../support/promise.ts'
import * as rot from '../faults/promises/rot.ts'

testShortly(rot, { seconds: 3, patientSeconds: 10 })
