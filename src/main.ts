import { writeSync } from 'node:fs'
import { lockDataFolder, withoutOldServers } from './admin/data-lock.ts'
import { createLifecycle, onSignals, Stopped } from './admin/lifecycle.ts'
import { supervise } from './admin/supervise.ts'
import { isCliCommand } from './cli/commands.ts'
import { ConfigError, helpText, loadConfig } from './config.ts'
import { startEmbedded } from './metadata/postgres/embedded.ts'
import type { Begun, Ends } from './start.ts'
import { standardLog } from './telemetry/log.ts'
import { programVersion } from './version.ts'

const version = programVersion

const write = (fd: number) => (text: string): void => {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
}

/** The commands that ask a running server; only they load what they need. */
async function askServer(argv: readonly string[]): Promise<number> {
  const { runCli } = await import('./control-cli.ts')
  return runCli(argv, { config: () => loadConfig(process.env), isTerminal: process.stdout.isTTY, write: write(1), warn: write(2) })
}

/** `scrub` and `fsck`; only they load what they need. */
async function check(command: 'scrub' | 'fsck', argv: readonly string[]): Promise<number> {
  const { runCheck } = await import('./check.ts')
  process.umask(0o077)
  return runCheck(command, argv, {
    version, config: () => loadConfig(process.env), isTerminal: process.stderr.isTTY,
    write: write(1), warn: write(2),
  })
}

/** A round of S3 at an endpoint, this server's or another's. */
async function checkEndpoint(argv: readonly string[]): Promise<number> {
  const { runCheckEndpoint } = await import('./check-endpoint.ts')
  return runCheckEndpoint(argv, { config: () => loadConfig(process.env), write: write(1), warn: write(2) })
}

/**
 * Nobody else works on the data folder from here on, and PostgreSQL is being started: it takes longest, a first time most of a second, and
 * the rest of the program is loaded meanwhile. Rejects with what an operator can do when the folder is not to be had.
 */
async function begin({ config, log, lifecycle, fail }: Pick<Begun, 'config' | 'log' | 'lifecycle'> & Pick<Ends, 'fail'>): Promise<Begun> {
  const { open } = lifecycle
  const lock = await open(lockDataFolder(config.dataDir, config.dataShared), (taken) => taken.release())
  // Those of other replicas are no leftovers.
  if (!config.dataShared) await withoutOldServers(config.dataDir)
  if (config.databaseUrl !== null) return { config, log, lifecycle, lock, embedded: null, isNew: false }
  const atWork = Promise.withResolvers<'initdb' | 'postgres'>()
  const startPostgres = () => startEmbedded({ dataDir: config.dataDir, log: (message) => log.info(message), connectionsMax: 30 + 10 * config.processes, atWork: atWork.resolve })
  const running = open(supervise(startPostgres, () => lock.assertHeld(), log, fail), (postgres) => postgres.stop())
  const embedded = running.then(({ connection }) => connection)
  // Whoever waits for it hears why it did not start.
  embedded.catch(() => undefined)
  const first = await Promise.race([atWork.promise, embedded])
  return { config, log, lifecycle, lock, embedded, isNew: first === 'initdb' }
}

/** The process: configuration, signals, and one way out. */
async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args
  if (command === 'scrub' || command === 'fsck') return void process.exit(await check(command, rest))
  if (command === 'check-endpoint') return void process.exit(await checkEndpoint(rest))
  if (isCliCommand(command)) return void process.exit(await askServer(args))
  const argv = command === 'serve' ? rest : args
  if (argv.includes('--help')) return void process.stdout.write(helpText())
  if (argv.includes('--version')) return void process.stdout.write(`holdfast ${version} (Node ${process.versions.node})\n`)
  // What is written below the data folder is for this user alone.
  process.umask(0o077)
  const config = loadConfig(process.env, argv)
  const log = standardLog(config)
  const lifecycle = createLifecycle((error) => log.error('Something could not be closed', { error }))
  let killAll = (): void => undefined
  let asked = false
  const end = (code: number): void => void lifecycle.close().then(() => process.exit(code))
  onSignals(
    (signal) => {
      asked = true
      log.info(`${signal}: running requests finish, then the server stops`)
      end(0)
    },
    () => {
      log.warn('A second signal: stopping at once')
      killAll()
      process.exit(1)
    },
  )
  const fail = (error: unknown): void => {
    log.error('The server cannot go on and stops', { error })
    end(1)
  }
  // A reader of the log that went away is no reason to stop; a message about it could not be written either, and so on without end.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  process.on('uncaughtException', fail)
  process.on('unhandledRejection', fail)
  try {
    const begun = await begin({ config, log, lifecycle, fail })
    const { start } = await import('./start.ts')
    await start(begun, { fail, asked: () => asked, onForce: (kill) => void (killAll = kill) })
  } catch (error) {
    if (error instanceof Stopped || lifecycle.stopping) return
    await lifecycle.close()
    throw error
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  // Messages of a failed start are written for operators; only a configuration may have several lines.
  process.stderr.write(`${error instanceof ConfigError ? '' : 'Holdfast could not start: '}${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
