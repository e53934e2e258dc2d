import type { AnyVersion } from '../../domain/model.ts'
import { perTurn } from '../../domain/per-turn.ts'
import { parseVersionId } from '../../versioning/versions.ts'
import { numberArray, textArray } from './arrays.ts'
import type { Line } from './connect.ts'
import { lookUp, ofKey } from './look-up.ts'
import type { Reading, VersionCache } from './version-cache.ts'
import { versionIdOfRow, versionOfRow, versionRow, type VersionRow, type WireRow } from './rows.ts'

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

/** What a reader needs and does not know already, in the order of `foundRow`. */
const foundColumns = ['seq', 'size', 'last_modified', 'nonce', 'etag', 'checksum', 'owner_account_id', 'metadata', 'tags', 'parts', 'manifest'] as const
const columns = (table: string): string => foundColumns.map((column) => `${table}.${column}`).join(', ')
const foundRow = (bucketId: number, key: string, row: WireRow): VersionRow =>
  versionRow([row[0], row[1], row[2], row[3], String(bucketId), key, row[4], row[5], row[6], row[7], row[8], row[9], row[10], null] as WireRow)
const batchMax = 128

/** `cache`: where current versions are remembered; null when they are not. */
export function openVersionReads(line: Line, cache: VersionCache | null = null): VersionReads {
  const ask = perTurn<Asked>((asked) => {
    const batch = cache === null ? asked : answeredFrom(cache, asked)
    for (let at = 0; at < batch.length; at += batchMax) void answer(line, batch.slice(at, at + batchMax), cache)
  })
  return {
    version: (bucketId, key, versionId) => {
      if (versionId !== undefined) return namedVersion(line, bucketId, key, versionId)
      return new Promise((resolve, reject) => ask({ bucketId, key, resolve, reject }))
    },
  }
}

/** Resolves those that are remembered; the others. */
function answeredFrom(cache: VersionCache, batch: readonly Asked[]): Asked[] {
  return batch.filter(({ bucketId, key, resolve }) => {
    const known = cache.get(bucketId, key)
    if (known !== undefined) resolve(known)
    return known === undefined
  })
}

async function answer(line: Line, batch: readonly Asked[], cache: VersionCache | null): Promise<void> {
  const readings = cache === null ? [] : batch.map(({ bucketId, key }) => cache.reading(bucketId, key))
  try {
    const missing = answered(batch, batch.length === 1 ? await readOne(line, batch[0] as Asked) : await readMany(line, batch), readings)
    if (missing.length === 0) return
    // A delete marker may be there instead, or by now an object: one statement over both tables sees each key at one moment.
    for (const { resolve } of answered(missing, await readEither(line, missing))) resolve(null)
  } catch (error) {
    // Those that were answered do not hear it.
    for (const { reject } of batch) reject(error)
  } finally {
    for (const reading of readings) reading?.ended()
  }
}

/** Resolves those whose row is there; the others. */
function answered(batch: readonly Asked[], rows: readonly (WireRow | undefined)[], readings: readonly (Reading | null)[] = []): Asked[] {
  const missing: Asked[] = []
  for (const [index, one] of batch.entries()) {
    const row = rows[index]
    if (row === undefined) {
      missing.push(one)
      continue
    }
    // A row that cannot be decoded fails its own reader, not the others.
    try {
      const version = versionOfRow(foundRow(one.bucketId, one.key, row), true)
      readings[index]?.found(version, charactersOf(row))
      one.resolve(version)
    } catch (error) {
      one.reject(error)
    }
  }
  return missing
}

const charactersOf = (row: WireRow): number => row.reduce((sum, field) => sum + (field?.length ?? 0), 0)

const oneText = `SELECT ${columns('o')} FROM objects o WHERE o.bucket_id = $1 AND o.key = $2`
const readOne = (line: Line, { bucketId, key }: Asked): Promise<WireRow[]> => line.query({ name: 'version', text: oneText, values: [bucketId, key] })

const wanted = 'unnest($1::integer[], $2::text[]) WITH ORDINALITY AS k (bucket_id, key, place)'
const manyText = `SELECT ${columns('o')}, k.place FROM ${wanted}, ${lookUp('objects', 'o', ofKey('objects'))}`
const readMany = (line: Line, batch: readonly Asked[]): Promise<(WireRow | undefined)[]> => readBatch(line, batch, 'versions', manyText)

const eitherText = `${manyText} UNION ALL
  SELECT ${columns('n')}, k.place FROM ${wanted}, ${lookUp('noncurrent_versions', 'n', `${ofKey('noncurrent_versions')} AND noncurrent_seq IS NULL`)}`
const readEither = (line: Line, batch: readonly Asked[]): Promise<(WireRow | undefined)[]> => readBatch(line, batch, 'versions_or_markers', eitherText)

async function readBatch(line: Line, batch: readonly Asked[], name: string, text: string): Promise<(WireRow | undefined)[]> {
  const rows = await line.query({ name, text, values: [numberArray(batch.map((one) => one.bucketId)), textArray(batch.map((one) => one.key))] })
  const byPlace: (WireRow | undefined)[] = Array.from({ length: batch.length })
  for (const row of rows) byPlace[Number(row[foundColumns.length]) - 1] = row
  return byPlace
}

/** One statement over both tables: a version that moves from one to the other meanwhile is seen in exactly one of them. */
const namedText = (condition: string): string => {
  const from = (table: string, latest: string): string => `SELECT ${columns('v')}, ${latest} FROM ${table} v WHERE v.bucket_id = $1 AND v.key = $2 AND ${condition}`
  return `${from('objects', 'true')} UNION ALL ${from('noncurrent_versions', 'v.noncurrent_seq IS NULL')}`
}
const nullText = namedText('v.nonce IS NULL AND $3::boolean')
const bySeqText = namedText('v.seq = $3')

async function namedVersion(line: Line, bucketId: number, key: string, versionId: string): Promise<AnyVersion | null> {
  const id = parseVersionId(versionId)
  if (id === undefined) return null
  const [row] = await line.query(id === 'null'
    ? { name: 'null_version', text: nullText, values: [bucketId, key, true] }
    : { name: 'version_by_seq', text: bySeqText, values: [bucketId, key, id.seq] })
  if (row === undefined) return null
  const found = foundRow(bucketId, key, row)
  return versionIdOfRow(found) === versionId ? versionOfRow(found, row[foundColumns.length] === 't') : null
}
