import { testShortly } from '../support/promise.ts'
import * as secrets from '../faults/promises/secrets.ts'

testShortly(secrets, { seconds: 4, patientSeconds: 20, casesMin: 101 })
