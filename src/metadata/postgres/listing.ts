import type { ListedObject, ListedVersion } from '../../domain/model.ts'
import { paced } from '../../domain/paced.ts'
import { parseVersionId } from '../../versioning/versions.ts'
import type { ListedPage, ListedVersions, ListPage } from '../store.ts'
import type { Line, Statement } from './connect.ts'
import { afterPrefix, commonPrefix, pageRange, type Range } from './listing-bounds.ts'
import { columnsOf, objectOf, objectsOf, pageColumns } from './listing-columns.ts'
import { fillPage, type Source } from './page.ts'
import { listedColumns, listedVersion, type WireRow } from './rows.ts'

export interface Listing {
  listObjects(bucketId: number, page: ListPage): Promise<ListedPage<ListedObject>>
  listVersions(bucketId: number, page: ListPage & { afterVersionId?: string }): Promise<ListedVersions>
}

/** `nextLine` spreads listings over several connections, so that a long page does not hold up the others. */
export function openListing(nextLine: () => Line): Listing {
  return {
    listObjects: async (bucketId, page) => {
      const line = nextLine()
      const source: Source<ListedObject> = { scan: (range, limit) => objects(line, 'list_objects', objectsText, [bucketId, range.from, upper(range), limit]), skip: skipObjects(line, bucketId, page), rest: null }
      return fillPage(source, page, pageRange(page, false), [])
    },
    listVersions: async (bucketId, page) => {
      const line = nextLine()
      const source: Source<ListedVersion> = {
        scan: (range, limit) => versions(line, { name: 'list_versions', text: versionsText, values: [bucketId, range.from, upper(range), limit] }),
        skip: null,
        rest: (last, limit) => olderVersions(line, bucketId, last.key, last.seq, limit),
      }
      const resumed = await resume(line, bucketId, page)
      const { last, ...filled } = await fillPage(source, page, pageRange(page, resumed === null), resumed ?? [])
      return { ...filled, nextVersionId: last?.versionId ?? null }
    },
  }
}

const columns = (table: string): string => listedColumns.map((column) => `${table}.${column}`).join(', ')
const inRange = (table: string): string => `${table}.bucket_id = $1 AND ${table}.key >= $2 AND ${table}.key < $3`

/** Above every key: a key has 1,024 bytes at most, which is 256 of the last code point. One statement then serves every range. */
const aboveAll = '\u{10ffff}'.repeat(257)
export const upper = (range: Range): string => range.to ?? aboveAll

const either = (row: WireRow): ListedVersion => listedVersion(row, 0, row[listedColumns.length] === 't')

const objectsText = `SELECT ${pageColumns.join(', ')} FROM objects o WHERE ${inRange('o')} ORDER BY o.key LIMIT $4`

/** `text` gives rows of `pageColumns`. */
async function objects(line: Line, name: string, text: string, values: Statement['values']): Promise<ListedObject[]> {
  const [page] = await line.query({ name, text: columnsOf(text), values }) as [WireRow]
  await turnFor(Number(page[0]))
  return objectsOf(page) ?? (await line.query({ name: `${name}_by_row`, text, values })).map(objectOf)
}

/**
 * A page of a thousand keys is a millisecond or two of the main thread until it is sent, and those that clients have asked for
 * together come together. Ten of them in a turn are as many as others should wait for.
 */
const turnFor = paced(10_000)

/** Each table gives as many rows as the page needs, in the order of its index; of these, the first ones in common order. */
const versionsText = `SELECT * FROM (
    (SELECT ${columns('c')}, true FROM objects c WHERE ${inRange('c')} ORDER BY c.key LIMIT $4)
    UNION ALL (SELECT ${columns('n')}, n.noncurrent_seq IS NULL FROM noncurrent_versions n WHERE ${inRange('n')} ORDER BY n.key, n.seq DESC LIMIT $4)
  ) v ORDER BY key, seq DESC LIMIT $4`

/** `statement` gives rows of `listedColumns` and whether each is the latest of its key. */
async function versions(line: Line, statement: Statement): Promise<ListedVersion[]> {
  const rows = await line.query(statement)
  await turnFor(rows.length)
  return rows.map(either)
}

