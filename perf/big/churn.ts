import { randomBytes } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { usageOf } from '../processes.ts'
import { createFigures, createRandom, megabytes, must, say, watchMemory, withDatabase, type Big, type Figures } from './bench.ts'
import { runFlood, type FloodResult } from './flood.ts'
import type { Wire } from './generator.ts'

const bucket = 'churn'
const keys = 5000
const connections = 64
const bytesMin = 4 * 1024
const bytesMax = 64 * 1024
const secondsDefault = 600
const graceSeconds = 10
const intervalSeconds = 5
/** For the sweeper to come to rest after the load: releases wait for the grace, moved segments for another. */
const restSeconds = 2 * graceSeconds + 6 * intervalSeconds
const pool = randomBytes(4 * 1024 ** 2)

/** The same keys are overwritten all the time, while the sweeper and the compaction run: what does it cost, what stays behind. */
export const churn: Big = {
  name: 'churn',
  async run(options) {
    const figures = createFigures('churn')
    const folder = makeDataFolder(options.dir)
    try {
      const server = await startHoldfast({
        dataDir: folder.path, env: { HOLDFAST_SWEEP_GRACE_SECONDS: String(graceSeconds), HOLDFAST_SWEEP_INTERVAL_SECONDS: String(intervalSeconds) },
      })
      try {
        await must(server, 'PUT', bucket, '')
        await measure(server, folder.path, options.loadSeconds ?? secondsDefault, figures)
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

/** What a key holds: a piece of the pool. */
interface Content {
  readonly at: number
  readonly length: number
}

async function measure(server: Server, dataDir: string, seconds: number, figures: Figures): Promise<void> {
  const writes = createWrites(server)
  // Every key once, so that overwriting begins with the first second.
  for (let index = 0; index < keys; index += connections) await Promise.all(Array.from({ length: Math.min(connections, keys - index) }, (_, one) => writes.fill(index + one)))
  const before = await sizes(dataDir)
  const slices = Math.max(2, Math.min(10, Math.floor(seconds / 5)))
  const rates: number[] = []
  const watch = watchMemory(server.pid, 2000)
  const cpu = usageOf(server.pid)
  let all = 0
  for (let slice = 0; slice < slices; slice++) {
    const result = await writes.run(seconds / slices)
    rates.push(result.good.count / result.seconds)
    all += result.good.count
    if (result.refused + result.broken + result.slowDown.count > 0) throw new Error(`Writes failed: ${JSON.stringify(result)}`)
    const now = await sizes(dataDir)
    say(`  ${Math.round(((slice + 1) * seconds) / slices)} s: ${rates.at(-1)?.toFixed(0)} writes/s, p99 ${result.good.p99Ms.toFixed(0)} ms, max ${result.good.maxMs.toFixed(0)} ms, drive ${megabytes(now.drive).toFixed(0)} MB in ${now.segments} segments, notes ${megabytes(now.notes).toFixed(1)} MB, database ${megabytes(now.database).toFixed(0)} MB, releases waiting ${now.released}`)
  }
  watch.stop()
  const used = usageOf(server.pid)
  const end = await sizes(dataDir)
  figures.add('writes in the first tenth', '1/s', rates[0] ?? 0, 'more')
  figures.add('writes in the last tenth', '1/s', rates.at(-1) ?? 0, 'more')
  figures.add('writes in the last tenth to those in the first', 'x', (rates.at(-1) ?? 0) / (rates[0] ?? 1), 'more')
  figures.add('CPU of a write with all sweeping', 'us', ((used.serverSeconds - cpu.serverSeconds + used.helperSeconds - cpu.helperSeconds) * 1e6) / all, 'less')
  figures.add('most memory, all processes', 'MB', megabytes(watch.most.all), 'less')
  const live = writes.liveBytes()
  figures.add('live', 'MB', megabytes(live), 'less')
  figures.add('on disk to live, at the end of the load', 'x', end.drive / live, 'less')
  await sleep(restSeconds * 1000)
  const rest = await sizes(dataDir)
  figures.add(`on disk to live, ${restSeconds} s later`, 'x', rest.drive / live, 'less')
  figures.add('database before', 'MB', megabytes(before.database), 'less')
  figures.add('database after', 'MB', megabytes(rest.database), 'less')
  figures.add('releases still waiting', 'rows', rest.released, 'less')
  for (const [name, bytes] of rest.tables) say(`  ${name}: ${megabytes(bytes).toFixed(1)} MB`)
  figures.add('keys that did not come back right', 'keys', await writes.wrong(), 'less')
}

/** Each connection has keys of its own, so that it is known which write of a key was the last. */
function createWrites(server: Server) {
  const { host, port, signer } = server
  const random = createRandom(9)
  const paths = Array.from({ length: keys }, (_, index) => signer.path('PUT', bucket, nameOf(index)))
  const contents: (Content | undefined)[] = []
  /** Of writes that the end of a run cut off: one of these or `contents`. */
  const maybe = new Map<number, Content[]>()
  const next = (): Content => {
    const length = bytesMin + random(bytesMax - bytesMin)
    return { at: random(pool.length - length), length }
  }
  const bodyOf = ({ at, length }: Content): Buffer => pool.subarray(at, at + length)
  const wireOf = (index: number, content: Content): Wire => ({
    isHead: false, head: Buffer.from(`PUT ${paths[index]} HTTP/1.1\r\nHost: ${host}:${port}\r\nContent-Length: ${content.length}\r\n\r\n`, 'latin1'), body: bodyOf(content),
  })
  return {
    async fill(index: number): Promise<void> {
      const content = next()
      await must(server, 'PUT', bucket, nameOf(index), {}, bodyOf(content))
      contents[index] = content
    },
    run: (seconds: number): Promise<FloodResult> => runFlood({
      host, port, connections, seconds,
      next(connection) {
        const index = connection + connections * random(Math.floor((keys - connection - 1) / connections) + 1)
        const content = next()
        maybe.set(index, [...maybe.get(index) ?? [], content])
        return {
          ...wireOf(index, content),
          answered(status) {
            if (status !== 200) return
            contents[index] = content
            maybe.delete(index)
          },
        }
      },
    }),
    liveBytes: () => contents.reduce((sum, content) => sum + (content?.length ?? 0), 0),
    async wrong(): Promise<number> {
      let count = 0
      for (let index = 0; index < keys; index++) {
        const { body } = await must(server, 'GET', bucket, nameOf(index))
        const allowed = [contents[index], ...maybe.get(index) ?? []].filter((content) => content !== undefined)
        if (!allowed.some((content) => body.equals(bodyOf(content)))) count++
      }
      return count
    },
  }
}

const nameOf = (index: number): string => `object/${String(index).padStart(6, '0')}`

interface Sizes {
  readonly drive: number
  readonly segments: number
  readonly notes: number
  readonly database: number
  readonly released: number
  readonly tables: readonly (readonly [string, number])[]
}

async function sizes(dataDir: string): Promise<Sizes> {
  let [drive, segments, notes] = [0, 0, 0]
  for (const name of readdirSync(path.join(dataDir, 'drive'), { recursive: true, encoding: 'utf8' })) {
    // A segment may go while we look.
    const found = statSync(path.join(dataDir, 'drive', name), { throwIfNoEntry: false })
    if (found === undefined || !found.isFile()) continue
    drive += found.blocks * 512
    if (name.endsWith('.notes')) notes += found.size
    else if (name.startsWith(`segments${path.sep}`)) segments++
  }
  return withDatabase(dataDir, async (client) => {
    const { rows } = await client.query<{ database: string; released: string }>('SELECT pg_database_size(current_database()) AS database, (SELECT count(*) FROM released_blobs) AS released')
    const { rows: tables } = await client.query<{ name: string; bytes: string }>(
      `SELECT relname AS name, pg_total_relation_size(oid) AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC LIMIT 5`,
    )
    return { drive, segments, notes, database: Number(rows[0]?.database), released: Number(rows[0]?.released), tables: tables.map(({ name, bytes }) => [name, Number(bytes)] as const) }
  })
}
