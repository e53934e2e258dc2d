import { testShortly } from '../support/promise.ts'
import { journalMissing } from '../faults/journal/library.ts'
import * as powerCutAlone from '../faults/promises/power-cut-alone.ts'

testShortly(powerCutAlone, { seconds: 3, patientSeconds: 20, missing: journalMissing })
