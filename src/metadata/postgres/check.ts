import type pg from 'pg'
import { placeBytes } from '../../domain/manifest.ts'
import type { Extent, PartSummary } from '../../domain/model.ts'
import type { BlobFate, CheckedRow, CheckPosition, CheckStore, SweepStore } from '../store.ts'
import { hexArray, numberArray, textArray } from './arrays.ts'
import { openLine, openPool, readSetup, type Line } from './connect.ts'
import { assertMigrated } from './migrate.ts'
import { unpackedChecksum } from './packed.ts'
import { checksumOf, extentsOf, manifestText, versionColumns, versionIdOfRow, versionRow, type WireRow } from './rows.ts'
import { openSweep } from './sweep.ts'
import { inTransaction } from './transaction.ts'

const pageRowsMax = 500
/** A version of ten thousand parts has half a MiB of manifest: a page is bounded by bytes too. */
const pageBytesMax = 8 * 1024 ** 2
const tables = ['objects', 'noncurrent_versions', 'parts'] as const

/** What scrub and fsck use of the metadata when they are programs of their own. */
export interface CheckDatabase extends CheckStore, Pick<SweepStore, 'relocations' | 'drives'> {
  /** Whether it has bytes that may not be in their segments: those of the last second before a server died. */
  carries(): Promise<boolean>
  close(): Promise<void>
}

/** Opens a database only to look at it: it is not migrated, and no secret is needed. Rejects when it is of another version. */
export async function openCheckDatabase(options: { connection: pg.ClientConfig; log: (message: string) => void }): Promise<CheckDatabase> {
  const { connection, log } = options
  await assertMigrated(connection)
  const line = openLine({ connection, setup: readSetup, log, waitMs: 30_000 })
  const pool = openPool({ ...connection, max: 1, connectionTimeoutMillis: 5000 }, log)
  const { relocations, drives } = openSweep(line, pool, Date.now)
  return {
    ...openChecks(line, pool), relocations, drives,
    carries: async () => (await line.query({ name: 'carries', text: 'SELECT EXISTS (SELECT FROM carried_records)', values: [] }))[0]?.[0] === 't',
    async close() {
      await line.close()
      await pool.end()
    },
  }
}

export function openChecks(line: Line, pool: pg.Pool): CheckStore {
  return {
    checkedRows: (after) => rowsAfter(line, after),
    namesStill: (row) => namesStill(line, row),

    fates: async (blobs) => {
      const rows = await line.query({
        name: 'blob_fates', text: fatesText,
        values: [
          hexArray(blobs.map(({ blob }) => blob)), numberArray(blobs.map(({ bucketId }) => bucketId)), textArray(blobs.map(({ key }) => key)),
          hexArray(blobs.map(({ blob, place }) => Buffer.from(placeBytes(blob, place)).toString('hex'))), textArray(blobs.map(({ place }) => JSON.stringify(place))),
        ],
      })
      return new Map(rows.map((row) => [row[0] as string, fateOf(row)]))
    },

    shared: async (blobs) => {
      const rows = await line.query({
        name: 'shared_blobs', text: `SELECT encode(blob, 'hex') FROM blob_references WHERE blob = ANY ($1::bytea[])`, values: [hexArray(blobs)],
      })
      return new Set(rows.map((row) => row[0] as string))
    },

    checkTotals: async () => {
      const [row] = await line.query({ name: 'check_totals', text: 'SELECT coalesce(sum(versions), 0), coalesce(sum(bytes), 0) FROM bucket_usage', values: [] })
      return { versions: Number(row?.[0]), bytes: Number(row?.[1]) }
    },

    // Writes of versions and marks draw from the sequence, deletions change the usage, what is released or moved has a row.
    changeMark: async () => {
      const [row] = await line.query({
        name: 'change_mark',
        text: `SELECT concat_ws('/', (SELECT last_value FROM version_sequence), (SELECT sum(objects) FROM bucket_usage), (SELECT sum(versions) FROM bucket_usage),
          (SELECT sum(bytes) FROM bucket_usage), (SELECT max(id) FROM released_blobs), (SELECT count(*) FROM released_blobs), (SELECT count(*) FROM blob_relocations),
          (SELECT count(*) FROM parts), (SELECT max(last_modified) FROM parts))`,
        values: [],
      })
      return row?.[0] as string
    },

    addRelocations: (moves) => inTransaction(pool, async (client) => {
      const { rowCount } = await client.query(
        'INSERT INTO blob_relocations (blob, place) SELECT * FROM unnest($1::bytea[], $2::jsonb[]) ON CONFLICT (blob) DO NOTHING',
        [hexArray(moves.map(({ blob }) => blob)), textArray(moves.map(({ place }) => JSON.stringify(place)))],
      )
      return rowCount ?? 0
    }),
  }
}

