import * as listingChurn from './promises/listing-churn.ts'
import { testShortly } from '../support/promise.ts'

testShortly(listingChurn)
