import { evaluateWrite } from '../../domain/conditions.ts'
import type { CarriedRecord } from '../../domain/model.ts'
import type { PutCommand, PutResult } from '../store.ts'
import type { Statement } from './connect.ts'
import { packedEtag } from './packed.ts'
import { newVersionRow, objectOf, type WireRow } from './rows.ts'

/**
 * A put that is written before its bytes are durable, by the transaction that waits for them: then nothing but the COMMIT is left to do.
 * What the plans decide otherwise is a condition of the statement here, for the one case that needs no plan: the bucket is there and
 * keeps no versions, nor ever did, and the key has no object. In any other case it writes nothing, and the put is planned as ever.
 */
export interface PutAhead {
  readonly transactionId: string
  /** Null when nothing was written. */
  readonly result: PutResult | null
}

/** Whether a put may be written ahead: it takes bytes of its own, and any key without an object meets its conditions. */
export const canGoAhead = (command: PutCommand): boolean => command.sharedFrom === undefined && evaluateWrite(command.when, null) === null

/** The number of the version is taken when the key's lock is held, as ever: versions of a key are in the order of their numbers. */
const put = `WITH put AS (
    INSERT INTO objects (bucket_id, owner_account_id, seq, size, last_modified, key, etag, checksum, metadata, tags, manifest)
    SELECT b.id, nullif($2::text, b.account_id), nextval('version_sequence'), $4::bigint, $5::bigint, $6::text, $7::bytea, $8::bytea, $9::jsonb, $10::jsonb, $11::bytea
    FROM buckets b WHERE b.id = $1::integer AND b.versioning = 'off'
    ON CONFLICT (bucket_id, key) DO NOTHING RETURNING bucket_id, owner_account_id, seq, size
  ), used AS (
    INSERT INTO bucket_usage AS u (bucket_id, shard, objects, versions, bytes) SELECT bucket_id, $3::smallint, 1, 1, size FROM put
    ON CONFLICT (bucket_id, shard) DO UPDATE SET objects = u.objects + 1, versions = u.versions + 1, bytes = u.bytes + excluded.bytes
  )`
const ahead = `${put} SELECT (SELECT seq FROM put), (SELECT owner_account_id FROM put), pg_current_xact_id()::text`
const whole = `${put}, carried AS (INSERT INTO carried_records (segment, at, seq, record) SELECT $12::text, $13::bigint, seq, $14::bytea FROM put)
  SELECT (SELECT seq FROM put), (SELECT owner_account_id FROM put)`

function valuesOf({ bucketId, key, ownerAccountId, content }: PutCommand, shard: number, now: number): Statement['values'] {
  const { size, etag, checksum, metadata, tags, manifest } = newVersionRow({ bucketId, key, seq: 0, nonce: null, lastModified: now, owner: null, content, before: undefined })
  return [bucketId, ownerAccountId, shard, size, now, key, packedEtag(etag), checksum, metadata, tags, manifest]
}

/** The statement, for a transaction that holds the locks of the put and has changed nothing yet. `now`: epoch ms. */
export function putAhead(command: PutCommand, shard: number, now: number): Statement {
  return { name: 'put_ahead', text: ahead, values: valuesOf(command, shard, now) }
}

/** The same for a put that brings its record: nothing is waited for, so that its COMMIT can follow at once. */
export function putWhole(command: PutCommand, { segment, at, bytes }: CarriedRecord, shard: number, now: number): Statement {
  return { name: 'put_whole', text: whole, values: [...valuesOf(command, shard, now), segment, at, bytes] }
}

export function putAheadAnswer(command: PutCommand, rows: readonly WireRow[], now: number): PutAhead {
  const transactionId = rows[0]?.[2]
  if (typeof transactionId !== 'string') throw new Error('the database gave no transaction id')
  return { transactionId, result: putResult(command, rows, now) }
}

/** What was put by either statement, which tells the number and the owner of the version; null when nothing was. */
export function putResult({ bucketId, key, content }: PutCommand, rows: readonly WireRow[], now: number): PutResult | null {
  const [seq, owner] = rows[0] ?? []
  if (typeof seq !== 'string') return null
  const version = objectOf({ bucketId, key, seq: Number(seq), nonce: null, lastModified: now, owner: owner ?? null }, true, content)
  return { ok: true, version, versioning: 'off' }
}
