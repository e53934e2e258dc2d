import path from 'node:path'
import type { Lifecycle } from './admin/lifecycle.ts'
import { withoutOldRootKeys, type RootKeys } from './admin/root-account.ts'
import { createAuth } from './auth/auth.ts'
import { createBlobs, type OpenBlobs } from './blobs/create.ts'
import type { Config } from './config.ts'
import { uploadSlabsMax, readBuffersMax } from './domain/limits.ts'
import { s3App } from './gateway/app.ts'
import { createAdmission, type Admission } from './gateway/admission.ts'
import { createDocumentTurns } from './gateway/document-turns.ts'
import { createExchange } from './gateway/exchange.ts'
import type { IncomingRequest } from './gateway/incoming.ts'
import { objectUrls } from './gateway/object-url.ts'
import { listen, type Listener } from './gateway/server.ts'
import { openTls, type Tls } from './gateway/tls.ts'
import type { MetadataStore } from './metadata/store.ts'
import { createDispatch } from './operations/dispatch.ts'
import { openDrive, type Drive } from './storage/backend.ts'
import type { AccessLog } from './telemetry/access-log.ts'
import type { Log } from './telemetry/log.ts'
import type { Meters } from './telemetry/metrics.ts'
import { createTracer } from './telemetry/traces.ts'
import { programVersion } from './version.ts'
import type { WorkerPool } from './workers/pool.ts'

/** What a process needs that serves S3, alone or as one of several. */
export interface Room {
  readonly drive: Drive
  readonly blobs: OpenBlobs
}

interface RoomParts {
  readonly config: Config
  readonly store: MetadataStore
  readonly pool: WorkerPool
  readonly log: Log
  readonly meters: Meters
}

/** Opens the drive and the byte room. What is bounded in memory is divided among the processes, so that their sum stays as it is with one. */
export async function openRoom({ config, store, pool, log, meters }: RoomParts, open: Lifecycle['open']): Promise<Room> {
  const drive = await openDrive({ root: path.join(config.dataDir, 'drive'), register: (uuid, since) => store.registerDrive(uuid, since), known: () => store.drives(), shared: config.dataShared })
  const share = (all: number): number => Math.max(16, Math.ceil(all / config.processes))
  const blobs = await open(
    createBlobs({
      drives: [drive], pool, smallBodyBytesMax: config.smallBodyBytesMax, synced: config.durability === 'strict', relocations: (ids) => store.relocations(ids), log, meters,
      forgetCarried: (segment, below) => store.forgetCarried(segment, below),
      uploadSlabs: share(uploadSlabsMax), readBuffers: share(readBuffersMax),
    }),
    (opened) => opened.close(),
  )
  return { drive, blobs }
}

/** Null when this is a server of plain HTTP. */
export function tlsOf({ tlsCertFile: certFile, tlsKeyFile: keyFile, tlsClientCaFile: clientCaFile }: Config, log: Log): Tls | null {
  return certFile === null || keyFile === null ? null : openTls({ certFile, keyFile, clientCaFile }, log)
}

export interface ServeParts {
  readonly config: Config
  readonly tls: Tls | null
  readonly store: MetadataStore
  readonly blobs: OpenBlobs
  readonly rootKeys: RootKeys
  /** 0 takes a free one. */
  readonly port: number
  readonly log: Log
  readonly meters: Meters
  readonly access: AccessLog
}

export interface S3Listener extends Listener {
  /** From now on every answer closes its connection: clients go elsewhere, and nobody is at work on a connection that the end cuts. */
  drain(): void
  readonly admission: Admission
}

/** Serves S3 until it is closed; then running requests finish. */
export async function serveS3({ config, tls, store, blobs, rootKeys, port, log, meters, access }: ServeParts, open: Lifecycle['open']): Promise<S3Listener> {
  const auth = createAuth({
    region: config.region, signatureV2: config.signatureV2, publicHost: config.publicUrl?.replace(/^https?:\/\//, '') ?? null,
    accessKey: withoutOldRootKeys(rootKeys, (id) => store.accessKey(id)), now: Date.now,
  })
  const admission = await open(createAdmission({ file: config.limitsFile, processes: config.processes, log }), (opened) => opened.close())
  meters.watch('holdfast_limited_requests_total', () => Object.entries(admission.refused))
  const dispatch = createDispatch({
    admit: admitting(admission), auth, metadata: store, blobs, region: config.region, objectUrl: objectUrls(config), documentTurn: createDocumentTurns(meters),
  })
  const tracer = config.otlpEndpoint === null ? null : createTracer({ endpoint: config.otlpEndpoint, share: config.tracesShare, service: config.serviceName, version: programVersion, log })
  if (tracer !== null) {
    await open(tracer, (opened) => opened.close())
    meters.watch('holdfast_spans_total', () => [...tracer.counts])
  }
  const exchange = createExchange({ domain: config.domain, secure: tls !== null || (config.publicUrl?.startsWith('https:') ?? false), handle: dispatch.handle, log, meters, access, tracer, admission })
  meters.watch('holdfast_access_lines_dropped_total', () => access.dropped)
  const listener = await open(
    listen({ host: config.host, port, s3: true, tls, drainMs: config.drainSeconds * 1000, reusePort: config.processes > 1, listener: s3App(exchange.serve), answering: exchange.answering }),
    async (opened) => {
      exchange.drain()
      await opened.stop()
      exchange.close()
    },
  )
  return { ...listener, drain: exchange.drain, admission }
}

/** The gateway's limits as operations know them: by whose request it is. */
function admitting(admission: Admission): NonNullable<Parameters<typeof createDispatch>[0]['admit']> {
  return (request, { account, accessKeyId }, bucket) => {
    if (!admission.active) return null
    const incoming = request as IncomingRequest
    return admission.begin({ address: incoming.remoteAddress, accessKey: accessKeyId, account: account.id, bucket }, incoming.bodyBytes)?.then((done) => incoming.whenAnswered(done)) ?? null
  }
}
