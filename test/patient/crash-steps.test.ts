import { testShortly } from '../support/promise.ts'
import * as crashSteps from '../faults/promises/crash-steps.ts'

testShortly(crashSteps, { seconds: 6, patientSeconds: 12 })
