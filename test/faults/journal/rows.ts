import net from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import type { Extent, Placement } from '../../../src/domain/model.ts'
import { unpackedEtag } from '../../../src/metadata/postgres/packed.ts'
import { extentsOf } from '../../../src/metadata/postgres/rows.ts'
import { appendMark } from './records.ts'

/** All rows of all tables at one moment, as JSON by table. */
export type Snapshot = Readonly<Record<string, string>>

export interface RowsProxy {
  /** For HOLDFAST_DATABASE_URL. */
  readonly url: string
  /** Each state of the rows that a COMMIT made, in order; the first one is that of the beginning. */
  readonly snapshots: readonly Snapshot[]
  close(): Promise<void>
}

type Connection = { readonly host: string; readonly port: number; readonly user: string; readonly database: string }

async function snapshotOf(client: pg.Client): Promise<Snapshot> {
  const { rows: tables } = await client.query<{ name: string }>(`SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename`)
  const columns = tables.map(({ name }) => `(SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT * FROM "${name}" AS r ORDER BY r::text) AS t) AS "${name}"`)
  const { rows: [row] } = await client.query<Record<string, string>>(`SELECT ${columns.join(', ')}`)
  return row ?? {}
}

/** Makes the rows of a database those of a snapshot. */
export async function loadSnapshot(client: pg.ClientBase, snapshot: Snapshot): Promise<void> {
  const names = Object.keys(snapshot)
  await client.query('BEGIN; SET LOCAL session_replication_role = replica')
  await client.query(`TRUNCATE ${names.map((name) => `"${name}"`).join(', ')} CASCADE`)
  for (const name of names) {
    if (snapshot[name] === '[]') continue
    await client.query(`INSERT INTO "${name}" OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::"${name}", $1::json)`, [snapshot[name]])
  }
  await client.query('COMMIT')
}

const readingTags = /^(?:SELECT|BEGIN|SET|SHOW|LISTEN|FETCH|ROLLBACK|START TRANSACTION)/

/**
 * A TCP port in front of a PostgreSQL that marks in a journal what the database was told and what it held then. A COMMIT's answer goes on to
 * the server only after the rows were looked at. Rows that several commits made at once count as possible only when the last of them was sent.
 */
