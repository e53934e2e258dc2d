/** What a generator found out, whichever it was. */
export interface LoadResult {
  readonly requests: number
  readonly seconds: number
  /** Bytes of bodies that were sent or received. */
  readonly bytes: number
  /** Answers that were not 2xx. */
  readonly refused: number
  /** Connections that failed, answers that did not come. */
  readonly broken: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  /** Every request was sent before the time was up; the rate is that of the time it took. */
  readonly exhausted: boolean
}

export interface Load {
  readonly host: string
  readonly port: number
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE'
  /** Request targets with their signatures. */
  readonly paths: readonly string[]
  /** The same for every request. */
  readonly body: Uint8Array | null
  readonly connections: number
  /** Ends the run when the requests have not. */
  readonly seconds: number
  /** Send every request once instead of beginning again. */
  readonly once: boolean
}
