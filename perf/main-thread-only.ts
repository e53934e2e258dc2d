import { syncBuiltinESMExports } from 'node:module'
import threads from 'node:worker_threads'

/**
 * Loaded into the server before anything else when clinic looks at it: worker threads start without what clinic loads into the main
 * thread. Each of them would write its own samples into the main thread's file, over the ones that are there.
 */
const { NODE_OPTIONS: _ofClinic, ...env } = process.env

if (threads.isMainThread) {
  threads.Worker = class extends threads.Worker {
    constructor(file: string | URL, options: threads.WorkerOptions = {}) {
      super(file, { ...options, execArgv: [], env })
    }
  }
  syncBuiltinESMExports()
}
