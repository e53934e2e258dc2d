import type { ListedObject } from '../../domain/model.ts'
import { checksumKind, unpackedEtag } from './packed.ts'
import type { WireRow } from './rows.ts'

/**
 * A page of objects as one row: each column of the whole page is one value. A thousand rows of seven values cost PostgreSQL half
 * as much again to send, and this program ten times as much to read.
 */

export const pageColumns = ['key', 'size', 'last_modified', 'etag', 'checksum'] as const

/** Between keys. A key may hold it, too: the number of keys tells. */
const separator = '\u0001'

/** `query` gives `pageColumns` in the order of the page. */
export const columnsOf = (query: string): string => `SELECT count(*), string_agg(key, E'\\x01'), array_agg(size), array_agg(last_modified),
  string_agg(encode(etag, 'hex'), ','), string_agg(coalesce(substring(checksum FOR 1), '\\x00'), '') FROM (${query}) page`

/** The objects of a page; null when a key holds the separator, so that the keys cannot be told apart. */
export function objectsOf(row: WireRow): ListedObject[] | null {
  const [count, keys, sizes, times, etags, checksums] = row as [string, ...(string | null)[]]
  if (count === '0') return []
  const key = (keys as string).split(separator)
  if (key.length !== Number(count)) return null
  const size = numbers(sizes as string)
  const lastModified = numbers(times as string)
  const etag = (etags as string).split(',')
  const kind = checksums as string
  return key.map((each, index) => {
    const checksum = checksumKind(Number.parseInt(kind.slice(2 + 2 * index, 4 + 2 * index), 16))
    return {
      key: each, lastModified: Number(lastModified[index]), etag: unpackedEtag(etag[index] as string, 0), size: Number(size[index]),
      checksumAlgorithm: checksum?.algorithm ?? null, checksumType: checksum?.type ?? null,
    }
  })
}

/** Of an array literal. */
const numbers = (literal: string): string[] => literal.slice(1, -1).split(',')

/** One row of `pageColumns`. */
export function objectOf(row: WireRow): ListedObject {
  const [key, size, lastModified, etag, checksum] = row as [string, string, string, string, string | null]
  const kind = checksum === null ? null : checksumKind(Number.parseInt(checksum.slice(2, 4), 16))
  return {
    key, lastModified: Number(lastModified), etag: unpackedEtag(etag, 2), size: Number(size),
    checksumAlgorithm: kind?.algorithm ?? null, checksumType: kind?.type ?? null,
  }
}
