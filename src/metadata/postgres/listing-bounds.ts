/** Arithmetic on keys in UTF-8 byte order, which is also code point order. Keys hold no code point 0. */

const lastCodePoint = 0x10ffff

/**
 * The smallest string above every string that begins with `prefix`; null when there is none (the prefix is empty, or made
 * of U+10FFFF alone).
 */
export function afterPrefix(prefix: string): string | null {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number)
  while (points.length > 0) {
    const last = points.pop() as number
    if (last === lastCodePoint) continue
    // The surrogates are no characters: U+E000 follows U+D7FF.
    return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1)
  }
  return null
}

/** The smallest string above `key` itself. */
export const afterKey = (key: string): string => `${key}\u0001`

/** By UTF-8 bytes. JavaScript's own order is by UTF-16 units and differs above U+FFFF. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** The common prefix that rolls up `key`, null when the delimiter does not follow the prefix. */
export function commonPrefix(key: string, prefix: string, delimiter: string): string | null {
  if (delimiter === '' || !key.startsWith(prefix)) return null
  const at = key.indexOf(delimiter, prefix.length)
  return at < 0 ? null : key.slice(0, at + delimiter.length)
}

export interface Range {
  /** The first string that may be listed. */
  readonly from: string
  /** The first string that may not; null: no end. */
  readonly to: string | null
}

/** What a page can hold. Null: nothing. `resume`: keep the key `after` itself, whose versions are not all listed yet. */
export function pageRange(page: { prefix: string; delimiter: string; after: string }, resume: boolean): Range | null {
  const { prefix, delimiter, after } = page
  const to = afterPrefix(prefix)
  let from: string | null = prefix
  if (after !== '') {
    const whole = commonPrefix(after, prefix, delimiter) === after
    const start = whole ? afterPrefix(after) : resume ? after : afterKey(after)
    if (start === null) return null
    if (compareKeys(start, prefix) > 0) from = start
  }
  return to !== null && compareKeys(from, to) >= 0 ? null : { from, to }
}
