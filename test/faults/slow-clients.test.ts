import * as slowClients from './promises/slow-clients.ts'
import { testShortly } from '../support/promise.ts'

testShortly(slowClients)
