import { testShortly } from '../support/promise.ts'
import { journalMissing } from './journal/library.ts'
import * as ioErrors from './promises/io-errors.ts'

testShortly(ioErrors, { seconds: 3, patientSeconds: 20, missing: journalMissing })
