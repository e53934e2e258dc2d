import path from 'node:path'
import type { ClientConfig } from 'pg'
import type { Lifecycle } from './admin/lifecycle.ts'
import type { OpenBlobs } from './blobs/blobs.ts'
import type { Config } from './config.ts'
import { joinReplicas, type Replicas } from './metadata/postgres/replicas.ts'
import type { Servers } from './processes.ts'
import { processToken, type Holdings } from './storage/backend.ts'
import type { Others } from './storage/sweeper.ts'
import type { Log } from './telemetry/log.ts'

/** What a server knows of all who work on its drives beside its own process: its server processes, and the replicas that share its data folder. */
export interface Neighbours {
  /** From now on there is something to hold. */
  serve(blobs: OpenBlobs, servers: Servers | null): void
  /** For the sweeper; null when this process is alone. */
  others(): Others | null
}

interface Here {
  blobs: OpenBlobs | null
  servers: Servers | null
}

/** Joins the replicas, when the data folder is shared: before this one opens a drive, and until it has closed it. */
export async function meetNeighbours({ config, connection, log }: { config: Config; connection: ClientConfig; log: Log }, open: Lifecycle['open']): Promise<Neighbours> {
  const here: Here = { blobs: null, servers: null }
  const replicas = config.dataShared
    ? await open(joinReplicas({
        connection, token: processToken, mine: () => heldHere(here), log: (message) => log.warn(message),
        forgetSegment(below) {
          const segment = path.join(config.dataDir, below)
          here.blobs?.forgetSegment(segment)
          here.servers?.others.forgetSegment(segment)
        },
      }), (joined) => joined.leave())
    : null
  return {
    serve(blobs, servers) {
      here.blobs = blobs
      here.servers = servers
    },
    others: () => (replicas === null ? here.servers?.others ?? null : beside(here, replicas, config.dataDir)),
  }
}

async function heldHere({ blobs, servers }: Here): Promise<Holdings> {
  const each = await servers?.others.holdings() ?? []
  return {
    writers: new Set([processToken, ...servers?.tokens() ?? []]),
    segments: new Set([...blobs?.activeSegments() ?? [], ...each.flatMap(({ segments }) => [...segments])]),
    pinned: new Set([...blobs?.pinned() ?? [], ...each.flatMap(({ pinned }) => [...pinned])]),
  }
}

function beside(here: Here, replicas: Replicas, dataDir: string): Others {
  return {
    // With the processes of this replica that have ended: who asks from elsewhere cannot see that they have.
    holdings: async () => [await heldHere(here), ...await replicas.holdings()],
    forgetSegment(segment) {
      here.servers?.others.forgetSegment(segment)
      replicas.forgetSegment(path.relative(dataDir, segment))
    },
  }
}
