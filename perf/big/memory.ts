import { setTimeout as sleep } from 'node:timers/promises'
import { memoryOf } from '../processes.ts'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { createFigures, createRandom, fill, keyOf, megabytes, smallBytes, untilQuiet, watchMemory, type Big, type Figures } from './bench.ts'
import type { FloodResult } from './flood.ts'
import { generate, type WireRequest } from './generator.ts'

const bucket = 'memory'
const objects = 20_000
const loadSecondsDefault = 20
const uploadsDefault = 200
const uploadBytesDefault = 100_000_000
const afterMs = 60_000

/** PSS of the server and all its PostgreSQL processes: idle, under four loads, and a minute after. */
export const memory: Big = {
  name: 'memory',
  async run(options) {
    const figures = createFigures('memory')
    const folder = makeDataFolder(options.dir)
    const seconds = options.loadSeconds ?? loadSecondsDefault
    try {
      await (await startHoldfast({ dataDir: folder.path })).stop()
      const server = await startHoldfast({ dataDir: folder.path, env: { HOLDFAST_SWEEP_GRACE_SECONDS: '5', HOLDFAST_SWEEP_INTERVAL_SECONDS: '5' } })
      try {
        await sleep(3000)
        add(server, 'idle, after the start', figures)
        await fill(server, bucket, objects)
        await underLoads(server, seconds, options.uploads ?? uploadsDefault, options.uploadBytes ?? uploadBytesDefault, figures)
        await sleep(afterMs)
        add(server, 'a minute after the last load', figures)
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

function add(server: Server, name: string, figures: Figures): void {
  const { serverBytes, helperBytes, helpers } = memoryOf(server.pid)
  figures.add(`${name} (server ${megabytes(serverBytes).toFixed(0)}, ${helpers} of PostgreSQL ${megabytes(helperBytes).toFixed(0)})`, 'MB', megabytes(serverBytes + helperBytes), 'less')
}

async function underLoads(server: Server, seconds: number, uploads: number, uploadBytes: number, figures: Figures): Promise<void> {
  const { signer } = server
  const random = createRandom(5)
  const puts = Array.from({ length: 40_000 }, (_, index): WireRequest => ({ method: 'PUT', path: signer.path('PUT', bucket, `put/${index}`), bodyBytes: smallBytes }))
  const lists = Array.from({ length: 1000 }, (): WireRequest => ({
    method: 'GET', bodyBytes: 0, path: signer.path('GET', bucket, '', { 'list-type': '2', 'max-keys': '1000', 'start-after': keyOf(random(objects - 2000)) }),
  }))
  const large = Array.from({ length: uploads }, (_, index): WireRequest => ({ method: 'PUT', path: signer.path('PUT', bucket, `large/${index}`), bodyBytes: uploadBytes }))
  const loads = [
    { name: 'PUT 4 KiB x 64', connections: 64, requests: puts },
    { name: 'LIST 1,000 x 64', connections: 64, requests: lists },
    { name: `PUT ${(uploadBytes / 1e6).toFixed(0)} MB x ${uploads}`, connections: uploads, requests: large },
  ]
  for (const { name, connections, requests } of loads) {
    await untilQuiet(server.pid)
    const watch = watchMemory(server.pid)
    const load = await generate<FloodResult>({ kind: 'flood', host: server.host, port: server.port, connections, requests, seconds })
    watch.stop()
    const { server: own, helpers, all } = watch.most
    figures.add(`most under ${name} for ${seconds} s (server ${megabytes(own).toFixed(0)}, PostgreSQL ${megabytes(helpers).toFixed(0)})`, 'MB', megabytes(all), 'less')
    figures.add(`${name}: other answers than 2xx, broken connections`, 'requests', load.refused + load.broken + load.slowDown.count, 'less')
  }
}
