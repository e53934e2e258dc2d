import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../telemetry/log.ts'
import { openChannel, type Channel } from './channel.ts'

/** Server processes that a supervisor keeps running. */
export interface Fleet<Calls> {
  /** How many serve just now. */
  serving(): number
  /** Channels of all that live, also of those that are still starting. */
  channels(): readonly Channel<Calls>[]
  /** The channel of the process with this number, from 1 on; null when there is none now. */
  channel(number: number): Channel<Calls> | null
  /** Lets all of them finish what they are at; those that take too long are killed. Idempotent. */
  stop(): Promise<void>
  /** Ends all of them now. */
  kill(): void
}

export interface FleetOptions<Calls> {
  readonly count: number
  /** The first one serves before the others start: it finds out what is for all. */
  readonly firstAlone: boolean
  /** Starts the process with this number, with an IPC channel. */
  readonly spawn: (number: number) => ChildProcess
  /** Makes a started process serve; resolves when it does. */
  readonly begin: (channel: Channel<Calls>, number: number) => Promise<void>
  /** Asks a process to finish and end. */
  readonly finish: (channel: Channel<Calls>) => Promise<unknown>
  /** How long they may take for that. */
  readonly stopMsMax: number
  readonly log: Log
  /** Called once when a process cannot be kept running. */
  readonly lost: (error: Error) => void
}

/** A process that has died so often in this time will die again: what it dies of is not over by itself. */
const deathsMax = 5
const deathsWindowMs = 60_000
const restartMsMin = 50
const restartMsMax = 5000

interface Member<Calls> {
  readonly number: number
  child: ChildProcess
  channel: Channel<Calls>
  ended: Promise<string>
  alive: boolean
  serving: boolean
  /** When it died, of late. */
  deaths: number[]
}

/**
 * Starts the processes. Rejects when one of them cannot
 * serve. From then on one that ends is replaced at once, one that ends again and again after a while, and finally not at all.
 */
export async function startFleet<Calls>(options: FleetOptions<Calls>): Promise<Fleet<Calls>> {
  const { count, log } = options
  const members: Member<Calls>[] = []
  const stopping = new AbortController()
  let stopped: Promise<void> | null = null

  function spawn(number: number): Pick<Member<Calls>, 'child' | 'channel' | 'ended'> {
    const child = options.spawn(number)
    const ended = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`))
      child.once('error', (error) => resolve(error.message))
    })
    return { child, channel: openChannel<Calls, object>(child, {}), ended }
  }

  async function begin(member: Member<Calls>): Promise<void> {
    member.alive = true
    void member.ended.then(() => {
      member.alive = false
      member.serving = false
    })
    await options.begin(member.channel, member.number)
    member.serving = member.alive
  }

  async function launch(number: number): Promise<void> {
    const member: Member<Calls> = { number, ...spawn(number), alive: true, serving: false, deaths: [] }
    members.push(member)
    await begin(member)
  }

  async function keep(member: Member<Calls>): Promise<void> {
    for (;;) {
      const end = await member.ended
      if (stopping.signal.aborted) return
      const now = performance.now()
      member.deaths = [...member.deaths.filter((at) => now - at < deathsWindowMs), now]
      const { deaths, number } = member
      if (deaths.length > deathsMax) throw new Error(`Server process ${number} ended ${deaths.length} times within ${deathsWindowMs / 1000} s, the last time with ${end}.`)
      const waitMs = Math.min(restartMsMin * 2 ** (deaths.length - 1), restartMsMax)
      log.error('A server process ended; starting another one in its place', { process: number, end, waitMs })
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      if (stopping.signal.aborted) return
      Object.assign(member, spawn(number))
      await begin(member).then(() => log.info('A server process serves again', { process: number, pid: member.child.pid }), (error: unknown) => {
        log.error('A server process could not serve', { process: number, error })
        member.child.kill('SIGKILL')
      })
    }
  }

  async function stop(): Promise<void> {
    stopping.abort()
    await Promise.all(members.filter((member) => member.alive).map(async (member) => {
      const force = setTimeout(() => {
        log.warn('A server process does not finish and is ended', { process: member.number })
        member.child.kill('SIGKILL')
      }, options.stopMsMax)
      // One that has ended meanwhile cannot be asked, and need not be.
      options.finish(member.channel).catch(() => undefined)
      await member.ended
      clearTimeout(force)
    }))
  }

  const kill = (): void => {
    stopping.abort()
    for (const member of members) if (member.alive) member.child.kill('SIGKILL')
  }

  try {
    const first = launch(1)
    if (options.firstAlone) await first
    await Promise.all([first, ...Array.from({ length: count - 1 }, (_, index) => launch(index + 2))])
  } catch (error) {
    kill()
    throw error
  }
  for (const member of members) keep(member).catch(options.lost)
  return {
    serving: () => members.filter((member) => member.serving).length,
    channels: () => members.filter((member) => member.alive).map((member) => member.channel),
    channel: (number) => members.find((member) => member.number === number && member.alive)?.channel ?? null,
    stop: () => (stopped ??= stop()),
    kill,
  }
}
