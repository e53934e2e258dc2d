/**
 * The canonical request of signature version 4 by S3's rules: the path is taken as sent (no `.` or `//` is removed) and encoded
 * once. Pure functions over the raw request line and header fields.
 * Source: Amazon S3 API reference, "Signature calculations for the Authorization header".
 */

export interface CanonicalParts {
  readonly method: string
  /** From `canonicalPath`. */
  readonly path: string
  /** From `canonicalQuery`. */
  readonly query: string
  /** From `canonicalHeaders`. */
  readonly headers: ReadonlyMap<string, string>
  /** Lower-case names in the order of SignedHeaders. A name that the request lacks counts as an empty value. */
  readonly signedHeaders: readonly string[]
  /** Digest of the body, or the word that stands for it. */
  readonly payloadHash: string
}

const percent = 0x25
const slash = 0x2f
const plus = 0x2b

/** 1 for the characters that UriEncode leaves alone. */
const unreserved = new Uint8Array(256)
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~') unreserved[character.charCodeAt(0)] = 1

/** Value of an upper-case hex digit + 1, 17 to 22 for the lower-case ones, 0 for all else. */
const hexDigit = new Uint8Array(256)
for (let digit = 0; digit < 16; digit++) {
  hexDigit['0123456789abcdef'.charCodeAt(digit)] = digit < 10 ? digit + 1 : digit + 7
  hexDigit['0123456789ABCDEF'.charCodeAt(digit)] = digit + 1
}

const encodedByte: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  unreserved[byte] === 1 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)

/** Byte value of the two hex digits behind the `%` at `index`, -1 when they are not hex. */
function escapedByte(text: string, index: number): number {
  if (index + 2 >= text.length) return -1
  const high = hexDigit[text.charCodeAt(index + 1)] ?? 0
  const low = hexDigit[text.charCodeAt(index + 2)] ?? 0
  if (high === 0 || low === 0) return -1
  return ((high > 16 ? high - 7 : high - 1) << 4) | (low > 16 ? low - 7 : low - 1)
}

/** What encoding again would not change, with more characters that are left alone: no escape of one that needs none. */
const encodedText = (others: string): string =>
  String.raw`[\w.~${others}-]*(?:%(?!2[DE]|3\d|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])[0-9A-F]{2}[\w.~${others}-]*)*`
const encoded = encodedText('')
/** The common cases, found in one pass without a new string. */
const encodedPath = new RegExp(`^${encodedText('/')}$`)
const encodedComponent = new RegExp(`^${encoded}$`)
const encodedQuery = new RegExp(`^${encoded}=${encoded}(?:&${encoded}=${encoded})*$`)

/**
 * Decodes and encodes again, byte by byte, so that a character counts the same whether it was sent raw or escaped. An escaped
 * slash stays escaped. A percent sign that starts no escape counts as itself. Codes 0x80 to 0xff are bytes of the request line.
 */
function reencode(text: string, keepSlash: boolean, plusIsSpace: boolean): string {
  let result = ''
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === percent) {
      const byte = escapedByte(text, index)
      result += encodedByte[byte < 0 ? percent : byte]
      if (byte >= 0) index += 2
    } else if (keepSlash && code === slash) {
      result += '/'
    } else if (plusIsSpace && code === plus) {
      result += '%20'
    } else {
      result += code < 256 ? encodedByte[code] : Buffer.from(text[index] ?? '').reduce((bytes, byte) => bytes + (encodedByte[byte] ?? ''), '')
    }
  }
  return result
}

/** Canonical URI of the raw path: as sent, each segment encoded once. */
export function canonicalPath(rawPath: string): string {
  if (rawPath === '') return '/'
  return encodedPath.test(rawPath) ? rawPath : reencode(rawPath, true, false)
}

function canonicalComponent(text: string): string {
  return encodedComponent.test(text) ? text : reencode(text, false, true)
}

