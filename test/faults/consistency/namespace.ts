import type { Random } from '../journal/states.ts'
import { compareKeys } from '../../support/listing-model.ts'

/**
 * What a walk over a listing may and must show while names come and go: each name that was there all the time exactly once, none that
 * was never there in this time, all in UTF-8 byte order. To be asked when all writes are answered.
 */

interface Presence {
  /** From here on it may be there: a write was sent. */
  readonly maybeFrom: number
  /** From here on it surely is: the write was answered. */
  readonly surelyFrom: number
  /** Up to here it surely is: a delete was sent. Infinity while none was. */
  surelyUntil: number
  /** Up to here it may be: the delete was answered. */
  maybeUntil: number
}

/** Moments when each name was there, by a counter of events instead of a clock. */
export class Namespace {
  private readonly presences = new Map<string, Presence[]>()
  private events = 0

  now(): number {
    this.events += 1
    return this.events
  }

  /** Call when the write is sent; the result with the name, when it was answered. One name has one writer at a time. */
  adding(): (name: string) => void {
    const maybeFrom = this.now()
    return (name) => {
      const presence: Presence = { maybeFrom, surelyFrom: this.now(), surelyUntil: Infinity, maybeUntil: Infinity }
      this.presences.set(name, [...(this.presences.get(name) ?? []), presence])
    }
  }

  removing(name: string): () => void {
    const presence = this.presences.get(name)?.at(-1)
    if (presence !== undefined) presence.surelyUntil = this.now()
    return () => {
      if (presence !== undefined) presence.maybeUntil = this.now()
    }
  }

  /** Names that were there from `from` to `to` without a gap. */
  stayed(from: number, to: number): string[] {
    return [...this.presences].filter(([, all]) => all.some(({ surelyFrom, surelyUntil }) => surelyFrom < from && surelyUntil > to)).map(([name]) => name)
  }

  /** Whether it can have been there at some moment of that time. */
  mayHaveBeen(name: string, from: number, to: number): boolean {
    return this.presences.get(name)?.some(({ maybeFrom, maybeUntil }) => maybeFrom < to && maybeUntil > from) === true
  }

  /** When it came last, for orders that go by age. */
  age(name: string): number {
    return this.presences.get(name)?.at(-1)?.surelyFrom ?? 0
  }

  /** All names that were ever written and not forgotten. */
  names(): string[] {
    return [...this.presences.keys()]
  }

  /** Forgets those that are gone for good. */
  forget(before: number): void {
    for (const [name, all] of this.presences) {
      const kept = all.filter(({ maybeUntil }) => maybeUntil > before)
      if (kept.length === 0) this.presences.delete(name)
      else this.presences.set(name, kept)
    }
  }
}

export interface Walk {
  readonly prefix: string
  readonly delimiter: string
  readonly from: number
  readonly to: number
  /** Names and common prefixes as they came, page after page. */
  readonly seen: readonly { readonly name: string; readonly isPrefix: boolean }[]
}

/** What is wrong with a walk. `order` compares two names of this kind of listing. */
export function judge(space: Namespace, { prefix, delimiter, from, to, seen }: Walk, order: (a: string, b: string) => number = compareKeys, keyOf: (name: string) => string = (name) => name): string[] {
  const wrong: string[] = []
  const rolled = (name: string): string | null => {
    const key = keyOf(name)
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    return at < 0 ? null : key.slice(0, at + delimiter.length)
  }
  const counts = new Map<string, number>()
  for (const { name, isPrefix } of seen) counts.set(`${isPrefix} ${name}`, (counts.get(`${isPrefix} ${name}`) ?? 0) + 1)
  for (const [name, count] of counts) if (count > 1) wrong.push(`${JSON.stringify(name)} is listed ${count} times`)
  for (const [index, { name, isPrefix }] of seen.entries()) {
    const before = seen[index - 1]
    if (before !== undefined && (isPrefix || before.isPrefix ? compareKeys(keyOf(before.name), keyOf(name)) > 0 : order(before.name, name) >= 0)) wrong.push(`${JSON.stringify(before.name)} stands before ${JSON.stringify(name)}`)
    const there = isPrefix
      ? space.names().some((each) => keyOf(each).startsWith(prefix) && rolled(each) === name && space.mayHaveBeen(each, from, to))
      : keyOf(name).startsWith(prefix) && rolled(name) === null && space.mayHaveBeen(name, from, to)
    if (!there) wrong.push(`${isPrefix ? 'the prefix ' : ''}${JSON.stringify(name)} is listed and was not there`)
  }
  for (const name of space.stayed(from, to)) {
    if (!keyOf(name).startsWith(prefix)) continue
    const up = rolled(name)
    if (!counts.has(up === null ? `false ${name}` : `true ${up}`)) wrong.push(`${JSON.stringify(name)}${up === null ? '' : ` (in ${JSON.stringify(up)})`} was there all the time and is not listed`)
  }
  return wrong
}

/** Few characters, so that keys share prefixes; among them the ends of the code space and what XML and URLs escape. */
const characters = ['a', 'b', '/', '/', '.', '-', '\u0001', ' ', '+', '%', '_', '&', '<', '\u007f', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}']

export function oddKey(random: Random): string {
  const pick = (count: number): number => Math.floor(random() * count)
  const key = Array.from({ length: 1 + pick(6) }, () => characters[pick(characters.length)] ?? 'a').join('')
  return pick(2) === 0 ? `${['a/', 'b/', 'a/b/', 'é/'][pick(4)]}${key}` : key
}