/** As the sweeper's `referenced`, but each reason apart. */
const fatesText = `SELECT encode(k.blob, 'hex'),
    (SELECT count FROM blob_references r WHERE r.blob = k.blob),
    (SELECT count(*) FROM released_blobs r WHERE r.blob = k.blob AND NOT r.dead), EXISTS (SELECT FROM released_blobs r WHERE r.blob = k.blob AND r.dead),
    n.named, n.here OR EXISTS (SELECT FROM released_blobs r WHERE r.blob = k.blob AND r.place = k.place), (SELECT place FROM blob_relocations m WHERE m.blob = k.blob)
  FROM unnest($1::bytea[], $2::integer[], $3::text[], $4::bytea[], $5::jsonb[]) AS k (blob, bucket_id, key, needle, place),
  LATERAL (SELECT coalesce(bool_or(true), false) AS named, coalesce(bool_or(position(k.needle in m.manifest) > 0), false) AS here FROM (
    SELECT o.manifest FROM objects o WHERE o.bucket_id = k.bucket_id AND o.key = k.key
    UNION ALL SELECT v.manifest FROM noncurrent_versions v WHERE v.bucket_id = k.bucket_id AND v.key = k.key
    UNION ALL SELECT p.manifest FROM uploads u JOIN parts p ON p.upload_id = u.upload_id WHERE u.bucket_id = k.bucket_id AND u.key = k.key AND u.state = 'open'
  ) m WHERE position(k.blob in m.manifest) > 0) n`

function fateOf(row: WireRow): BlobFate {
  const [, count, released, dead, named, here, moved] = row
  // A shared blob has references that its owner's key does not show; releases that are not settled yet are still counted.
  const live = named === 't' || (count !== null && Number(count) > Number(released))
  return {
    live, here: here === 't', released: !live && (Number(released) > 0 || dead === 't'), shared: count !== null,
    moved: moved === null || moved === undefined ? null : JSON.parse(moved) as Extent['place'],
  }
}

async function rowsAfter(line: Line, after: CheckPosition | null): Promise<{ rows: CheckedRow[]; next: CheckPosition | null }> {
  for (let index = after === null ? 0 : tables.indexOf(after.table); index < tables.length; index++) {
    const table = tables[index] ?? 'objects'
    const from = after !== null && after.table === table ? after : { table, bucketId: 0, key: '', seq: 0 }
    const found = await line.query({
      name: `checked_${table}`, text: pageTexts[table],
      values: table === 'parts' ? [from.key, from.seq] : table === 'objects' ? [from.bucketId, from.key] : [from.bucketId, from.key, from.seq],
    })
    const rows = found.map(table === 'parts' ? checkedPart : (row) => checkedVersion(row, table))
    const last = rows.at(-1)
    if (last !== undefined) return { rows, next: last.position }
  }
  return { rows: [], next: null }
}

const columnsOf = (table: string): string => versionColumns.map((column) => `${table}.${column}`).join(', ')
const partColumns = ['upload_id', 'part_number', 'size', 'etag', 'checksum_algorithm', 'checksum_type', 'checksum_value', 'manifest'] as const

/** At least one row, then as many as fit: `taken` is the bytes of all rows up to this one. */
const bounded = (inner: string, order: string, columns: string, more: string, joins: string): string =>
  `SELECT ${columns}, ${more} FROM (
    SELECT v.*, octet_length(v.manifest) + coalesce(pg_column_size(v.parts_size), 0) AS own,
      sum(octet_length(v.manifest) + coalesce(pg_column_size(v.parts_size), 0)) OVER (ORDER BY ${order}) AS taken FROM (${inner}) v
  ) v ${joins} WHERE v.taken - v.own <= ${pageBytesMax} ORDER BY ${order}`