/**
 * Canonical query of the raw one: encoded again, sorted by name and then value, duplicates kept, `?name` as `name=`. `+` is a
 * space, as it is where parameters are read. `exclude` leaves out X-Amz-Signature, which cannot cover itself.
 */
export function canonicalQuery(rawQuery: string, exclude: string | null = null): string {
  return queryAsSigned(rawQuery, exclude) ?? sortedQuery(rawQuery, exclude)
}

/** The query as it came, without what is left out: signers sort and encode what they sign, and most send it so. Null when it came otherwise. */
function queryAsSigned(rawQuery: string, exclude: string | null): string | null {
  if (!encodedQuery.test(rawQuery)) return null
  let before = { from: 0, to: 0 }
  let left: { readonly from: number; readonly to: number } | null = null
  for (let from = 0; from < rawQuery.length;) {
    const mark = rawQuery.indexOf('&', from)
    const to = mark < 0 ? rawQuery.length : mark
    const equals = rawQuery.indexOf('=', from)
    if (exclude !== null && equals - from === exclude.length && rawQuery.startsWith(exclude, from)) {
      if (left !== null) return null
      left = { from, to }
    } else {
      const name = { from, to: equals }
      if (!inOrder(rawQuery, before, name)) return null
      before = name
    }
    from = to + 1
  }
  if (left === null) return rawQuery
  if (left.to === rawQuery.length) return rawQuery.slice(0, Math.max(0, left.from - 1))
  return rawQuery.slice(0, left.from) + rawQuery.slice(left.to + 1)
}

/** Whether one piece of a text sorts before another. Where they are equal, what follows them would have to be looked at: that is not told. */
function inOrder(text: string, a: { readonly from: number; readonly to: number }, b: { readonly from: number; readonly to: number }): boolean {
  const length = Math.min(a.to - a.from, b.to - b.from)
  for (let index = 0; index < length; index++) {
    const difference = text.charCodeAt(a.from + index) - text.charCodeAt(b.from + index)
    if (difference !== 0) return difference < 0
  }
  return a.to - a.from < b.to - b.from
}

function sortedQuery(rawQuery: string, exclude: string | null): string {
  const pairs: { readonly name: string; readonly value: string }[] = []
  for (const piece of rawQuery.split('&')) {
    if (piece === '') continue
    const equals = piece.indexOf('=')
    const name = canonicalComponent(equals < 0 ? piece : piece.slice(0, equals))
    if (name === exclude) continue
    pairs.push({ name, value: equals < 0 ? '' : canonicalComponent(piece.slice(equals + 1)) })
  }
  pairs.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.value < b.value ? -1 : a.value > b.value ? 1 : 0))
  let result = ''
  for (const { name, value } of pairs) result += `${result === '' ? '' : '&'}${name}=${value}`
  return result
}

const doubleSpace = /  +/g

/** One header value as it is signed: trimmed, runs of spaces folded. */
function canonicalHeaderValue(value: string): string {
  const trimmed = value.trim()
  return trimmed.includes('  ') ? trimmed.replace(doubleSpace, ' ') : trimmed
}

/**
 * Header fields by lower-case name with their signed values; several fields of one name are joined with a comma. Values are text
 * (UTF-8 was decoded), as clients sign it. `exact` for signature version 2, which folds no spaces.
 */
export function canonicalHeaders(entries: Iterable<readonly [name: string, value: string]>, exact = false): Map<string, string> {
  const headers = new Map<string, string>()
  for (const [name, value] of entries) {
    const before = headers.get(name)
    const canonical = exact ? value.trim() : canonicalHeaderValue(value)
    headers.set(name, before === undefined ? canonical : `${before},${canonical}`)
  }
  return headers
}

/** The canonical request: the six parts, one a line. */
export function canonicalRequest(parts: CanonicalParts): string {
  let headers = ''
  for (const name of parts.signedHeaders) headers += `${name}:${parts.headers.get(name) ?? ''}\n`
  return `${parts.method}\n${parts.path}\n${parts.query}\n${headers}\n${parts.signedHeaders.join(';')}\n${parts.payloadHash}`
}
