import { availableParallelism } from 'node:os'
import { openChannel } from './admin/channel.ts'
import { joinServers } from './admin/data-lock.ts'
import { createLifecycle } from './admin/lifecycle.ts'
import { openPostgresStore } from './metadata/postgres/store.ts'
import type { Assignment, ServerCalls } from './processes.ts'
import { openRoom, serveS3, tlsOf, type Room, type S3Listener } from './serve.ts'
import { processToken } from './storage/backend.ts'
import { standardAccessLog } from './telemetry/access-log.ts'
import { standardLog, type OwnLog } from './telemetry/log.ts'
import { createProfiles, type OwnProfiles } from './telemetry/profile.ts'
import { createMeters } from './telemetry/metrics.ts'
import { watchProcess } from './telemetry/process-metrics.ts'
import { createPool } from './workers/pool.ts'

/**
 * One of several server processes; `processes.ts` starts it and says over the channel what it is to do. It lives no longer than its
 * supervisor: whoever takes the data folder next must find nobody who writes.
 */
const lifecycle = createLifecycle((error) => process.stderr.write(`A server process could not close something: ${String(error)}\n`))
const end = (code: number): void => void lifecycle.close().then(() => process.exit(code))
process.on('disconnect', () => process.exit(1))
// Ctrl-C in a terminal reaches every process of it; the supervisor hears it too and says when to stop.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => end(0))
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error) => {
    process.stderr.write(`A server process cannot go on and stops: ${error instanceof Error ? error.stack : String(error)}\n`)
    end(1)
  })
}

let room: Room | null = null
let log: OwnLog | null = null
const meters = createMeters()
let profiles: OwnProfiles | null = null
let listener: S3Listener | null = null

async function serve({ config, connection, masterKey, rootKeys, port, supervisor }: Assignment): Promise<{ port: number; token: string }> {
  const { open } = lifecycle
  await open(joinServers(config.dataDir), (joined) => joined.release())
  // Whose supervisor ended before it had joined may be too late for the next one to see it.
  if (process.ppid !== supervisor) process.exit(1)
  log = standardLog(config)
  const access = await open(standardAccessLog(config), (opened) => opened.close())
  await open(watchProcess(meters), (end) => end())
  const own = log
  const say = (message: string): void => own.info(message)
  const store = await open(openPostgresStore({ connection, masterKey: Buffer.from(masterKey), shared: true, prepared: true, meters, log: say, now: Date.now }), (opened) => opened.close())
  const pool = await open(createPool({ uploadThreads: Math.ceil(availableParallelism() / config.processes) }), (opened) => opened.close())
  profiles = await open(createProfiles({ name: 'server', pools: () => pool.pools() }), (made) => made.close())
  const opened = await openRoom({ config, store, pool, log: own, meters }, open)
  room = opened
  const tls = await open(tlsOf(config, own), (opening) => opening?.close())
  listener = await serveS3({ config, tls, store, blobs: opened.blobs, rootKeys, port, log: own, meters, access }, open)
  return { port: listener.port, token: processToken }
}

openChannel<object, ServerCalls>(process, {
  serve,
  // Who has no room yet holds nothing, and what it will hold is younger than the question.
  holdings: () => ({ writers: new Set([processToken]), segments: room?.blobs.activeSegments() ?? new Set(), pinned: room?.blobs.pinned() ?? new Set() }),
  profile: async (request) => profiles?.run(request, { signal: new AbortController().signal, write: () => Promise.reject(new Error('pieces cannot be sent')) })
    ?? { ok: false, status: 503, error: 'The process is starting. Ask again.' },
  logLevel(level) {
    if (log !== null) log.level = level
    return null
  },
  metrics: () => meters.snapshot(),
  forgetSegment: (path) => {
    room?.blobs.forgetSegment(path)
    return null
  },
  drain: () => {
    listener?.drain()
    return null
  },
  stop: () => {
    end(0)
    return null
  },
})
