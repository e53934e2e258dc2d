import * as digestsTrue from './promises/digests-true.ts'
import { testShortly } from '../support/promise.ts'

testShortly(digestsTrue)
