import { testShortly } from '../support/promise.ts'
import { journalMissing } from '../faults/journal/library.ts'
import * as ioErrors from '../faults/promises/io-errors.ts'

testShortly(ioErrors, { seconds: 3, patientSeconds: 20, missing: journalMissing })
