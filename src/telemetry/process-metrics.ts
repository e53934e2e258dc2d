import { performance } from 'node:perf_hooks'
import type { Meters } from './metrics.ts'

/** Rare enough to cost an idle server nothing that can be measured, often enough to see each stall of a tenth of a second. */
const lookMs = 100

/** Begins to count what this process itself takes and how late its timers come. The returned function ends that. */
export function watchProcess(meters: Meters): () => void {
  let due = performance.now() + lookMs
  const timer = setInterval(() => {
    const now = performance.now()
    meters.eventLoopDelay.observe(Math.max(0, now - due) / 1000)
    due = now + lookMs
  }, lookMs).unref()
  meters.watch('holdfast_event_loop_active_seconds_total', () => performance.eventLoopUtilization().active / 1000)
  meters.watch('holdfast_cpu_seconds_total', () => {
    const { user, system } = process.cpuUsage()
    return [['user', user / 1e6], ['system', system / 1e6]]
  })
  meters.watch('holdfast_memory_bytes', () => {
    const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage()
    return [['resident', rss], ['heap_used', heapUsed], ['heap_total', heapTotal], ['external', external], ['array_buffers', arrayBuffers]]
  })
  return () => clearInterval(timer)
}