export async function startRowsProxy(connection: Connection, journal: string): Promise<RowsProxy> {
  const looker = new pg.Client(connection)
  looker.on('error', () => undefined)
  await looker.connect()
  const snapshots: Snapshot[] = [await snapshotOf(looker)]
  const sockets = new Set<net.Socket>()
  let sent = 0
  let looking: Promise<void> = Promise.resolve()

  function look(): Promise<void> {
    looking = looking.then(async () => {
      const snapshot = await snapshotOf(looker)
      // Behind the look: it may have seen what was sent meanwhile.
      const possibleFrom = sent
      if (JSON.stringify(snapshot) === JSON.stringify(snapshots.at(-1))) return
      snapshots.push(snapshot)
      appendMark(journal, { kind: 'rows', rows: snapshots.length - 1, sent: possibleFrom })
    })
    return looking
  }

  const server = net.createServer((client) => {
    const upstream = net.connect(join(connection.host, `.s.PGSQL.${connection.port}`))
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    const asked = messages(true)
    const answered = messages(false)
    let writes = false
    client.on('data', (chunk: Buffer) => {
      if (asked(chunk).some(({ type }) => type === 'Q' || type === 'S')) appendMark(journal, { kind: 'sent', id: (sent += 1) })
      upstream.write(chunk)
    })
    upstream.on('data', (chunk: Buffer) => {
      let committed = false
      for (const { type, body } of answered(chunk)) {
        if (type === 'C' && !readingTags.test(body.toString('latin1'))) writes = true
        if (type === 'Z' && body[0] === 0x49) {
          committed ||= writes
          writes = false
        }
      }
      if (!committed) return void client.write(chunk)
      upstream.pause()
      void look().then(() => {
        client.write(chunk)
        upstream.resume()
      }, () => client.destroy())
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return {
    url: `postgres://${connection.user}@127.0.0.1:${(server.address() as net.AddressInfo).port}/${connection.database}`,
    snapshots,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => { server.close(resolve) })
      await looking.catch(() => undefined)
      await looker.end()
    },
  }
}

/** Cuts a stream into the messages of PostgreSQL's protocol; the first one of a client has no type. */
function messages(untypedFirst: boolean): (chunk: Buffer) => { type: string; body: Buffer }[] {
  let rest: Buffer = Buffer.alloc(0)
  let untyped = untypedFirst
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const found: { type: string; body: Buffer }[] = []
    for (;;) {
      const typeBytes = untyped ? 0 : 1
      if (rest.length < typeBytes + 4) return found
      const end = typeBytes + rest.readUInt32BE(typeBytes)
      if (rest.length < end) return found
      found.push({ type: untyped ? '' : String.fromCharCode(rest[0] ?? 0), body: rest.subarray(typeBytes + 4, end) })
      rest = rest.subarray(end)
      untyped = false
    }
  }
}

/** What the checks need of a snapshot. */
export interface Rows {
  readonly versions: readonly Stored[]
  /** Parts of open uploads. */
  readonly parts: readonly Stored[]
  readonly drives: readonly { readonly id: number; readonly uuid: string; readonly createdAt: number }[]
  readonly relocations: ReadonlyMap<string, Placement>
  /** One line for each thing that a client could see, to compare with what it knows. */
  readonly view: readonly string[]
  readonly hasKeys: boolean
}

/** Bytes that some row promises. */
export interface Stored {
  readonly name: string
  readonly etag: string
  readonly size: number
  readonly manifest: readonly Extent[]
}

interface VersionJson {
  readonly bucket_id: number
  readonly key: string
  /** `\x...`; null for a delete marker. */
  readonly etag: string | null
  readonly size: number
  readonly manifest: string | null
  /** Null in `noncurrent_versions`: a delete marker that is current. */
  readonly noncurrent_seq?: number | null
}

export function readRows(snapshot: Snapshot): Rows {
  const table = <Row>(name: string): Row[] => JSON.parse(snapshot[name] ?? '[]') as Row[]
  const buckets = new Map(table<{ id: number; name: string }>('buckets').map(({ id, name }) => [id, name]))
  const open = new Map(table<{ upload_id: string; key: string; state: string }>('uploads').filter(({ state }) => state === 'open').map(({ upload_id: id, key }) => [id, key]))
  const parts = table<{ upload_id: string; part_number: number; etag: string; size: number; manifest: string }>('parts').filter(({ upload_id: id }) => open.has(id))
  const versions = [...table<VersionJson>('objects'), ...table<VersionJson>('noncurrent_versions')].map((row) => ({
    name: `${buckets.get(row.bucket_id)}/${row.key}`, etag: row.etag === null ? null : unpackedEtag(row.etag, 2), size: row.size, manifest: extentsOf(row.manifest),
    // Rows of `objects` do not have the column at all.
    isCurrent: (row.noncurrent_seq ?? null) === null,
  }))
  return {
    versions: versions.flatMap(({ name, etag, size, manifest }) => (etag === null ? [] : [{ name, etag, size, manifest }])),
    parts: parts.map((row) => ({ name: `part ${row.part_number} of ${open.get(row.upload_id)}`, etag: row.etag, size: row.size, manifest: extentsOf(row.manifest) })),
    drives: table<{ id: number; uuid: string; created_at: number }>('drives').map(({ id, uuid, created_at: createdAt }) => ({ id, uuid, createdAt })),
    relocations: new Map(table<{ blob: string; place: Placement }>('blob_relocations').map(({ blob, place }) => [blob.slice(2), place])),
    view: [
      ...versions.map(({ name, etag, isCurrent }) => `${name} ${isCurrent ? 'is' : 'was'} ${etag ?? 'marker'}`),
      ...parts.map((row) => `${open.get(row.upload_id)} has part ${row.part_number} ${row.etag}`),
    ].sort(),
    hasKeys: table('access_keys').length > 0,
  }
}
