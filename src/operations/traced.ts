import type { Blobs } from '../blobs/blobs.ts'
import type { MetadataStore, PreparedPut } from '../metadata/store.ts'
import type { Span } from '../telemetry/traces.ts'

/** The rooms below as a traced request sees them: each call is a step of its span. Others get the rooms themselves. */

export function tracedMetadata(store: MetadataStore, span: Span): MetadataStore {
  return new Proxy(store, {
    get(target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (typeof member !== 'function' || typeof name !== 'string') return member
      return (...input: readonly unknown[]): unknown => {
        const ended = span.begin(name === 'commit' || name === 'commitAll' ? 'commit' : `metadata ${name}`)
        const result = Reflect.apply(member, target, input) as unknown
        if (!(result instanceof Promise)) {
          ended()
          return name === 'prepare' ? tracedPut(result as PreparedPut | null, span) : result
        }
        return result.then((value: unknown) => {
          ended()
          return value
        })
      }
    },
  })
}

/** Its commit begins when its bytes are there. */
function tracedPut(prepared: PreparedPut | null, span: Span): PreparedPut | null {
  if (prepared === null) return null
  return {
    ...prepared,
    async commit(command) {
      const ended = span.begin('commit')
      const result = await prepared.commit(command)
      ended()
      return result
    },
  }
}

export function tracedBlobs(blobs: Blobs, span: Span): Blobs {
  return {
    async write(body, options) {
      const received = span.begin('read body')
      let written: (() => void) | null = null
      // A large body is hashed and written while it comes; what is seen of that is what takes longer than the client's line.
      body.stream.once('end', () => {
        received()
        written = span.begin('hash and write')
      })
      const result = await blobs.write(body, options)
      received()
      ;(written as (() => void) | null)?.()
      return result
    },
    async read(manifest, start, end) {
      const ended = span.begin('read blobs')
      const reader = await blobs.read(manifest, start, end)
      ended()
      return reader
    },
    async digest(manifest, algorithms) {
      const ended = span.begin('hash')
      const digests = await blobs.digest(manifest, algorithms)
      ended()
      return digests
    },
  }
}
