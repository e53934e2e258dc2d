import fc from 'fast-check'
import { xmlBlocks, xmlText, xmlTexts } from './raw.ts'

/**
 * What S3 says of listings, as plainly as it can be written: look at every key. Source: Amazon S3 user guide, "Organizing objects
 * using prefixes", and the API reference of the list operations.
 */

export const compareKeys = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

export interface Question {
  readonly prefix: string
  /** '' means none. */
  readonly delimiter: string
  /** Only what comes behind this key; '' means from the start. */
  readonly after: string
}

export interface Entry {
  readonly name: string
  readonly isPrefix: boolean
}

/** Keys and common prefixes in one order, by UTF-8 bytes. */
export function naiveEntries(keys: Iterable<string>, { prefix, delimiter, after }: Question): Entry[] {
  const entries: Entry[] = []
  for (const key of [...new Set(keys)].sort(compareKeys)) {
    if (!key.startsWith(prefix) || (after !== '' && compareKeys(key, after) <= 0)) continue
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    if (at < 0) {
      entries.push({ name: key, isPrefix: false })
      continue
    }
    const name = key.slice(0, at + delimiter.length)
    if (name !== after && entries.at(-1)?.name !== name) entries.push({ name, isPrefix: true })
  }
  return entries
}

/** What encoding-type=url stands for. */
export const urlDecoded = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '))

/** Names of a listing's rows (`Contents`, `Version|DeleteMarker`, `Upload`) and common prefixes, brought into one order. */
export function entriesOf(document: string, rowPattern: string, decode: (text: string) => string): Entry[] {
  const rows = rowsOf(document, rowPattern).map((row) => ({ name: decode(xmlText(row, 'Key') ?? ''), isPrefix: false }))
  const prefixes = xmlBlocks(document, 'CommonPrefixes').map((block) => ({ name: decode(xmlTexts(block, 'Prefix')[0] ?? ''), isPrefix: true }))
  const inOrder = (entries: readonly Entry[]): boolean => entries.every((entry, i) => i === 0 || compareKeys(entries[i - 1]?.name ?? '', entry.name) <= 0)
  if (!inOrder(rows) || !inOrder(prefixes)) throw new Error(`The page is not in order:\n${document}`)
  return [...rows, ...prefixes].sort((a, b) => compareKeys(a.name, b.name))
}

/** What stands inside each row, in the order of the document. */
export function rowsOf(document: string, rowPattern: string): string[] {
  return [...document.matchAll(new RegExp(`<(${rowPattern})>([\\s\\S]*?)</\\1>`, 'g'))].map((match) => match[2] ?? '')
}

/** Few characters, so that keys share prefixes; among them the ends of the code space, both sides of the surrogates, and what XML and URLs escape. */
const character = fc.constantFrom('a', 'b', '/', '/', '.', '\u0001', '\t', '\r', '\n', ' ', '+', '%', '_', '\\', '"', '<', '&', '\u007f', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}')

export const anyKey: fc.Arbitrary<string> = fc.array(character, { minLength: 1, maxLength: 6 }).map((characters) => characters.join(''))
export const anyText: fc.Arbitrary<string> = fc.array(character, { maxLength: 3 }).map((characters) => characters.join(''))
export const anyDelimiter: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('', '/') },
  fc.constantFrom('a', '//', 'a/', '../', '\u{10ffff}', '\u{10ffff}\u{10ffff}', '\ud7ff', 'é', ' ', '+', '%', '\u0001', 'longer than any key'),
)

/** Keys that each list test must have met, whatever the random ones are. */
export const oddKeys: readonly string[] = [
  'a', 'a/', 'a//b', 'a/b', 'a/b/', 'a/b/c', 'a.', 'a0', '/', '//', '/a', '.', '..', './a', '../a', 'a/../b', ' ', ' a ', '+', '%', '%2F', '%25', 'a b', 'a+b', 'a&b', '<a>', '"', "'",
  '\u0001', '\t', '\n', '\r', '\u007f', '\u0085', 'é', 'e\u0301', '日本/語', '\ud7ff', '\ue000', '\ufffd', '\uffff', '\u{1f600}', '\u{10ffff}', '\u{10ffff}/a', '\u{10ffff}\u{10ffff}', '001', '1e5', 'true',
  'x'.repeat(1024), `${'\u{10ffff}'.repeat(256)}`, 'dir/file', 'dir', 'dir-file', 'dir0',
]
