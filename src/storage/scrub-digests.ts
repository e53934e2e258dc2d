import { combineEtags, compositeOf, createHasher } from '../checksums/algorithms.ts'
import type { Hasher } from '../checksums/algorithms.ts'
import type { CheckedRow } from '../metadata/store.ts'

/** What the client was told of an object, computed once more from its bytes. */
export interface RowDigests {
  update(bytes: Uint8Array): void
  /** What differs. */
  finish(): string[]
}

interface PartDigests {
  readonly size: number
  readonly md5: Hasher
  readonly checksum: Hasher | null
}

/** An object that came in parts has a digest for each; its own are made from those, or from all its bytes. */
export function createRowDigests({ etag, size, checksum, parts }: CheckedRow): RowDigests {
  const sizes = parts === null ? [size] : parts.map((part) => part.size)
  const whole = checksum?.type === 'FULL_OBJECT' ? createHasher(checksum.algorithm) : null
  const perPart = parts !== null && checksum !== null
  const begin = (index: number): PartDigests =>
    ({ size: sizes[index] ?? 0, md5: createHasher('MD5'), checksum: perPart ? createHasher(checksum.algorithm) : null })
  const done: { md5: string; checksum: string | null }[] = []
  let current = begin(0)
  let filled = 0

  /** Ends each part that is full; an empty one is full at once. */
  function close(): void {
    while (done.length < sizes.length && filled === current.size) {
      done.push({ md5: Buffer.from(current.md5.digestBase64(), 'base64').toString('hex'), checksum: current.checksum?.digestBase64() ?? null })
      current = begin(done.length)
      filled = 0
    }
  }

  return {
    update(bytes) {
      whole?.update(bytes)
      for (let from = 0; from < bytes.length && done.length < sizes.length;) {
        const piece = bytes.subarray(from, from + current.size - filled)
        current.md5.update(piece)
        current.checksum?.update(piece)
        filled += piece.length
        from += piece.length
        close()
      }
    },
    finish() {
      close()
      const problems: string[] = []
      const compare = (name: string, stored: string, computed: string): void => {
        if (stored !== computed) problems.push(`${name} is ${computed}, the row says ${stored}`)
      }
      const md5s = done.map(({ md5 }) => md5)
      if (parts === null && !etag.includes('-')) compare('the MD5', etag, md5s[0] ?? '')
      else if (etag.endsWith(`-${sizes.length}`)) compare('the ETag', etag, combineEtags(md5s))
      if (checksum !== null && whole !== null) compare(`the ${checksum.algorithm}`, checksum.value, whole.digestBase64())
      for (const [index, part] of (perPart ? parts : []).entries()) {
        if (part.checksum !== null) compare(`the ${checksum?.algorithm} of part ${part.partNumber}`, part.checksum, done[index]?.checksum ?? '')
      }
      if (checksum?.type === 'COMPOSITE' && perPart) {
        compare(`the ${checksum.algorithm}`, checksum.value, compositeOf(checksum.algorithm, done.map((part) => part.checksum ?? '')).value)
      }
      return problems
    },
  }
}
