import * as listingChurn from '../faults/promises/listing-churn.ts'
import { testShortly } from '../support/promise.ts'

testShortly(listingChurn)
