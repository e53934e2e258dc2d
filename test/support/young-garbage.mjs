import { writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { GCProfiler } from 'node:v8'

/**
 * Loaded into a server before its program. The first SIGUSR2 begins, the second writes to the file YOUNG_GARBAGE names: how many
 * collections of the young generation there were, and by how many bytes the heap had grown from the end of one to the end of the next.
 */
if (isMainThread) {
  let profiler = null
  process.on('SIGUSR2', () => {
    if (profiler === null) {
      profiler = new GCProfiler()
      profiler.start()
      return
    }
    let [collections, grown, before] = [0, 0, null]
    for (const { gcType, afterGC } of profiler.stop().statistics) {
      const after = afterGC.heapStatistics.usedHeapSize
      if (gcType === 'Scavenge') {
        collections += 1
        grown += before === null ? 0 : Math.max(0, after - before)
      }
      before = after
    }
    profiler = null
    writeFileSync(process.env.YOUNG_GARBAGE, JSON.stringify({ collections, grown }))
  })
}
