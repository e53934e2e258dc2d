import type { ListedPage, ListPage } from '../store.ts'
import { afterKey, afterPrefix, commonPrefix, compareKeys, type Range } from './listing-bounds.ts'

/** Anything that listings show by key: versions, uploads. */
export interface Keyed {
  readonly key: string
}

export interface Source<Row extends Keyed> {
  /** Rows of the range in order, the first `limit` of them. */
  scan(range: Range, limit: number): Promise<readonly Row[]>
  /**
   * The same, but only the first row below each common prefix: one index probe for each, all in one query. Null when the
   * delimiter does not allow it.
   */
  readonly skip: ((range: Range, limit: number) => Promise<readonly Row[]>) | null
  /** The rows of the same key that come after this one, the first `limit` of them. Null where a key has one row. */
  readonly rest: ((last: Row, limit: number) => Promise<readonly Row[]>) | null
}

export interface Page<Row> extends ListedPage<Row> {
  /** The row behind `next`, null when that is a common prefix. */
  readonly last: Row | null
}

/** While a scan may run into a common prefix, reading far ahead is wasted. */
const shortScanRows = 16

/**
 * Fills a page from `first` (rows that come before the range: the rest of a key's versions) and the range. Its cost is bounded
 * by the page: a scan reads as many rows as are still missing, and jumps over what a common prefix rolls up.
 */
export async function fillPage<Row extends Keyed>(source: Source<Row>, page: ListPage, range: Range | null, first: readonly Row[]): Promise<Page<Row>> {
  const filling: Filling<Row> = { entries: [], prefix: null }
  // One more than the page holds tells whether it is the last.
  const missing = () => page.limit + 1 - filling.entries.length
  add(filling, first, page)
  let rest = range
  let jumped = false
  // With a delimiter the first rows tell whether there is anything to jump over.
  let short = page.delimiter !== ''
  while (rest !== null && missing() > 0) {
    const skip: Source<Row>['skip'] = jumped ? source.skip : null
    const limit = short && skip === null ? Math.min(missing(), shortScanRows) : missing()
    const rows: readonly Row[] = await (skip ?? source.scan)(rest, limit)
    jumped = add(filling, rows, page) || jumped
    short = jumped
    const last = rows.at(-1)
    if (last === undefined || rows.length < limit) break
    // The scan may have ended between two rows of one key, and the next range begins behind that key.
    if (source.rest !== null && filling.prefix === null && missing() > 0) add(filling, await source.rest(last, missing()), page)
    rest = behind(last.key, page, rest)
  }
  return finish(filling, page)
}

interface Filling<Row> {
  /** Rows and common prefixes in order. */
  readonly entries: (Row | string)[]
  /** The common prefix that the rows are in at the moment. */
  prefix: string | null
}

/** True when a common prefix rolled up more than one row. */
function add<Row extends Keyed>(filling: Filling<Row>, rows: readonly Row[], page: ListPage): boolean {
  let rolledUp = false
  for (const row of rows) {
    const prefix = commonPrefix(row.key, page.prefix, page.delimiter)
    if (prefix !== null && prefix === filling.prefix) rolledUp = true
    else filling.entries.push(prefix ?? row)
    filling.prefix = prefix
  }
  return rolledUp
}

function finish<Row extends Keyed>(filling: Filling<Row>, page: ListPage): Page<Row> {
  const truncated = filling.entries.length > page.limit
  const entries = filling.entries.slice(0, page.limit)
  const end = truncated ? entries.at(-1) : undefined
  return {
    rows: entries.filter((entry) => typeof entry !== 'string'),
    commonPrefixes: entries.filter((entry) => typeof entry === 'string'),
    truncated,
    next: end === undefined ? '' : typeof end === 'string' ? end : end.key,
    last: end === undefined || typeof end === 'string' ? null : end,
  }
}

function behind(key: string, page: ListPage, range: Range): Range | null {
  const prefix = commonPrefix(key, page.prefix, page.delimiter)
  const from = prefix === null ? afterKey(key) : afterPrefix(prefix)
  return from === null || (range.to !== null && compareKeys(from, range.to) >= 0) ? null : { from, to: range.to }
}
