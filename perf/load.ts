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
  readonly p999Ms: number
  readonly maxMs: number
  /** Every request was sent before the time was up; the rate is that of the time it took. */
  readonly exhausted: boolean
  /** Saturated: answers other than 2xx to the one client that asks for little. */
  readonly probeRefused?: number
}

export interface Load {
  readonly host: string
  readonly port: number
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE' | 'POST'
  /** Request targets with their signatures. */
  readonly paths: readonly string[]
  /** The same for every request, besides Host and Content-Length. */
  readonly headers?: Readonly<Record<string, string>>
  /** The same for every request. */
  readonly body: Uint8Array | null
  /**
   * Eight hex digits: the body begins with them and the number of the request, so that no two bodies are the same. A server that
   * keeps equal blocks once (Garage) would have nothing to write otherwise.
   */
  readonly stamp?: string
  /** Whole requests in place of paths, headers and body: only for the generator in Node. */
  readonly requests?: readonly Buffer[]
  readonly connections: number
  /** Ends the run when the requests have not. */
  readonly seconds: number
  /** Send every request once instead of beginning again. */
  readonly once: boolean
}
