import { statSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

/** Files that may change while the server runs: cert-manager and Kubernetes swap a link, certbot and editors write new ones. */

export interface WatchOptions<Content> {
  readonly paths: readonly string[]
  readonly everyMs: number
  readonly read: () => Content
  /** Takes what was read, the first time with null. Throws when it is no good, and has changed nothing then. */
  readonly apply: (content: Content, before: Content | null) => void
  /** Files that changed are in use, or are again what they were before they were refused. */
  readonly renewed: () => void
  /** Called once for each reason; what was there before stays in use. */
  readonly refused: (reason: string) => void
}

export interface WatchedFiles<Content> {
  readonly state: WatchedState<Content>
  /** Looks at the files now, not at the next time. */
  look(): void
  /** Stops looking. */
  close(): void
}

export interface WatchedState<Content> {
  /** What is in use, and when it was read, in epoch milliseconds. */
  readonly content: Content
  readonly readAt: number
  /** Why what the files hold now is not in use; null when it is. */
  readonly refusal: { readonly at: number; readonly reason: string } | null
}

/** @throws what `read` or `apply` throws the first time. */
export function watchFiles<Content>({ paths, everyMs, read, apply, renewed, refused }: WatchOptions<Content>): WatchedFiles<Content> {
  // Before the files are read: what changes in between is seen at the next look.
  let stats = statsOf(paths)
  let state: WatchedState<Content> = { content: read(), readAt: Date.now(), refusal: null }
  apply(state.content, null)

  function look(): void {
    const { content, refusal } = state
    try {
      const now = statsOf(paths)
      // What was refused is looked at again: a certificate's key may have come since.
      if (now === stats && refusal === null) return
      const next = read()
      stats = now
      const same = isDeepStrictEqual(next, content)
      if (same && refusal === null) return
      if (!same) apply(next, content)
      state = { content: next, readAt: Date.now(), refusal: null }
      renewed()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (reason === refusal?.reason) return
      state = { ...state, refusal: { at: Date.now(), reason } }
      refused(reason)
    }
  }

  const timer = setInterval(look, everyMs).unref()
  return {
    get state() {
      return state
    },
    look,
    close: () => clearInterval(timer),
  }
}

/** By what `stat` says of what the path leads to now: links are followed, so that one that is swapped shows. */
function statsOf(paths: readonly string[]): string {
  return paths.map((path) => {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
    return `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`
  }).join(' ')
}
