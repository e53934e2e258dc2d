import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ClientConfig } from 'pg'
import type { Channel } from './admin/channel.ts'
import { startFleet, type Fleet } from './admin/fleet.ts'
import type { RootKeys } from './admin/root-account.ts'
import type { Config } from './config.ts'
import { listen } from './gateway/server.ts'
import type { Holdings } from './storage/backend.ts'
import type { Others } from './storage/sweeper.ts'
import type { Log, LogLevel } from './telemetry/log.ts'
import type { Snapshot } from './telemetry/metrics.ts'
import { profileSecondsMax, type ProfileAnswer, type ProfileRequest, type ProfileTarget } from './telemetry/profile.ts'

/** What a server process is told: it reads no configuration of its own. */
export interface Assignment {
  readonly config: Config
  readonly connection: ClientConfig
  readonly masterKey: Uint8Array
  readonly rootKeys: RootKeys
  /** 0: the first one takes a free port for all. */
  readonly port: number
  /** Process id of the supervisor. */
  readonly supervisor: number
}

/** What every server process answers to its supervisor. */
export interface ServerCalls {
  /** Resolves when it serves. */
  serve(assignment: Assignment): { readonly port: number; readonly token: string }
  holdings(input: null): Holdings
  forgetSegment(path: string): null
  /** From now on every answer closes its connection. */
  drain(input: null): null
  /** Running requests finish, then it ends. */
  stop(input: null): null
  profile(request: ProfileRequest): ProfileAnswer
  metrics(input: null): Snapshot
  logLevel(level: LogLevel): null
}

export interface Servers {
  readonly port: number
  readonly fleet: Fleet<ServerCalls>
  /** From now on every answer of theirs closes its connection. */
  drain(): void
  /** Names of all that there ever were. Of those that ended nobody writes any more. */
  tokens(): ReadonlySet<string>
  /** For the sweeper, which runs in the supervisor. */
  readonly others: Others
  /** What each of them tells about itself, in the order of their start. */
  profiles(): readonly ProfileTarget[]
  /** What those count that answer in time. */
  metrics(): Promise<readonly ProcessSnapshot[]>
  /** From now on, also of those that start later. Resolves when all that live know. */
  setLogLevel(level: LogLevel): Promise<void>
}

export interface ProcessSnapshot {
  readonly process: string
  readonly snapshot: Snapshot
}

/** Opening takes a fraction of a second; the database may be recovering. */
const serveMsMax = 60_000
/** Whoever does not answer for so long is stuck: nothing is removed meanwhile. */
const answerMsMax = 5000
/** Prometheus gives up after ten seconds; what the others count is worth more than waiting for one that is stuck. */
const scrapeMsMax = 3000
/** Beyond the time that requests have to finish: what is in hand is written and closed. */
const closeMsMax = 15_000

const program = fileURLToPath(new URL('./server-process.ts', import.meta.url))

export type ServersOptions = Omit<Assignment, 'port' | 'supervisor'> & { readonly log: Log; readonly lost: (error: Error) => void }

/**
 * Starts the server processes; resolves when all serve, on one port that the system spreads connections over. This process, their
 * supervisor, serves nothing itself: it costs some memory, and can tell at once when one of them has died.
 */
export async function startServers({ log, lost, ...given }: ServersOptions): Promise<Servers> {
  const { config } = given
  // Processes of another installation that shares its port in the same way would get half of these clients and give away half of
  // theirs: the port must be nobody's. For a moment it is taken for this process alone, which tells.
  const probe = await listen({ host: config.host, port: config.port, s3: true, drainMs: 0, listener: (_, response) => response.destroy() })
  await probe.stop()
  let { port } = config
  let logLevel = config.logLevel
  const tokens = new Set<string>()
  const fleet = await startFleet<ServerCalls>({
    count: config.processes, firstAlone: config.port === 0, log, lost, stopMsMax: config.drainSeconds * 1000 + closeMsMax,
    spawn: () => fork(program, [], { serialization: 'advanced' }),
    begin: async (channel) => {
      const served = await channel.call('serve', { ...given, config: { ...config, logLevel }, port, supervisor: process.pid }, serveMsMax)
      port = served.port
      tokens.add(served.token)
    },
    finish: (channel) => channel.call('stop', null, answerMsMax),
  })
  const others: Others = {
    holdings: () => Promise.all(fleet.channels().map((channel) => channel.call('holdings', null, answerMsMax))),
    forgetSegment(path) {
      // Who cannot be told lets go of it with the next ones that it opens.
      for (const channel of fleet.channels()) channel.call('forgetSegment', path, answerMsMax).catch(() => undefined)
    },
  }
  const drain = (): void => {
    // One that has ended meanwhile has nothing to close.
    for (const channel of fleet.channels()) channel.call('drain', null, answerMsMax).catch(() => undefined)
  }
  const metrics = async (): Promise<readonly ProcessSnapshot[]> => {
    const answers = fleet.channels().map(async (channel, index): Promise<ProcessSnapshot[]> => (
      channel.call('metrics', null, scrapeMsMax).then((snapshot) => [{ process: `server-${index + 1}`, snapshot }], () => [])
    ))
    return (await Promise.all(answers)).flat()
  }
  const setLogLevel = async (level: LogLevel): Promise<void> => {
    logLevel = level
    await Promise.all(fleet.channels().map((channel) => channel.call('logLevel', level, answerMsMax)))
  }
  return { port, fleet, others, metrics, setLogLevel, drain, tokens: () => tokens, profiles: () => fleet.channels().map((channel, index) => profileTarget(`server-${index + 1}`, channel)) }
}

function profileTarget(name: string, channel: Channel<ServerCalls>): ProfileTarget {
  return {
    name,
    async run(request) {
      // A snapshot is handed over in pieces, for which the channel has no way.
      if (request.kind === 'heap') return { ok: false, status: 400, error: 'A heap snapshot is of a server that is one process: start it with HOLDFAST_PROCESSES=1, or ask for /debug/allocations.' }
      return channel.call('profile', request, profileSecondsMax * 1000 + answerMsMax)
    },
  }
}