/**
 * A walk along the index: after a key that the delimiter rolls up, on to the first key behind its common prefix. That one
 * is the text before the delimiter and the successor of the delimiter. Only the objects between the prefixes are read;
 * of what a prefix rolls up, a page shows nothing but the prefix.
 */
function skipObjects(line: Line, bucketId: number, page: ListPage): Source<ListedObject>['skip'] {
  const afterDelimiter = afterPrefix(page.delimiter)
  if (page.delimiter === '' || afterDelimiter === null) return null
  const prefixChars = Array.from(page.prefix).length
  return (range, limit) => objects(line, 'skip_objects', skipText, [bucketId, range.from, upper(range), page.delimiter, prefixChars, afterDelimiter, limit])
}

const step = (from: string): string => `SELECT o.key, position($4::text in substr(o.key, $5::integer + 1)) AS found
  FROM objects o WHERE o.bucket_id = $1 AND o.key >= ${from} AND o.key < $3 ORDER BY o.key LIMIT 1`
const behindStep = `CASE WHEN walk.found = 0 THEN walk.key || chr(1) ELSE left(walk.key, $5::integer + walk.found - 1) || $6::text END`
const skipText = `WITH RECURSIVE walk AS (
    (SELECT first.*, 1 AS place FROM (${step('$2')}) first)
    UNION ALL SELECT next.*, walk.place + 1 FROM walk, LATERAL (${step(behindStep)}) next WHERE walk.place < $7::integer
  ) SELECT walk.key, coalesce(o.size, 0) AS size, coalesce(o.last_modified, 0) AS last_modified, coalesce(o.etag, '') AS etag, o.checksum
  FROM walk LEFT JOIN LATERAL (SELECT * FROM objects WHERE walk.found = 0 AND bucket_id = $1 AND key = walk.key LIMIT 1) o ON true ORDER BY walk.place`

/**
 * The versions that follow `afterVersionId` inside its key. Null when that is not asked for, or when the version was a null
 * version that is gone: its place is lost with it, and the key is listed again from its newest version.
 */
async function resume(line: Line, bucketId: number, page: ListPage & { afterVersionId?: string }): Promise<ListedVersion[] | null> {
  const { afterVersionId, after } = page
  if (afterVersionId === undefined || after === '') return []
  if (!after.startsWith(page.prefix) || commonPrefix(after, page.prefix, page.delimiter) !== null) return []
  const seq = await seqOf(line, bucketId, after, afterVersionId)
  return seq === null ? null : olderVersions(line, bucketId, after, seq, page.limit + 1)
}

/** The versions of a key below a sequence number, newest first. */
function olderVersions(line: Line, bucketId: number, key: string, seq: number, limit: number): Promise<ListedVersion[]> {
  return versions(line, {
    name: 'list_versions_of_key',
    text: `SELECT * FROM (
        SELECT ${columns('c')}, true FROM objects c WHERE c.bucket_id = $1 AND c.key = $2 AND c.seq < $3
        UNION ALL (SELECT ${columns('n')}, n.noncurrent_seq IS NULL FROM noncurrent_versions n WHERE n.bucket_id = $1 AND n.key = $2 AND n.seq < $3 ORDER BY n.seq DESC LIMIT $4)
      ) v ORDER BY seq DESC LIMIT $4`,
    values: [bucketId, key, seq, limit],
  })
}

async function seqOf(line: Line, bucketId: number, key: string, versionId: string): Promise<number | null> {
  const id = parseVersionId(versionId)
  if (id !== 'null') return id?.seq ?? null
  const [row] = await line.query({
    name: 'null_seq',
    text: `SELECT seq FROM objects WHERE bucket_id = $1 AND key = $2 AND nonce IS NULL
      UNION ALL SELECT seq FROM noncurrent_versions WHERE bucket_id = $1 AND key = $2 AND nonce IS NULL`,
    values: [bucketId, key],
  })
  return row === undefined ? null : Number(row[0])
}
