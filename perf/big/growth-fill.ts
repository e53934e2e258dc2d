import { createHash } from 'node:crypto'
import { existsSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Client } from 'pg'
import { decodeManifest } from '../../src/domain/manifest.ts'
import type { Server } from '../server.ts'
import { must, say, sendAll, smallBody, smallBytes, withDatabase } from './bench.ts'

/**
 * A bucket with more objects than the protocol can bring in while somebody waits. The first ones are PUT; the rest become rows in
 * the database that differ from those only in key and version. Their manifests point at the real records, round robin, and
 * the counts of references say so: each of them is read and verified like any other, and the sweeper stays right.
 */
export const growthBucket = 'growth'
export const prefixes = 1000
/** So many are PUT; all others share their bytes. */
export const realObjects = 10_000
const rowsAtOnce = 1_000_000
const freeBytesMin = 15 * 1024 ** 3
const stateName = 'perf-growth.json'

/** 40 bytes: one of 1,000 prefixes in turn, then what a random name looks like, so that the indexes grow as they do in life. */
export function growthKey(index: number): string {
  return `p${String(index % prefixes).padStart(4, '0')}/object-${createHash('md5').update(String(index)).digest('hex').slice(0, 27)}`
}
const keySql = `'p' || lpad((i % ${prefixes})::text, 4, '0') || '/object-' || left(md5(i::text), 27)`

/** How many objects the folder holds already, of a run that kept it. */
export function filledObjects(dataDir: string): number {
  const file = path.join(dataDir, stateName)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { objects: number }).objects : 0
}

const remember = (dataDir: string, objects: number): void => writeFileSync(path.join(dataDir, stateName), JSON.stringify({ objects }))

/** Brings the bucket from `from` to `to` objects; gives the seconds that it took. Throws when the disk would become too full. */
export async function fillTo(server: Server, dataDir: string, from: number, to: number): Promise<number> {
  const startedAt = performance.now()
  let at = from
  if (at === 0) {
    await must(server, 'PUT', growthBucket, '')
    at = Math.min(realObjects, to)
    await sendAll(server, 'PUT', Array.from({ length: at }, (_, index) => server.signer.path('PUT', growthBucket, growthKey(index))), 64, smallBody)
    remember(dataDir, at)
  }
  await withDatabase(dataDir, async (client) => {
    if (at < to) await addRows(client, dataDir, at, to)
    // Autovacuum would do it within minutes of quiet; the figures should not depend on whether it has.
    for (const statement of ['VACUUM (ANALYZE) objects', 'VACUUM (ANALYZE) blob_references', 'CHECKPOINT']) await client.query(statement)
  })
  return (performance.now() - startedAt) / 1000
}

async function addRows(client: Client, dataDir: string, from: number, to: number): Promise<void> {
  const { rows: columnRows } = await client.query<{ name: string }>(
    `SELECT quote_ident(attname) AS name FROM pg_attribute WHERE attrelid = 'objects'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
  )
  const columns = columnRows.map(({ name }) => name)
  const fresh: Readonly<Record<string, string>> = { key: keySql, seq: `nextval('version_sequence')` }
  await inBulk(client, async () => {
    await makeTemplate(client)
    for (let at = from; at < to; at += rowsAtOnce) {
      const { bavail, bsize } = statfsSync(dataDir)
      if (bavail * bsize < freeBytesMin) throw new Error(`Only ${Math.floor((bavail * bsize) / 1e9)} GB are free: stopped at ${at} objects`)
      const end = Math.min(to, at + rowsAtOnce)
      const startedAt = performance.now()
      await client.query('BEGIN')
      // In the order of the keys, so that each page of an index is written once for a batch.
      await client.query(
        `INSERT INTO objects (${columns.join(', ')}) SELECT ${columns.map((column) => fresh[column] ?? `t.${column}`).join(', ')}
         FROM (SELECT i::bigint FROM generate_series(${at}, ${end - 1}) AS g (i) ORDER BY ${keySql}) AS g JOIN template t ON t.place = i % ${realObjects}`,
      )
      await countRows(client, at, end)
      await client.query('COMMIT')
      remember(dataDir, end)
      say(`  rows ${at} to ${end}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
    }
  })
}

