import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { DataFolderInUse, lockDataFolder, withoutOldServers } from './admin/data-lock.ts'
import { createLifecycle, onSignals, type Lifecycle } from './admin/lifecycle.ts'
import { parseCommand, type Command } from './cli/options.ts'
import { progressBar } from './cli/progress.ts'
import { createCollector, fsckText, scrubText, type FsckCommandReport, type ScrubReport } from './cli/report.ts'
import { ConfigError, type Config } from './config.ts'
import { openCheckDatabase, type CheckDatabase } from './metadata/postgres/check.ts'
import { embeddedConnection, startEmbedded } from './metadata/postgres/embedded.ts'
import { assertKnownFormats } from './storage/formats.ts'
import { fsck, nothingRepairable } from './storage/fsck.ts'
import { repair } from './storage/fsck-repair.ts'
import { readMarker } from './storage/local/drive.ts'
import { scrub, type CheckedDrive, type CheckOptions } from './storage/scrub.ts'
import { allowOrphans, areTooMany } from './storage/sweep-allowance.ts'
import { doubtOf } from './storage/sweeper.ts'

/** Composition root of the checks: `scrub` and `fsck` as programs of their own, beside a running server or without one. */

export interface CheckProgram {
  readonly version: string
  readonly config: () => Config
  /** Standard output and standard error. */
  readonly write: (text: string) => void
  readonly warn: (text: string) => void
  readonly isTerminal: boolean
}

const clean = 0
const differs = 1
const failed = 2
const startingServerMs = 30_000

/** Runs one command; resolves with its exit code. */
export async function runCheck(name: 'scrub' | 'fsck', argv: readonly string[], program: CheckProgram): Promise<number> {
  const lifecycle = createLifecycle((error) => program.warn(`Something could not be closed: ${String(error)}\n`))
  try {
    const command = parseCommand(name, argv)
    if (command.name === 'help') {
      program.write(command.text)
      return clean
    }
    const stop = { asked: false }
    onSignals(() => { stop.asked = true }, () => process.exit(failed))
    const opened = await openAll(program.config(), lifecycle, program.warn)
    const report = await run(command, opened, program, () => stop.asked)
    const json = `${JSON.stringify(report, null, 2)}\n`
    if (command.reportFile !== null) await writeFile(command.reportFile, json, { mode: 0o600 })
    program.write(command.json ? json : report.command === 'scrub' ? scrubText(report) : fsckText(report))
    return !report.complete || (report.command === 'fsck' && report.refused !== null) ? failed : report.differences > 0 ? differs : clean
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    program.warn(`${error instanceof ConfigError ? '' : `${name}: `}${message}\n`)
    return failed
  } finally {
    await lifecycle.close()
  }
}

interface Opened {
  readonly database: CheckDatabase
  readonly drives: readonly CheckedDrive[]
  readonly doubt: string | null
}

async function openAll(config: Config, lifecycle: Lifecycle, warn: (text: string) => void): Promise<Opened> {
  const root = path.join(config.dataDir, 'drive')
  if (!existsSync(config.dataDir)) throw new Error(`${config.dataDir} is not there: HOLDFAST_DATA_DIR names the data folder`)
  await assertKnownFormats(root)
  const marker = await readMarker(root)
  if (marker === null) throw new Error(`${root} is no drive of Holdfast, or is not mounted: its marker is missing`)
  const { connection, ownPostgres } = config.databaseUrl === null
    ? await embedded(config.dataDir, lifecycle, warn) : { connection: { connectionString: config.databaseUrl }, ownPostgres: false }
  const database = await lifecycle.open(openCheckDatabase({ connection, log: (message) => warn(`${message}\n`) }), (opened) => opened.close())
  const known = (await database.drives()).find(({ uuid }) => uuid === marker.uuid)
  if (known === undefined) throw new Error(`drive ${root} is a foreign one: the database does not know it`)
  // A running server syncs them in a moment, and reads what it wrote meanwhile.
  if (ownPostgres && await database.carries()) warn('The server died with bytes in its database that may not be in their files: start it once before you check, or they are found missing.\n')
  const drives = [{ id: known.id, uuid: marker.uuid, createdAt: marker.createdAt, root: path.resolve(root) }]
  return { database, drives, doubt: await doubtOf({ store: database, drives }) }
}

