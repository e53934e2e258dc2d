/** What bounds a profile of a live server, each with its reason. Units last in the name. */

export const profileSecondsDefault = 30
/** Five minutes of samples are some 5 MB for each thread. */
export const profileSecondsMax = 300
/** A thread looks for requests at least between two tasks. One that has not by then is in a system call, perhaps of a dying disk. */
export const threadAnswerMsMax = 5_000
/**
 * Between two samples of the stack, of one thread alone and of several at once: each sample wakes a thread up, an idle one too. At a
 * saturated server a sample of all threads each millisecond cost a third of the requests, each four milliseconds some 13 % of PUT and none
 * of GET that could be told from noise.
 */
export const cpuSampleMs = { alone: 2, together: 4 } as const
/** Between two samples of an allocation, on average: a server that allocates 50 MB/s is seen 400 times a second. */
export const allocationSampleBytes = 128 * 1024
/** Deep enough for the stack below a request. */
export const allocationStackFrames = 64
/** Measured: making a snapshot stops the thread for a second for each 10 MB of small objects, and takes eleven times their memory. */
export const snapshotHeapBytesMax = 64 * 1024 ** 2
export const snapshotSecondBytes = 10 * 1024 ** 2
export const snapshotMemoryFactor = 12
/** What is handed on at once: V8 gives all of it in one go. */
export const snapshotPieceChars = 256 * 1024

/** Why a snapshot of a heap of this size would not be safe now; null when it is. */
export function snapshotProblem(heapBytes: number): string | null {
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1024 ** 2)} MiB`
  if (heapBytes > snapshotHeapBytesMax) {
    return `The heap holds ${megabytes(heapBytes)}: a snapshot would stop the thread for some ${Math.ceil(heapBytes / snapshotSecondBytes)} s, and is refused above `
      + `${megabytes(snapshotHeapBytesMax)}. /debug/allocations shows who allocates, at any size.`
  }
  const available = process.availableMemory()
  if (available < heapBytes * snapshotMemoryFactor) {
    return `A snapshot of ${megabytes(heapBytes)} needs about ${megabytes(heapBytes * snapshotMemoryFactor)} of memory, and ${megabytes(available)} are free. `
      + '/debug/allocations shows who allocates, and needs almost none.'
  }
  return null
}
