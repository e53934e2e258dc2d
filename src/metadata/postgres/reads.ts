import type { AnyVersion } from '../../domain/model.ts'
import { parseVersionId } from '../../versioning/versions.ts'
import { numberArray, textArray } from './arrays.ts'
import type { Line } from './connect.ts'
import { versionColumns, versionIdOfRow, versionOfRow, versionRow, type WireRow } from './rows.ts'

/** Point look-ups of versions, as many at a time as were asked for in one turn of the event loop. */
export interface VersionReads {
  version(bucketId: number, key: string, versionId?: string): Promise<AnyVersion | null>
}

interface Asked {
  readonly bucketId: number
  readonly key: string
  readonly resolve: (version: AnyVersion | null) => void
  readonly reject: (error: unknown) => void
}

const columns = (table: string): string => versionColumns.map((column) => `${table}.${column}`).join(', ')
const batchMax = 128

export function openVersionReads(line: Line): VersionReads {
  let asked: Asked[] = []

  const flush = (): void => {
    const batch = asked
    asked = []
    for (let at = 0; at < batch.length; at += batchMax) void answer(line, batch.slice(at, at + batchMax))
  }

  return {
    version: (bucketId, key, versionId) => {
      if (versionId !== undefined) return namedVersion(line, bucketId, key, versionId)
      return new Promise((resolve, reject) => {
        asked.push({ bucketId, key, resolve, reject })
        if (asked.length === 1) setImmediate(flush)
      })
    },
  }
}

async function answer(line: Line, batch: readonly Asked[]): Promise<void> {
  try {
    const rows = batch.length === 1 ? await readOne(line, batch[0] as Asked) : await readMany(line, batch)
    for (const [index, one] of batch.entries()) {
      const row = rows[index]
      // A row that cannot be decoded fails its own reader, not the others.
      try {
        one.resolve(row ? versionOfRow(versionRow(row), true) : null)
      } catch (error) {
        one.reject(error)
      }
    }
  } catch (error) {
    for (const one of batch) one.reject(error)
  }
}

const readOne = (line: Line, { bucketId, key }: Asked): Promise<WireRow[]> =>
  line.query({ name: 'version', text: `SELECT ${columns('o')} FROM objects o WHERE o.bucket_id = $1 AND o.key = $2`, values: [bucketId, key] })

async function readMany(line: Line, batch: readonly Asked[]): Promise<(WireRow | undefined)[]> {
  const rows = await line.query({
    name: 'versions',
    text: `SELECT ${columns('o')}, k.place FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY AS k (bucket_id, key, place)
      JOIN objects o ON o.bucket_id = k.bucket_id AND o.key = k.key`,
    values: [numberArray(batch.map((one) => one.bucketId)), textArray(batch.map((one) => one.key))],
  })
  const byPlace: (WireRow | undefined)[] = Array.from({ length: batch.length })
  for (const row of rows) byPlace[Number(row[versionColumns.length]) - 1] = row
  return byPlace
}

/** One statement over both tables: a version that moves from one to the other meanwhile is seen in exactly one of them. */
async function namedVersion(line: Line, bucketId: number, key: string, versionId: string): Promise<AnyVersion | null> {
  const id = parseVersionId(versionId)
  if (id === undefined) return null
  const [field, value] = id === 'null' ? ['is_null', true] as const : ['seq', id.seq] as const
  const from = (table: string, latest: boolean): string =>
    `SELECT ${columns('v')}, ${latest} FROM ${table} v WHERE v.bucket_id = $1 AND v.key = $2 AND v.${field}${field === 'seq' ? ' = $3' : ' AND $3::boolean'}`
  const [row] = await line.query({
    name: `version_by_${field}`, text: `${from('objects', true)} UNION ALL ${from('noncurrent_versions', false)}`, values: [bucketId, key, value],
  })
  if (row === undefined) return null
  const found = versionRow(row)
  return versionIdOfRow(found) === versionId ? versionOfRow(found, row[versionColumns.length] === 't') : null
}