/** The running server's PostgreSQL, or one of our own under the lock of the data folder. */
async function embedded(dataDir: string, lifecycle: Lifecycle, warn: (text: string) => void): Promise<{ connection: pg.ClientConfig; ownPostgres: boolean }> {
  const log = (message: string): void => warn(`${message}\n`)
  try {
    await lifecycle.open(lockDataFolder(dataDir), (lock) => lock.release())
  } catch (error) {
    if (!(error instanceof DataFolderInUse)) throw error
    const connection = await embeddedConnection(dataDir)
    // A server that is just starting takes the lock first.
    const socket = path.join(connection.host, `.s.PGSQL.${connection.port}`)
    for (const until = Date.now() + startingServerMs; !existsSync(socket) && Date.now() < until;) await sleep(100)
    return { connection: { ...connection }, ownPostgres: false }
  }
  if (!existsSync(path.join(dataDir, 'postgres'))) throw new Error(`${dataDir} has no embedded PostgreSQL: HOLDFAST_DATABASE_URL names an external one`)
  await withoutOldServers(dataDir)
  const { connection } = await lifecycle.open(startEmbedded({ dataDir, log }), (running) => running.stop())
  return { connection: { ...connection }, ownPostgres: true }
}

type Runnable = Exclude<Command, { name: 'help' }>

async function run(command: Runnable, { database, drives, doubt }: Opened, program: CheckProgram, stopping: () => boolean): Promise<ScrubReport | FsckCommandReport> {
  const started = new Date()
  const bar = progressBar(program.warn, program.isTerminal && !command.json, (await database.checkTotals()).bytes)
  const collector = createCollector()
  const options: CheckOptions = { store: database, drives, found: (finding) => collector.add(finding), progress: (progress) => bar.show(progress), stopping }
  const head = () => ({
    format: 1 as const, version: program.version, startedAt: started.toISOString(), seconds: (Date.now() - started.getTime()) / 1000, complete: !stopping(), ...collector.head(),
  })
  try {
    if (command.name === 'scrub') {
      const counts = await scrub({ ...options, share: command.share, digests: command.digests })
      return { command: 'scrub', ...head(), share: command.share, digests: command.digests, ...counts }
    }
    const repairable = nothingRepairable()
    const sums = await fsck({ ...options, repairable })
    const tooMany = sums.drives.filter((sum) => areTooMany(repairable.orphans.get(sum.drive) ?? { blobs: 0, bytes: 0 }, sum.total))
    const refused = refusal(command, doubt, tooMany.length, stopping())
    const repaired = command.repair && refused === null ? await repair(database, repairable, started) : null
    const allowed: { drive: number; blobs: number; bytes: number }[] = []
    for (const sum of command.allowOrphans && !command.repair && refused === null ? tooMany : []) {
      const orphans = repairable.orphans.get(sum.drive) ?? { blobs: 0, bytes: 0 }
      await allowOrphans(sum, orphans)
      allowed.push({ drive: sum.drive, ...orphans })
    }
    return { command: 'fsck', ...head(), ...sums, repaired, refused, allowed }
  } finally {
    bar.end()
  }
}

/** Why nothing may be changed, or null. */
function refusal({ repair: repairs, allowOrphans: allows }: Runnable & { name: 'fsck' }, doubt: string | null, tooMany: number, stopped: boolean): string | null {
  if (!repairs && !allows) return null
  if (stopped) return 'it was ended before its end'
  if (doubt !== null) return doubt
  return repairs && !allows && tooMany > 0 ? 'more than 1 % of a drive are orphans, which looks like a wrong database; --allow-orphans when you have looked' : null
}