async function makeTemplate(client: Client): Promise<void> {
  await client.query(
    `CREATE TEMP TABLE template AS SELECT row_number() OVER (ORDER BY o.key) - 1 AS place, o.* FROM (
       SELECT o.* FROM objects o JOIN generate_series(0, ${realObjects - 1}) AS g (i) ON o.key = ${keySql}
       WHERE o.bucket_id = (SELECT id FROM buckets WHERE name = '${growthBucket}')) o`,
  )
  const { rows } = await client.query<{ count: string }>('SELECT count(*) FROM template')
  if (Number(rows[0]?.count) !== realObjects) throw new Error(`The real objects are not there: ${rows[0]?.count} of ${realObjects}`)
}

/** What committed writes would have left: counts of references for shared bytes, and the usage of the bucket. */
async function countRows(client: Client, from: number, to: number): Promise<void> {
  const { rows } = await client.query<{ place: string; manifest: Buffer }>('SELECT place, manifest FROM template ORDER BY place')
  const blobs = rows.flatMap(({ manifest }) => decodeManifest(manifest).map(({ blob }) => `\\x${blob}`))
  const added = rows.map(({ place }) => timesOf(Number(place), to) - timesOf(Number(place), from))
  await client.query(
    `INSERT INTO blob_references (blob, count) SELECT blob, added + 1 FROM unnest($1::bytea[], $2::integer[]) AS k (blob, added)
     ON CONFLICT (blob) DO UPDATE SET count = blob_references.count + excluded.count - 1`, [blobs, added],
  )
  await client.query(
    `INSERT INTO bucket_usage AS u (bucket_id, shard, objects, versions, bytes) SELECT bucket_id, 0, $1::bigint, $1::bigint, $1::bigint * ${smallBytes} FROM template LIMIT 1
     ON CONFLICT (bucket_id, shard) DO UPDATE SET objects = u.objects + excluded.objects, versions = u.versions + excluded.versions, bytes = u.bytes + excluded.bytes`, [to - from],
  )
}

/** How many of the numbers below `end` fall on a template. */
const timesOf = (place: number, end: number): number => Math.max(0, Math.ceil((end - place) / realObjects))

/** Without the log's copies of whole pages and with few checkpoints, while rows go in; nothing is measured meanwhile. */
async function inBulk(client: Client, work: () => Promise<void>): Promise<void> {
  const settings = ['full_page_writes = off', "max_wal_size = '4GB'"]
  for (const setting of settings) await client.query(`ALTER SYSTEM SET ${setting}`)
  await client.query('SELECT pg_reload_conf()')
  await client.query(`SET work_mem = '256MB'`)
  await client.query(`SET synchronous_commit = off`)
  try {
    await work()
  } finally {
    for (const setting of settings) await client.query(`ALTER SYSTEM RESET ${setting.split(' ')[0]}`)
    await client.query('SELECT pg_reload_conf()')
  }
}

export interface Sizes {
  readonly rows: number
  readonly heapBytes: number
  readonly indexBytes: Readonly<Record<string, number>>
  readonly databaseBytes: number
}

export async function sizesOf(dataDir: string): Promise<Sizes> {
  return withDatabase(dataDir, async (client) => {
    const { rows } = await client.query<{ rows: string; heap: string; database: string }>(
      `SELECT (SELECT sum(objects) FROM bucket_usage) AS rows, pg_table_size('objects') AS heap, pg_database_size(current_database()) AS database`,
    )
    const { rows: indexes } = await client.query<{ name: string; bytes: string }>(
      `SELECT indexrelid::regclass::text AS name, pg_relation_size(indexrelid) AS bytes FROM pg_index WHERE indrelid = 'objects'::regclass`,
    )
    return {
      rows: Number(rows[0]?.rows), heapBytes: Number(rows[0]?.heap), databaseBytes: Number(rows[0]?.database),
      indexBytes: Object.fromEntries(indexes.map(({ name, bytes }) => [name, Number(bytes)])),
    }
  })
}
