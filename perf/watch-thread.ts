import { workerData } from 'node:worker_threads'
import { memoryOf } from './processes.ts'
import { keepMost, type WatchData } from './watch.ts'

const { pid, everyMs, peak } = workerData as WatchData
setInterval(() => keepMost(peak, memoryOf(pid)), everyMs)
