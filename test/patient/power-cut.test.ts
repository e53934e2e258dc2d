import { testShortly } from '../support/promise.ts'
import { journalMissing } from '../faults/journal/library.ts'
import * as powerCut from '../faults/promises/power-cut.ts'

testShortly(powerCut, { seconds: 3, patientSeconds: 20, casesMin: 51, missing: journalMissing })
