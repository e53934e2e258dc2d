import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { getHeapSnapshot, getHeapSpaceStatistics, startCpuProfile, startHeapProfile, type HeapInfo } from 'node:v8'
import type { Worker } from 'node:worker_threads'
import { allocationSampleBytes, allocationStackFrames, threadAnswerMsMax } from './profile-limits.ts'
import type { ThreadPool } from './profile.ts'

/** Ends a profile; V8's JSON. */
type Stop = () => Promise<string>

/** A thread of this process. What a worker is asked may take until it looks: callers bound it with `within`. */
export interface Profiled {
  readonly name: string
  /** Milliseconds between two samples. */
  cpu(sampleInterval: number): Promise<Stop>
  allocations(): Promise<Stop>
  heapStatistics(): Promise<Pick<HeapInfo, 'used_heap_size'>>
  /** JSON in pieces; the thread stands still while it is made. */
  snapshot(): Promise<Readable>
}

/** What was collected meanwhile counts too: most of what a request allocates is garbage before anyone looks. */
const allocationOptions = {
  sampleInterval: allocationSampleBytes, stackDepth: allocationStackFrames, includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true,
}

/** Used by what is not young any more. */
function oldBytes(): number {
  return getHeapSpaceStatistics().reduce((sum, space) => (space.space_name.startsWith('new_') ? sum : sum + space.space_used_size), 0)
}

const mainThread: Profiled = {
  name: 'main',
  async cpu(sampleInterval) {
    const handle = startCpuProfile({ sampleInterval })
    return async () => handle.stop()
  },
  async allocations() {
    const handle = startHeapProfile(allocationOptions)
    return async () => handle.stop()
  },
  // What is young may be garbage that nobody has looked at yet, 64 MiB of it; a snapshot begins with a collection.
  heapStatistics: async () => ({ used_heap_size: oldBytes() }),
  snapshot: async () => getHeapSnapshot(),
}

function workerThread(name: string, worker: Worker): Profiled {
  return {
    name,
    async cpu(sampleInterval) {
      const handle = await worker.startCpuProfile({ sampleInterval })
      return () => handle.stop()
    },
    async allocations() {
      const handle = await worker.startHeapProfile(allocationOptions)
      return () => handle.stop()
    },
    heapStatistics: () => worker.getHeapStatistics(),
    snapshot: () => worker.getHeapSnapshot(),
  }
}

/** The main thread and every worker, named by pool and place: `main`, `batch-0`, `upload-1`. */
export function threadsOf(pools: readonly ThreadPool[]): readonly Profiled[] {
  return [mainThread, ...pools.flatMap(({ name, threads }) => threads.map((worker, index) => workerThread(`${name}-${index}`, worker)))]
}

/** What a thread answers in time; null when it does not, or has ended. What comes after that goes to `late`. */
export function within<T>(answer: Promise<T>, late: (value: T) => void = () => undefined): Promise<T | null> {
  return new Promise((resolve) => {
    let over = false
    const giveUp = (): void => {
      over = true
      clearTimeout(timer)
      resolve(null)
    }
    const timer = setTimeout(giveUp, threadAnswerMsMax)
    answer.then((value) => {
      if (over) return late(value)
      clearTimeout(timer)
      resolve(value)
    }, giveUp)
  })
}

const installed = new URL('../../', import.meta.url)
const roots = [installed.href, fileURLToPath(installed)]

/**
 * A profile that leaves the server: JSON, with files named from the folder of the installation on. How a server's disks are laid out
 * is nobody's business who reads a profile.
 */
export function presentable(profile: string): string {
  return relativePaths(escapedNames(profile))
}

/** Node 26 writes names as they are, and a regular expression's name is its source, quotes and backslashes included. */
function escapedNames(profile: string): string {
  return profile.replaceAll(/"functionName":"(.*?)","(lineNumber|url)":/gs, (whole, name: string, next: string) => {
    return isJson(`"${name}"`) ? whole : `"functionName":${JSON.stringify(name)},"${next}":`
  })
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function relativePaths(profile: string): string {
  const known = new Map<string, string>()
  return profile.replaceAll(/"url":"((?:file:\/\/|\/|[A-Za-z]:\\)[^"]*)"/g, (_whole, url: string) => {
    let short = known.get(url)
    if (short === undefined) known.set(url, short = shortened(url))
    return `"url":"${short}"`
  })
}

/** Of a file outside the installation (a linked node_modules) only the package's part is left. */
function shortened(url: string): string {
  const root = roots.find((each) => url.startsWith(each))
  if (root !== undefined) return url.slice(root.length)
  const packages = url.lastIndexOf('node_modules/')
  return packages < 0 ? url.slice(url.lastIndexOf('/') + 1) : url.slice(packages)
}
