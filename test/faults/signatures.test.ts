import { testShortly } from '../support/promise.ts'
import { botocoreMissing } from './hostile/signers.ts'
import * as signatures from './promises/signatures.ts'

testShortly(signatures, { seconds: 4, patientSeconds: 40, casesMin: 1001, missing: () => botocoreMissing({ url: 'http://127.0.0.1:1', accessKeyId: 'x', secretAccessKey: 'x' }) })