const bucketJoin = 'LEFT JOIN buckets b ON b.id = v.bucket_id'
const noncurrent = 'SELECT n.*, n.parts AS parts_size FROM noncurrent_versions n WHERE n.etag IS NOT NULL'
const pageTexts = {
  objects: bounded(
    `SELECT o.*, o.parts AS parts_size FROM objects o WHERE (o.bucket_id, o.key) > ($1::integer, $2::text) ORDER BY o.bucket_id, o.key LIMIT ${pageRowsMax}`,
    'v.bucket_id, v.key', columnsOf('v'), 'b.name', bucketJoin,
  ),
  // First what is left of the key itself: a key may have more versions than a page.
  noncurrent_versions: bounded(
    `SELECT * FROM (
      (${noncurrent} AND n.bucket_id = $1::integer AND n.key = $2::text AND n.seq < $3::bigint ORDER BY n.seq DESC LIMIT ${pageRowsMax})
      UNION ALL (${noncurrent} AND (n.bucket_id, n.key) > ($1::integer, $2::text) ORDER BY n.bucket_id, n.key, n.seq DESC LIMIT ${pageRowsMax})
    ) u ORDER BY u.bucket_id, u.key, u.seq DESC LIMIT ${pageRowsMax}`,
    'v.bucket_id, v.key, v.seq DESC', columnsOf('v'), 'b.name', bucketJoin,
  ),
  parts: bounded(
    `SELECT p.*, NULL::text AS parts_size FROM parts p WHERE (p.upload_id, p.part_number) > ($1::text, $2::integer) ORDER BY p.upload_id, p.part_number LIMIT ${pageRowsMax}`,
    'v.upload_id, v.part_number', partColumns.map((column) => `v.${column}`).join(', '), 'u.bucket_id, u.key, b.name',
    `LEFT JOIN uploads u ON u.upload_id = v.upload_id AND u.state = 'open' LEFT JOIN buckets b ON b.id = u.bucket_id`,
  ),
} as const

function checkedVersion(wire: WireRow, table: 'objects' | 'noncurrent_versions'): CheckedRow {
  const row = versionRow(wire)
  return {
    position: { table, bucketId: row.bucketId, key: row.key, seq: row.seq },
    bucketId: row.bucketId, bucket: wire[versionColumns.length] ?? '', key: row.key, versionId: versionIdOfRow(row), upload: null,
    isLatest: table === 'objects', size: row.size, etag: row.etag,
    checksum: row.checksum === null ? null : unpackedChecksum(row.checksum),
    parts: row.parts === null ? null : JSON.parse(row.parts) as PartSummary[],
    ...manifestOf(row.manifest),
  }
}

function checkedPart(wire: WireRow): CheckedRow {
  const [uploadId = '', number, size, etag, algorithm, type, value, manifest, bucketId, key, bucket] = wire
  const partNumber = Number(number)
  const upload = { uploadId: uploadId ?? '', partNumber }
  const row = {
    position: { table: 'parts' as const, bucketId: 0, key: upload.uploadId, seq: partNumber },
    bucketId: Number(bucketId ?? 0), bucket: bucket ?? '', key: key ?? '', versionId: null, upload, isLatest: false, size: Number(size), etag: etag ?? '',
    checksum: checksumOf(algorithm ?? null, type ?? null, value ?? null), parts: null, ...manifestOf(manifest ?? null),
  }
  return bucketId === null ? { ...row, problem: 'the part belongs to no open upload' } : row
}

function manifestOf(text: string | null): Pick<CheckedRow, 'manifest' | 'problem'> {
  try {
    return { manifest: extentsOf(text), problem: null }
  } catch (error) {
    return { manifest: [], problem: `the manifest cannot be read: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** A version keeps its number when it stops being current; its bytes never change. A part may be sent again. */
async function namesStill(line: Line, { upload, position, bucketId, key, manifest, problem }: CheckedRow): Promise<boolean> {
  const [row] = upload === null
    ? await line.query({
      name: 'names_version',
      text: `SELECT FROM objects WHERE bucket_id = $1 AND key = $2 AND seq = $3 UNION ALL SELECT FROM noncurrent_versions WHERE bucket_id = $1 AND key = $2 AND seq = $3`,
      values: [bucketId, key, position.seq],
    })
    : await line.query({
      name: 'names_part', text: 'SELECT FROM parts WHERE upload_id = $1 AND part_number = $2 AND ($4 OR manifest = $3::bytea)',
      values: [upload.uploadId, upload.partNumber, manifestText(manifest), problem !== null],
    })
  return row !== undefined
}
