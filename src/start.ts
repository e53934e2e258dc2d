import { writeSync } from 'node:fs'
import { access, constants, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { adminRoutes } from './admin/admin-routes.ts'
import { banner, endpointOf } from './admin/banner.ts'
import type { DataLock } from './admin/data-lock.ts'
import { openKeyFolder, type KeyFolder, type KeyPair } from './admin/keys.ts'
import { together, type Lifecycle } from './admin/lifecycle.ts'
import { controlKeys, decideRoot, rootKeysOf } from './admin/root-account.ts'
import { createAuth } from './auth/auth.ts'
import { readBootstrap } from './bootstrap-file.ts'
import { shownConfig, type Config } from './config.ts'
import { S3Error } from './domain/errors.ts'
import { createAdmission } from './gateway/admission.ts'
import { controlApp, createAdminTokens, type AdminRoute, type DebugAccess } from './gateway/control.ts'
import { listen } from './gateway/server.ts'
import { limitsPart } from './limits-file.ts'
import type { EmbeddedConnection } from './metadata/postgres/embedded.ts'
import { loadMigrator } from './metadata/postgres/migrate.ts'
import { openPostgresStore } from './metadata/postgres/store.ts'
import type { AccessKey, MetadataStore } from './metadata/store.ts'
import { startServers } from './processes.ts'
import { meetNeighbours } from './replicas.ts'
import { openRoom, serveS3, tlsOf } from './serve.ts'
import { createServerMetrics } from './server-metrics.ts'
import { durably, syncFolder } from './storage/backend.ts'
import { assertKnownFormats } from './storage/formats.ts'
import { restoreCarried } from './storage/restore.ts'
import { createScrubber } from './storage/scrub-background.ts'
import { createSweeper } from './storage/sweeper.ts'
import { standardAccessLog } from './telemetry/access-log.ts'
import type { OwnLog } from './telemetry/log.ts'
import { createMeters, metricsContentType } from './telemetry/metrics.ts'
import { watchProcess } from './telemetry/process-metrics.ts'
import { createProfiles } from './telemetry/profile.ts'
import { programVersion } from './version.ts'
import { createLazyPool, createPool } from './workers/pool.ts'

const version = programVersion

/** How it may end without being asked to. */
export interface Ends {
  readonly fail: (error: unknown) => void
  /** Whether it was asked to end, and so has time. */
  readonly asked: () => boolean
  /** Called when everything is to end at once. */
  readonly onForce: (kill: () => void) => void
}

/** What `main.ts` has begun already, because it takes longest or comes before everything else. */
export interface Begun {
  readonly config: Config
  readonly log: OwnLog
  readonly lifecycle: Lifecycle
  readonly lock: DataLock
  /** The connection to the embedded PostgreSQL, once it runs; null with an external one. */
  readonly embedded: Promise<EmbeddedConnection> | null
  /** It has no cluster yet. */
  readonly isNew: boolean
}

/** Opens everything in order; what was opened is closed in reverse order. Resolves when the server serves; `fail` ends it later. */
export async function start({ config, log, lifecycle, lock, embedded, isNew }: Begun, { fail, asked, onForce }: Ends): Promise<void> {
  const { open } = lifecycle
  const say = (message: string): void => log.info(message)

  const tls = await open(tlsOf(config, log), (opened) => opened?.close())
  const meters = createMeters()
  await open(watchProcess(meters), (end) => end())
  const health: Health = { store: null, serving: null, debug: null, metrics: null, admin: null }
  const control = await open(
    listen({
      host: config.host, port: config.controlPort, s3: false, tls, drainMs: config.drainSeconds * 1000,
      listener: controlApp({
        notReady: () => notReady(health), durability: config.durability, debug: () => health.debug,
        admin: { version, log, routes: () => health.admin },
        metrics: { authenticated: config.metricsAuth === 'required', tokenFile: config.metricsTokenFile, contentType: metricsContentType, text: async () => health.metrics?.() ?? null },
      }),
    }),
    (listener) => listener.stop(),
  )

  const keys = await keyFolder(config.dataDir)
  await syncNames(config.dataDir, lock.made)
  // A new database is migrated first thing, and until there is one nobody else needs this thread.
  if (isNew) loadMigrator()
  const [connection, masterKey, root] = await together(
    embedded ?? { connectionString: config.databaseUrl ?? '' },
    config.masterKey === null ? keys.masterKey() : Buffer.from(config.masterKey, 'hex'),
    readBootstrap(config).then((file) => decideRoot(file, environmentPair(config), keys)),
    assertKnownFormats(path.join(config.dataDir, 'drive')),
  )

  const several = config.processes > 1
  const store = await open(
    openPostgresStore({ connection, masterKey, shared: several || embedded === null, lazy: several, log: say, now: Date.now, meters }), (opened) => opened.close(),
  )
  await store.applyBootstrap(root.bootstrap)
  const neighbours = await meetNeighbours({ config, connection, log }, open)

  // Who serves nothing needs threads only when the sweeper moves records.
  const pool = await open(several ? createLazyPool(() => createPool({ uploadThreads: 1 })) : createPool(), (opened) => opened.close())
  const { drive, blobs } = await openRoom({ config, store, pool, log, meters }, open)
  for (const segment of await restoreCarried(drive, await store.carriedRecords(), log)) {
    // A full disk, for instance, must not keep a server from its reads; the next start finds them in their place.
    await store.forgetCarried(segment, Number.MAX_SAFE_INTEGER).catch((error: unknown) => log.warn('records that are in their place were not forgotten by the database', { segment, error: String(error) }))
  }
  const rootKeys = rootKeysOf(root)
  const servers = several
    ? await open(startServers({ config, connection, masterKey, rootKeys, log, lost: fail }), ({ fleet }) => fleet.stop())
    : null
  if (servers !== null) onForce(() => servers.fleet.kill())
  const profiles = await open(createProfiles({ name: several ? 'supervisor' : 'server', pools: () => pool.pools() }), (opened) => opened.close())
  const tokens = createAdminTokens()
  const holder = controlKeys(root, (id) => storedKey(store, id))
  health.debug = {
    auth: createAuth({ region: config.region, signatureV2: 'off', publicHost: null, accessKey: holder, now: Date.now }),
    holder, rootAccountId: rootKeys.accountId, region: config.region, tokens, targets: () => [...servers?.profiles() ?? [], profiles],
  }
  const access = await open(standardAccessLog(config), (opened) => opened.close())
  const serving = servers ?? await serveS3({ config, tls, store, blobs, rootKeys, port: config.port, log, meters, access }, open)
  // Where others serve, this one reads the same file, so that it can tell and change what is in it.
  const admission = 'admission' in serving ? serving.admission : await open(createAdmission({ file: config.limitsFile, processes: config.processes, log }), (opened) => opened.close())
  neighbours.serve(blobs, servers)
  const others = neighbours.others()
  const sweeper = createSweeper({
    store, drives: [drive], blobs, ...others === null ? {} : { others }, log,
    graceMs: config.sweepGraceSeconds * 1000, intervalMs: config.sweepIntervalSeconds * 1000,
  })
  const scrubber = createScrubber({ store, drives: [drive], log, bytesPerSecond: config.scrubBytesPerSecond, ...config.dataShared ? { alone: store.scrubbing } : {} })
  await open(sweeper, (running) => running.stop())
  await open(scrubber, (running) => running.stop())
  health.metrics = createServerMetrics({
    meters, version, name: several ? 'supervisor' : 'server', others: servers?.metrics ?? null, processesWanted: config.processes, store, sweeper, scrubber,
    ready: async () => (await notReady(health)) === null,
  })
  health.admin = adminRoutes({
    version, config: shownConfig(config), durability: config.durability, database: embedded === null ? 'external' : 'embedded', rootAccountId: rootKeys.accountId, store, sweeper, scrubber, tokens, log,
    limits: limitsPart(admission), processes: () => ({ wanted: config.processes, serving: servers?.fleet.serving() ?? 1 }), notReady: () => notReady(health),
    setLogLevel: async (level) => {
      log.level = level
      await servers?.setLogLevel(level)
    },
    // As a signal does, so that there is one way to end.
    drain: () => void setImmediate(() => process.kill(process.pid, 'SIGTERM')),
  })
  sweeper.start()
  scrubber.start()
  health.store = store
  await open(null, async () => {
    health.serving = null
    serving.drain()
    // Load balancers learn it from the health check, and send what they send until then here.
    if (asked()) await sleep(config.drainDelaySeconds * 1000)
  })
  health.serving = () => (servers?.fleet.serving() ?? 1) > 0

  process.stdout.write(banner({
    version, endpoint: endpointOf(config.host, serving.port, tls !== null), controlEndpoint: endpointOf(config.host, control.port, tls !== null), region: config.region,
    accessKeyId: root.accessKeyId, secretAccessKey: root.freshSecret, secretKeptIn: root.secretKeptIn, dataDir: config.dataDir,
    durability: config.durability, database: embedded === null ? 'external PostgreSQL' : 'embedded PostgreSQL', startedMs: performance.now(),
  }, process.stdout.isTTY))
}

interface Health {
  /** Null until everything serves. */
  store: MetadataStore | null
  /** Whether requests are served just now; null before the start and from the stop on. */
  serving: (() => boolean) | null
  /** Null until there is something to look at. */
  debug: DebugAccess | null
  /** Null until there is everything to count. */
  metrics: (() => Promise<string>) | null
  /** Null until there is something to administer. */
  admin: readonly AdminRoute[] | null
}

async function notReady({ store, serving }: Health): Promise<string | null> {
  if (store === null) return 'the server is starting'
  if (serving === null) return 'the server is stopping'
  if (!serving()) return 'no server process is running'
  return store.ping().then(() => null, () => 'the metadata database does not answer')
}

/** As the database has it now, whichever process changed it. */
async function storedKey(store: MetadataStore, id: string): Promise<AccessKey | null> {
  try {
    await store.catchUp()
    return await store.accessKey(id)
  } catch (error) {
    throw new S3Error('ServiceUnavailable', undefined, { cause: error })
  }
}

/**
 * Makes the names on the way to the data folder durable, and those in it: rows in a database elsewhere must not outlive the keys that
 * they are encrypted with, nor the folder that their bytes are in.
 */
async function syncNames(dataDir: string, made: string | null): Promise<void> {
  syncFolder(dataDir)
  const top = path.dirname(made ?? dataDir)
  for (let folder = dataDir; folder !== top;) {
    folder = path.dirname(folder)
    // Where nothing was made, a folder that may not be read is its owner's business. A start that was killed may have made something.
    if (made !== null || await access(folder, constants.R_OK).then(() => true, () => false)) syncFolder(folder)
  }
}

async function keyFolder(dataDir: string): Promise<KeyFolder> {
  const folder = path.join(dataDir, 'keys')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return openKeyFolder(folder, async (name, text) => {
    await durably({ root: folder, tmp: folder, path: name, exclusive: true }, async (file) => writeSync(file, text) > 0)
  })
}

function environmentPair({ rootAccessKey, rootSecretKey }: Config): KeyPair | null {
  return rootAccessKey === null || rootSecretKey === null ? null : { accessKeyId: rootAccessKey, secretAccessKey: rootSecretKey }
}
